"""Which handler serves which step type: ours, and those that installed packages offer.

A package offers one through the entry point group `flowgres.step_types`: the name is the type, the object a Handler or
PureHandler, or something that makes one when called without arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeAlias

from flowgres_runner.errors import SettingsError
from flowgres_runner.logs import get_logger
from flowgres_runner.steps.base import Handler, PureHandler
from flowgres_runner.steps.condition import ConditionHandler
from flowgres_runner.steps.delay import DelayHandler
from flowgres_runner.steps.log import LogHandler
from flowgres_runner.steps.notify import NotifyHandler
from flowgres_runner.steps.outputs import OutputsHandler
from flowgres_runner.steps.sub_workflow import SubWorkflowHandler
from flowgres_runner.steps.transform import TransformHandler

log = get_logger(__name__)

ENTRY_POINT_GROUP = "flowgres.step_types"
HIDDEN_TYPES = frozenset({"outputs"})
_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")

AnyHandler: TypeAlias = Handler | PureHandler


def core_handlers(*, http: AnyHandler, now: Callable[[], datetime]) -> dict[str, AnyHandler]:
    """The step types that every runner serves; `now` is the database's clock."""
    handlers: list[AnyHandler] = [
        ConditionHandler(),
        DelayHandler(now),
        http,
        LogHandler(),
        NotifyHandler(),
        OutputsHandler(),
        SubWorkflowHandler(),
        TransformHandler(),
    ]
    return {handler.type: handler for handler in handlers}


def custom_handlers(taken: frozenset[str]) -> dict[str, AnyHandler]:
    """Handlers of installed packages. One that cannot be loaded is left out with an error in the log.

    Raises SettingsError when two claim the same type, or one claims one of ours: which of them ran would be chance.
    """
    handlers: dict[str, AnyHandler] = {}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if point.name in taken or point.name in handlers:
            raise SettingsError(
                f"the step type {point.name} is offered twice (by {point.value})", hint="Uninstall one of the packages."
            )
        handler = _load(point)
        if handler is not None:
            handlers[point.name] = handler
    return handlers


def published_types(core: Mapping[str, AnyHandler], custom: Mapping[str, AnyHandler]) -> list[dict[str, Any]]:
    """What registration tells the database: {type, config_schema, core}."""
    return [
        {"type": name, "config_schema": dict(handler.config_schema), "core": name in core}
        for name, handler in sorted({**core, **custom}.items())
        if name not in HIDDEN_TYPES
    ]


def _load(point: EntryPoint) -> AnyHandler | None:
    try:
        offered: Any = point.load()
        if isinstance(offered, type) or not (hasattr(offered, "run") or hasattr(offered, "run_now")):
            offered = offered()
        problem = None
        if not isinstance(offered, Handler | PureHandler):
            problem = "it is no handler: type, config_schema and run or run_now are needed"
        elif offered.type != point.name or _IDENTIFIER.fullmatch(point.name) is None:
            problem = f"its type is {str(offered.type)[:63]!r}"
    except Exception:
        log.exception("step_type_unloadable", type=point.name, source=point.value)
        return None
    if problem is not None:
        log.error("step_type_refused", type=point.name, source=point.value, problem=problem)
        return None
    handler: AnyHandler = offered
    return handler
