"""What a runner meets besides its database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from flowgres_runner.execution.versions import ChooseHandler
from flowgres_runner.http import Transport
from flowgres_runner.steps.offered import OfferedHandler
from flowgres_runner.timing import REAL_TIME, Timing


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a runner meets besides its database; left alone it is the world as it is.

    `transport` takes the place of the network under the HTTP client, `timing` that of the machine's clock for attempts,
    `database_now` that of what the database said last of its clock, `offered` that of the installed step types, and
    `choose` says which handler runs a step.
    """

    transport: Transport | None = None
    timing: Timing = REAL_TIME
    database_now: Callable[[], datetime] | None = None
    offered: Mapping[str, OfferedHandler] | None = None
    choose: ChooseHandler | None = None
