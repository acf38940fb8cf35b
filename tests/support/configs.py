"""Configurations made of their schemas: one for every place that a schema knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import Any

from flowgres_definitions.expressions import holds_expression
from flowgres_definitions.problems import Path
from tests.support.schemas import is_valid

Json = Any

ID = "00000000-0000-0000-0000-000000000001"
SAMPLES: Sequence[Json] = (
    *("a", "ab", "200", "https://a.example/", "2027-01-31T12:00:00Z", ID), 200, True, {}, [], None,
)  # fmt: skip


def sample(schema: Json) -> Json:
    """Something that a schema takes, with no expression in it."""
    known = [*schema.get("examples", ()), *schema.get("enum", ()), schema.get("default"), *SAMPLES]
    choices = [one for one in schema.get("anyOf", ()) if "x-aside" not in one]
    for value in chain(known, map(sample, choices)):
        if is_valid(value, schema) and not holds_expression(value):
            return value
    return with_members(schema, ()) if "properties" in schema else [sample(schema.get("items", {}))]


def with_members(schema: Json, names: tuple[str, ...]) -> Json:
    """An object with these members, and the fewest others that it needs."""
    others = [name for name, of in schema["properties"].items() if name not in names and "doNotSuggest" not in of]
    for count in range(4):
        for chosen in combinations(others, count):
            made = {name: sample(schema["properties"][name]) for name in (*names, *chosen)}
            if is_valid(made, schema):
                return made
    raise AssertionError(f"no object has {names}")


def written_out(schema: Json) -> Iterator[tuple[Path, Json]]:
    """Every place below the schema of an object, each with an object that has it."""
    for name, of in schema.get("properties", {}).items():
        if "doNotSuggest" in of:
            continue
        whole = with_members(schema, (name,))
        yield (name,), whole
        for path, part in within(of):
            yield (name, *path), {**whole, name: part}


def within(schema: Json) -> Iterator[tuple[Path, Json]]:
    """The same for a schema that may be one of several."""
    for one in [one for one in schema.get("anyOf", ()) if "x-aside" not in one] or [schema]:
        if "properties" in one:
            yield from written_out(one)
        if isinstance(one.get("additionalProperties"), dict):
            of = one["additionalProperties"]
            yield ("X-A",), {"X-A": sample(of)}
            yield from ((("X-A", *path), {"X-A": part}) for path, part in within(of))
        if isinstance(one.get("items"), dict):
            yield (0,), [sample(one["items"])]
            yield from (((0, *path), [part]) for path, part in within(one["items"]))


def put(value: Json, path: Path, part: Json) -> Json:
    """A value with another part at a path, which leads somewhere."""
    if not path:
        return part
    if not isinstance(value, dict | list):
        raise LookupError(f"{value!r} has no parts")
    copy: Any = value.copy()
    copy[path[0]] = put(copy[path[0]], path[1:], part)
    return copy
