"""Step types that packages bring: what a definition has to know of them, and how those installed here are found.

A package offers one through the entry point group `flowgres.step_types`; the name is the type. Its `config_schema` is
JSON Schema (2020-12). An expression may stand for any value in a definition; what is told of one is what would be wrong
whatever its expressions give. The rendered configuration is checked again, in full.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from jsonschema import Draft202012Validator, SchemaError

from .expressions import has_expression
from .language import CORE_STEP_TYPES, IDENTIFIER
from .problems import Json, Path, Problem, did_you_mean, format_path

ENTRY_POINT_GROUP: Final = "flowgres.step_types"
MAX_SCHEMA_BYTES: Final = 1 << 16
MAX_CONFIG_PROBLEMS: Final = 20
"""Of one configuration."""

_ABOUT_KEYS: Final = frozenset(
    {"required", "additionalProperties", "unevaluatedProperties", "dependentRequired", "minProperties", "maxProperties"}
)
"""Rules about the keys of an object, which are no expressions: they hold before anything is rendered."""


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


def find_schema_fault(schema: Json) -> str | None:
    """Why something cannot be the schema of a configuration; None when it can."""
    if not isinstance(schema, Mapping):
        return "config_schema is no object"
    try:
        text = json.dumps(schema)
        Draft202012Validator.check_schema(dict(schema))
    except SchemaError as error:
        return f"config_schema is no JSON Schema: {error.message[:200]}"
    except (TypeError, ValueError, RecursionError):
        return "config_schema is no JSON"
    if len(text) > MAX_SCHEMA_BYTES:
        return f"config_schema is larger than {MAX_SCHEMA_BYTES} bytes"
    if any(not reference.startswith("#") for reference in _references(schema)):
        return "config_schema refers to something outside of itself ($ref)"
    return None


def find_config_problems(schema: Mapping[str, Json], config: Json, *, is_rendered: bool) -> list[tuple[Path, Problem]]:
    """What is wrong with a configuration, with paths below it; before it is rendered, whatever expressions give."""
    found: list[tuple[Path, Problem]] = []
    for error in _validator(json.dumps(schema)).iter_errors(config):
        if not is_rendered and _may_vanish(error):
            continue
        found.extend(item for item in _explain(error) if item not in found)
        if len(found) >= MAX_CONFIG_PROBLEMS:
            break
    return found


def describe_config_problems(problems: list[tuple[Path, Problem]]) -> tuple[str, Json]:
    """A sentence about the first of them, and all of them as JSON: [{path, code, message}]."""
    placed = [(format_path(("config", *path)), problem) for path, problem in problems]
    where, first = placed[0]
    sentence = f"{where}: {first.message}" + (f" ({first.hint})" if first.hint else "")
    return sentence, [{"path": path, "code": problem.code, "message": problem.message} for path, problem in placed]


def installed_points() -> list[EntryPoint]:
    """The entry points of all step types that are installed here."""
    return sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: (point.name, point.value))


def find_offer_fault(point: EntryPoint, offered: Any, *, taken: Collection[str] = CORE_STEP_TYPES) -> str | None:
    """Why what an entry point leads to is no step type; None when it is one."""
    if point.name in taken:
        return f"the type {point.name} is a built-in one"
    if IDENTIFIER.fullmatch(point.name) is None:
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


@lru_cache(maxsize=64)
def _validator(schema: str) -> Any:
    return Draft202012Validator(json.loads(schema))


def _references(schema: Json) -> Iterator[str]:
    todo: list[Json] = [schema]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            for key, member in value.items():
                if key in ("$ref", "$dynamicRef") and isinstance(member, str):
                    yield member
                todo.append(member)
        elif isinstance(value, list | tuple):
            todo.extend(value)


def _may_vanish(error: Any) -> bool:
    """Whether what expressions give may put it right."""
    if error.validator in _ABOUT_KEYS:
        return False
    if error.validator == "type" and isinstance(error.instance, dict | list):
        return False
    return _holds_expression(error.instance)


def _holds_expression(value: Json) -> bool:
    todo: list[Json] = [value]
    while todo:
        value = todo.pop()
        if isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, str) and has_expression(value):
            return True
    return False


def _explain(error: Any) -> Iterator[tuple[Path, Problem]]:
    """Problems of one ValidationError (its members have no usable types)."""
    path: Path = tuple(error.absolute_path)
    hint = error.schema.get("description", "") if isinstance(error.schema, dict) else ""
    hint = hint if isinstance(hint, str) else ""
    match error.validator:
        case "required":
            for key in error.validator_value:
                if key not in error.instance:
                    yield (*path, key), Problem(path="", code="missing_key", message=f"{key!r} is missing")
        case "additionalProperties" if error.validator_value is False:
            known = error.schema.get("properties", {})
            patterns = error.schema.get("patternProperties", {})
            for key in [key for key in error.instance if key not in known][:MAX_CONFIG_PROBLEMS]:
                if not patterns:
                    message = f"the key {key[:60]!r} is not known here"
                    yield (*path, key), Problem("", "unknown_key", message, did_you_mean(key, known))
            if patterns:
                yield path, Problem("", "unknown_key", error.message[:200])
        case "type":
            wanted = error.validator_value
            words = " or ".join(wanted) if isinstance(wanted, list) else str(wanted)
            yield path, Problem("", "wrong_kind", f"expected {words}, found {_kind_of(error.instance)}", hint)
        case "enum" if isinstance(error.instance, str):
            word = error.instance
            known = [item for item in error.validator_value if isinstance(item, str)]
            yield path, Problem("", "unknown_word", f"{word[:60]!r} is not known here", did_you_mean(word, known))
        case "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum":
            yield path, Problem("", "out_of_range", error.message[:200], hint)
        case _:
            yield path, Problem("", "invalid_value", error.message[:200], hint)


def _kind_of(value: Json) -> str:
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return kinds.get(type(value), "null")
