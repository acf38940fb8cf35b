"""Which handler serves which step type: ours, and those that installed packages offer.

A package offers one through the entry point group `flowgres.step_types`: the name is the type, the object a class that
is made without arguments, or something that is one already (`base.StepType` says what it has).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from importlib.metadata import EntryPoint
from typing import Any

from flowgres_definitions.custom_types import find_offer_fault, installed_points
from flowgres_definitions.description import config_schema
from flowgres_definitions.problems import did_you_mean
from flowgres_process.errors import SettingsError
from flowgres_process.logs import get_logger
from flowgres_runner.steps.base import Handler
from flowgres_runner.steps.offered import OfferedHandler
from flowgres_runner.steps.pure import pure_handlers

log = get_logger(__name__)

LOOK_SECONDS = 0.5
CORE = "core"
"""What stands for all step types that every runner has."""


def core_handlers(
    *, http: Handler, now: Callable[[], datetime], reaching: Iterable[Handler] = ()
) -> dict[str, Handler]:
    """The built-in step types, with those `reaching` out, some of which not every runner has.

    `now` is the database's clock.
    """
    return {handler.type: handler for handler in (*pure_handlers(now), http, *reaching)}


def keep_served(types: Collection[str] | None, core: dict[str, Handler], custom: dict[str, OfferedHandler]) -> bool:
    """Leave out what a runner is told not to serve; whether it serves what every runner has. None is all.

    Raises SettingsError for a type that this runner does not have.
    """
    if types is None:
        return True
    optional = {name for name, handler in core.items() if handler.is_optional}
    known = sorted({CORE, *optional, *custom})
    for name in types:
        if name not in known:
            raise SettingsError(
                f"RUNNER_TYPES names {name[:60]!r}, which this runner does not have",
                hint=did_you_mean(name, known) or f"It has {', '.join(known)}.",
            )
    for name in optional - set(types):
        del core[name]
    for name in custom.keys() - set(types):
        del custom[name]
    return CORE in types


def custom_handlers(taken: frozenset[str], points: Iterable[EntryPoint] | None = None) -> dict[str, OfferedHandler]:
    """Handlers of installed packages. One that cannot be loaded is left out with an error in the log.

    Raises SettingsError when two claim the same type, or one claims one of ours: which of them ran would be chance.
    """
    handlers: dict[str, OfferedHandler] = {}
    for point in installed_points() if points is None else points:
        if point.name in taken or point.name in handlers:
            raise SettingsError(
                f"the step type {point.name} is offered twice (by {point.value})", hint="Uninstall one of the packages."
            )
        handler = _load(point)
        if handler is not None:
            handlers[point.name] = handler
    return handlers


def published_types(handlers: Mapping[str, Handler]) -> list[dict[str, Any]]:
    """What registration tells the database: {type, config_schema, secret_places, core}."""
    return [
        {
            "type": name,
            "config_schema": dict(config_schema(name) if handler.is_core else handler.config_schema),
            "secret_places": list(handler.secret_places),
            "core": handler.is_core,
            "optional": handler.is_optional,
        }
        for name, handler in sorted(handlers.items())
        if not handler.is_hidden
    ]


async def start_handlers(handlers: dict[str, OfferedHandler]) -> None:
    """Start what packages brought; what cannot start is taken out, so that nobody is told that it is served."""
    for name, handler in list(handlers.items()):
        try:
            await handler.start()
        except Exception as error:
            log.error("step_type_start_failed", type=name, error=f"{type(error).__name__}: {error}")
            del handlers[name]
            await handler.stop()


async def look_after_handlers(handlers: Mapping[str, OfferedHandler]) -> None:
    """See to it, until cancelled, that a type which blocks is named."""
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        for handler in handlers.values():
            handler.look_after()


def _load(point: EntryPoint) -> OfferedHandler | None:
    try:
        offered: Any = point.load()
        if isinstance(offered, type) or not hasattr(offered, "run"):
            offered = offered()
        problem = find_offer_fault(point, offered)
    except Exception:
        log.exception("step_type_unloadable", type=point.name, source=point.value)
        return None
    if problem is not None:
        log.error("step_type_refused", type=point.name, source=point.value, problem=problem)
        return None
    return OfferedHandler(offered)
