"""An answer without a model: the smallest example of a schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_definitions.description import resolve_schema

_MAX_DEPTH = 12
_MAX_ITEMS = 20
_MAX_CHARACTERS = 1000


def example_of(schema: Mapping[str, Any], root: Mapping[str, Any], *, depth: int = 0) -> Any:
    """A value that most schemas of this kind take; whether this one does is for the check to say."""
    of = resolve_schema(schema, root)
    if not isinstance(of, Mapping) or depth > _MAX_DEPTH:
        return None
    if "const" in of:
        return of["const"]
    for name in ("enum", "examples"):
        if isinstance(of.get(name), list) and of[name]:
            return of[name][0]
    if "default" in of:
        return of["default"]
    for name in ("anyOf", "oneOf", "allOf"):
        if isinstance(of.get(name), list) and of[name] and "type" not in of:
            return example_of(of[name][0], root, depth=depth + 1)
    kinds = of.get("type", "object" if "properties" in of else "string")
    kind = kinds[0] if isinstance(kinds, list) and kinds else kinds
    if kind == "object":
        members = of.get("properties", {})
        return {
            name: example_of(members.get(name, {}), root, depth=depth + 1) for name in of.get("required", list(members))
        }
    if kind == "array":
        count = min(int(of.get("minItems", 0)), _MAX_ITEMS)
        return [example_of(of.get("items", {}), root, depth=depth + 1)] * count
    if kind in ("integer", "number"):
        least = of.get("minimum", of.get("exclusiveMinimum", -1) + 1 if "exclusiveMinimum" in of else 0)
        return least if "maximum" not in of else min(max(least, 0), of["maximum"])
    if kind == "string":
        return "stub".ljust(min(int(of.get("minLength", 0)), _MAX_CHARACTERS), ".")[: of.get("maxLength")]
    return False if kind == "boolean" else None
