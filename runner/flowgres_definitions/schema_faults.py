"""Why something cannot be the schema of a configuration: what JSON Schema forbids, and what is not known here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from .description import Schema, find_schema
from .problems import Json
from .schema import pattern_of
from .strict_json import is_number

MAX_SCHEMA_BYTES: Final = 1 << 16
MAX_SCHEMA_DEPTH: Final = 64

_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_ONE: Final = ("not", "if", "then", "else", "items", "contains", "additionalProperties", "propertyNames")
_LISTS: Final = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED: Final = ("properties", "patternProperties", "dependentSchemas", "$defs")
_IN_PLACE: Final = ("not", "if", "then", "else", "allOf", "anyOf", "oneOf", "dependentSchemas")
"""Keywords whose schemas look at the same value: a circle of these would never end."""

_UNKNOWN: Final = (
    "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$dynamicAnchor", "$anchor", "$recursiveRef",
)  # fmt: skip


def _is_count(value: Json) -> bool:
    return is_number(value) and value >= 0 and value == int(value)


def _is_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _is_type(value: Json) -> bool:
    names = value if isinstance(value, list) and value else [value]
    return all(isinstance(name, str) and name in _TYPES for name in names)


def _is_texts_by_name(value: Json) -> bool:
    return isinstance(value, dict) and all(map(_is_texts, value.values()))


def _is_words(value: Json) -> bool:
    return isinstance(value, dict) and _is_texts(list(value.values()))


def _is_pattern(value: Json) -> bool:
    return isinstance(value, str) and pattern_of(value) is not None


def _is_reference(value: Json) -> bool:
    return isinstance(value, str) and (value == "#" or value.startswith("#/"))


_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS: Final = (
    *("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"),
    *("minProperties", "maxProperties"),
)
_KEYWORDS: Final[dict[str, tuple[Callable[[Json], bool], str]]] = {
    "type": (_is_type, "one of " + ", ".join(sorted(_TYPES)) + ", or a list of them"),
    "enum": (lambda value: isinstance(value, list), "a list"),
    "required": (_is_texts, "a list of texts"),
    "dependentRequired": (_is_texts_by_name, "lists of texts by name"),
    "uniqueItems": (lambda value: isinstance(value, bool), "true or false"),
    "multipleOf": (lambda value: is_number(value) and value > 0, "a number above 0"),
    "pattern": (_is_pattern, "a regular expression that can be read"),
    "x-aliases": (_is_words, "words by name"),
    "$ref": (_is_reference, "a reference within the schema (#/...)"),
    **dict.fromkeys(_BOUNDS, (is_number, "a number")),
    **dict.fromkeys(_COUNTS, (_is_count, "a whole number from 0")),
}


def find_schema_fault(schema: Any) -> str | None:
    """Why something cannot be the schema of a configuration; None when it can."""
    if not isinstance(schema, Mapping):
        return "config_schema is no object"
    try:
        text = json.dumps(schema)
        plain: dict[str, Json] = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return "config_schema is no JSON"
    if len(text) > MAX_SCHEMA_BYTES:
        return f"config_schema is larger than {MAX_SCHEMA_BYTES} bytes"
    for path, fault in find_faults(plain):
        return f"config_schema is no JSON Schema that is known here: {path or '#'}: {fault}"
    return None


def find_faults(root: dict[str, Json]) -> Iterator[tuple[str, str]]:
    """Where a schema has what is not known here, and what; it may be of any size."""
    todo: list[tuple[Json, str, int]] = [(root, "", 0)]
    followed: set[str] = set()
    while todo:
        schema, path, depth = todo.pop()
        if isinstance(schema, bool):
            continue
        if not isinstance(schema, dict):
            yield path, "a schema is an object, true or false"
            continue
        if depth > MAX_SCHEMA_DEPTH:
            yield path[:100], "schemas are nested too deep"
            return
        for key, (is_sound, wanted) in _KEYWORDS.items():
            if key in schema and not is_sound(schema[key]):
                yield path, f"{key} has to be {wanted}"
                return
        for key in _UNKNOWN:
            if key in schema:
                yield path, f"{key} is not supported"
                return
        if "$ref" in schema:
            if _leads_in_circles(schema, root):
                yield path, f"{schema['$ref']} leads nowhere, or back to itself"
            if schema["$ref"] not in followed:
                followed.add(schema["$ref"])
                todo.append((find_schema(root, schema["$ref"]), schema["$ref"], depth + 1))
        for pattern in _mapping(schema.get("patternProperties", {})):
            if pattern_of(pattern) is None:
                yield path, f"the pattern {pattern[:60]} cannot be read"
        for key in _ONE:
            if key in schema:
                todo.append((schema[key], f"{path}/{key}", depth + 1))
        for key in _LISTS:
            members = schema.get(key, [])
            if not isinstance(members, list) or (key in schema and not members):
                yield path, f"{key} has to be a list of schemas"
                return
            todo.extend((one, f"{path}/{key}/{place}", depth + 1) for place, one in enumerate(members))
        for key in _NAMED:
            if not isinstance(schema.get(key, {}), dict):
                yield path, f"{key} has to be schemas by name"
                return
            todo.extend((one, f"{path}/{key}/{name}", depth + 1) for name, one in schema.get(key, {}).items())


def _mapping(value: Json) -> dict[str, Json]:
    return value if isinstance(value, dict) else {}


def _leads_in_circles(schema: dict[str, Json], root: dict[str, Json]) -> bool:
    """Whether looking at one value would come back to this schema without ever looking at a part of it."""
    nowhere: Schema = {}
    todo: list[Schema] = [find_schema(root, schema["$ref"], missing=nowhere)]
    if todo[0] is nowhere:
        return True
    seen: set[int] = set()
    while todo:
        one = todo.pop()
        if one is schema:
            return True
        if isinstance(one, bool) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one.get("$ref"), str):
            todo.append(find_schema(root, one["$ref"]))
        for key in _IN_PLACE:
            inner = one.get(key)
            for part in (
                inner if isinstance(inner, list) else _mapping(inner).values() if key == "dependentSchemas" else [inner]
            ):
                if isinstance(part, dict):
                    todo.append(part)
    return False
