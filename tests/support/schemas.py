"""JSON Schemas and values that nobody would write, and the library that says what is right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker, ValidationError
from jsonschema.validators import extend

from flowgres_definitions.durations import parse_moment
from flowgres_definitions.schema import pattern_of

Json = Any
FORMATS = FormatChecker(formats=())
FORMATS.checks("seconds")(lambda value: not isinstance(value, str))
FORMATS.checks("moment")(lambda value: not isinstance(value, str) or parse_moment(value) is not None)


def _pattern(_validator: Any, text: str, value: Any, _schema: Any) -> Iterator[ValidationError]:
    # In JSON Schema `$` is the end of the text; in Python it also matches before a last newline.
    found = pattern_of(text)
    if isinstance(value, str) and found is not None and not found.search(value):
        yield ValidationError("the text does not match")


_Oracle: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]


def is_valid(value: Json, schema: Json) -> bool:
    """What jsonschema says."""
    return bool(_Oracle(schema, format_checker=FORMATS).is_valid(value))


_KEYS = ["a", "b", "ab", "c", "type"]
_SCALARS = [None, True, False, 0, 1, 2, 1.0, 1.5, -1, 10, 0.5, 10**20, "", "a", "ab", "b1", "1", "ä", "a\n", "{{ x }}"]
_TYPES = ["string", "number", "integer", "boolean", "object", "array", "null"]
_PATTERNS = ["^a", "b$", "^[a-b]{1,2}$", "1", "\\d", "^(a|b)c?$", "[^a-z]"]
_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_COUNTS = (
    *("minLength", "maxLength", "minItems", "maxItems", "minContains", "maxContains"),
    *("minProperties", "maxProperties"),
)
_ONE = ("not", "items", "contains", "additionalProperties", "propertyNames", "if", "then", "else")
_LISTS = ("prefixItems", "allOf", "anyOf", "oneOf")
_NAMED = ("properties", "patternProperties", "dependentSchemas")


def any_value(rng: Random, depth: int = 3) -> Json:
    """Any JSON, of few words, so that schemas meet it."""
    kind = rng.random()
    if depth and kind < 0.2:
        return [any_value(rng, depth - 1) for _ in range(rng.randrange(4))]
    if depth and kind < 0.5:
        return {rng.choice(_KEYS): any_value(rng, depth - 1) for _ in range(rng.randrange(4))}
    return rng.choice(_SCALARS)


def any_schema(rng: Random) -> Json:
    """A schema with two definitions that lead nowhere else."""
    parts = {name: _schema(rng, 1, may_refer=False) for name in ("one", "two")}
    return {**_rules(rng, 3, may_refer=True), "$defs": parts}


def _schema(rng: Random, depth: int, *, may_refer: bool = True) -> Json:
    if not depth or rng.random() < 0.15:
        return rng.random() < 0.7
    return _rules(rng, depth, may_refer=may_refer)


def _rules(rng: Random, depth: int, *, may_refer: bool) -> dict[str, Json]:
    def part() -> Json:
        return _schema(rng, depth - 1, may_refer=may_refer)

    makers: list[tuple[str, Callable[[], Json]]] = [
        ("type", lambda: rng.choice([rng.choice(_TYPES), rng.sample(_TYPES, 2), rng.sample(_TYPES, 4)])),
        ("enum", lambda: [any_value(rng, 1) for _ in range(rng.randrange(4))]),
        ("const", lambda: any_value(rng, 1)),
        ("multipleOf", lambda: rng.choice([0.5, 1, 2, 3])),
        ("pattern", lambda: rng.choice(_PATTERNS)),
        ("uniqueItems", lambda: rng.random() < 0.5),
        ("required", lambda: rng.sample(_KEYS, rng.randrange(3))),
        ("dependentRequired", lambda: {rng.choice(_KEYS): rng.sample(_KEYS, rng.randrange(3))}),
        *((name, lambda: rng.choice([0, 1, 2, 1.5, -1])) for name in _BOUNDS),
        *((name, lambda: rng.randrange(4)) for name in _COUNTS),
        *((name, part) for name in _ONE),
        *((name, lambda: [part() for _ in range(rng.randrange(1, 3))]) for name in _LISTS),
        *((name, lambda: {rng.choice(_KEYS): part() for _ in range(rng.randrange(3))}) for name in _NAMED),
    ]
    if may_refer:
        makers.append(("$ref", lambda: rng.choice(["#/$defs/one", "#/$defs/two"])))
    return {name: make() for name, make in rng.sample(makers, rng.randrange(6))}
