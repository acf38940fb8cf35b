"""Step types that packages bring: what a definition has to know of them, and how those installed here are found.

A package offers one through the entry point group `flowgres.step_types`; the name is the type. Its `config_schema` is
JSON Schema (2020-12). An expression may stand for any value in a definition; what is told of one is what would be wrong
whatever its expressions give. The rendered configuration is checked again, in full.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from .description import core_step_types
from .names import is_identifier
from .problems import Json, Path, Problem
from .schema import check_value
from .schema_faults import find_schema_fault

ENTRY_POINT_GROUP: Final = "flowgres.step_types"
MAX_CONFIG_PROBLEMS: Final = 20
"""Of one configuration."""


@dataclass(frozen=True, slots=True)
class CustomType:
    """A step type beside the built-in ones: the JSON Schema of its configuration, and the keys that secrets may be
    named below (None: nobody here knows)."""

    type: str
    config_schema: Mapping[str, Json] = field(default_factory=dict)
    secret_places: tuple[str, ...] | None = None

    @classmethod
    def from_json(cls, type_: str, value: Mapping[str, Json]) -> CustomType:
        """As the database tells it: {config_schema, secret_places}."""
        return cls(type_, value.get("config_schema") or {}, tuple(value.get("secret_places") or ()))


CustomTypes = Mapping[str, CustomType]


def by_name(types: Collection[str] | CustomTypes) -> dict[str, CustomType]:
    """Types by name; of those that are only named nothing more is known."""
    if isinstance(types, Mapping):
        return dict(types)
    return {name: CustomType(name) for name in types}


def find_config_problems(schema: Mapping[str, Json], config: Json) -> list[tuple[Path, Problem]]:
    """What is wrong with a configuration, whatever its expressions give, with paths below it.

    Once they gave something, `rendered` says the rest.
    """
    return check_value(config, schema, schema, is_open=True)[:MAX_CONFIG_PROBLEMS]


def installed_points() -> list[EntryPoint]:
    """The entry points of all step types that are installed here."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))


def find_offer_fault(point: EntryPoint, offered: Any, *, taken: Collection[str] | None = None) -> str | None:
    """Why what an entry point leads to is no step type; None when it is one."""
    if point.name in (core_step_types() if taken is None else taken):
        return f"the type {point.name} is a built-in one"
    if not is_identifier(point.name):
        return f"{point.name[:63]!r} is no name of a type: lower-case letters, digits and _"
    if getattr(offered, "type", None) != point.name:
        return f"its type is {str(getattr(offered, 'type', None))[:63]!r}, its entry point {point.name!r}"
    if not callable(getattr(offered, "run", None)):
        return "it has no run(task)"
    places = getattr(offered, "secret_places", ())
    if not isinstance(places, tuple | list) or not all(isinstance(place, str) for place in places):
        return "secret_places is no list of keys"
    return find_schema_fault(getattr(offered, "config_schema", {}))


def find_installed_types(report: Callable[[str, str], None] = lambda name, fault: None) -> dict[str, CustomType]:
    """The step types that are installed in this environment, with no server asked.

    `report` is told of those that cannot be used. Their names are known all the same: whoever only names one is not
    told that it does not exist.
    """
    found: dict[str, CustomType] = {}
    for point in installed_points():
        try:
            offered = point.load()
            if not isinstance(offered, type) and not hasattr(offered, "run"):
                offered = offered()
            fault = find_offer_fault(point, offered)
        except Exception as error:
            offered, fault = None, f"it cannot be loaded: {type(error).__name__}: {error}"
        if fault is not None:
            report(point.name, fault)
            found.setdefault(point.name, CustomType(point.name))
        else:
            schema, places = getattr(offered, "config_schema", {}), getattr(offered, "secret_places", ())
            found[point.name] = CustomType(point.name, schema, tuple(places))
    return found
