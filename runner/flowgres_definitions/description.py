"""The one description of the language, as data: `definition.schema.json`, from which SQL, Python and editors know it.

JSON Schema 2020-12, the subset in use, with annotations of ours (x-...); `database/schema/definitions/schema_words.sql`
says what they mean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from .problems import Json

Schema = Mapping[str, Json] | bool

_FILE: Final = "definition.schema.json"
_CASES_FILE: Final = "test.schema.json"
_ABOUT: Final = frozenset({"title", "description", "default", "examples", "doNotSuggest"})
_BOUNDS: Final = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"})


def description_text() -> str:
    """The published schema, as it is."""
    return (files("flowgres_definitions") / _FILE).read_text(encoding="utf-8")


@cache
def description() -> Mapping[str, Json]:
    """The same, read once; nobody changes it."""
    schema: dict[str, Json] = json.loads(description_text())
    return schema


def case_description_text() -> str:
    """The published schema of files with cases (`*.test.yaml`), as it is."""
    return (files("flowgres_definitions") / _CASES_FILE).read_text(encoding="utf-8")


@cache
def case_description() -> Mapping[str, Json]:
    """The same, read once; nobody changes it."""
    schema: dict[str, Json] = json.loads(case_description_text())
    return schema


def find_schema(root: Schema, reference: str, *, missing: Schema = True) -> Schema:
    """The schema that a reference such as #/$defs/retry leads to; `missing` when it leads nowhere."""
    found: Json = root
    for part in reference[2:].split("/") if reference != "#" else ():
        part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return missing
    return found if isinstance(found, Mapping | bool) else missing


_resolved: dict[int, Schema] = {}
"""Of the description alone, by identity: its parts live as long as the process."""


def resolve_schema(schema: Schema, root: Schema) -> Schema:
    """A schema without its reference: what that leads to, with what stands beside it."""
    if isinstance(schema, bool) or "$ref" not in schema:
        return schema
    if root is not description():
        return _resolve(schema, root)
    known = _resolved.get(id(schema))
    if known is None:
        known = _resolved[id(schema)] = _resolve(schema, root)
    return known


def _resolve(schema: Schema, root: Schema) -> Schema:
    while isinstance(schema, Mapping) and "$ref" in schema:
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        target = find_schema(root, schema["$ref"])
        if not rest:
            schema = target
        elif isinstance(target, bool) or not all(_joins(key, target) for key in rest):
            return {"allOf": [target, rest]}
        else:
            schema = {**target, **rest}
    return schema


def _joins(key: str, target: Mapping[str, Json]) -> bool:
    # Words about the value and bounds of it read like its own; anything else is a schema of its own.
    return key.startswith("x-") or key in _ABOUT or (key in _BOUNDS and key not in target)


def _words(name: str) -> frozenset[str]:
    return frozenset(description()["$defs"][name]["enum"])


@cache
def core_step_types() -> frozenset[str]:
    """Step types that every runner serves."""
    return _words("core_type")


@cache
def secret_places(kind: str) -> frozenset[str]:
    """Keys of the configuration of a built-in type that secrets may be named below."""
    if kind not in core_step_types():
        return frozenset()
    members = description()["$defs"][kind]["properties"]
    return frozenset(key for key, schema in members.items() if "x-secrets" in schema)


@cache
def config_schema(kind: str) -> Mapping[str, Json]:
    """The schema of the configuration of a built-in type, as one that stands by itself."""
    expanded: dict[str, Json] = _expand(description()["$defs"][kind])
    return expanded


def _expand(value: Json) -> Json:
    if isinstance(value, dict) and "$ref" in value:
        value = resolve_schema(value, description())
    if isinstance(value, dict):
        return {key: _expand(member) for key, member in value.items()}
    return [_expand(member) for member in value] if isinstance(value, list) else value
