"""The step types that only compute: wherever a step is run, these run it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flowgres_runner.steps.approval import ApprovalHandler
from flowgres_runner.steps.base import Handler
from flowgres_runner.steps.condition import ConditionHandler
from flowgres_runner.steps.delay import DelayHandler
from flowgres_runner.steps.foreach import ForeachHandler
from flowgres_runner.steps.log import LogHandler
from flowgres_runner.steps.outputs import OutputsHandler
from flowgres_runner.steps.stop import StopHandler
from flowgres_runner.steps.sub_workflow import SubWorkflowHandler
from flowgres_runner.steps.switch import SwitchHandler
from flowgres_runner.steps.transform import TransformHandler
from flowgres_runner.steps.transition import TransitionHandler
from flowgres_runner.steps.wait import WaitHandler


def pure_handlers(now: Callable[[], datetime]) -> list[Handler]:
    """Their handlers; `now` is the database's clock, because only that one decides delays."""
    return [
        ApprovalHandler(),
        ConditionHandler(),
        SwitchHandler(),
        DelayHandler(now),
        ForeachHandler(),
        LogHandler(),
        OutputsHandler(),
        StopHandler(),
        SubWorkflowHandler(),
        TransformHandler(),
        TransitionHandler(),
        WaitHandler(),
    ]
