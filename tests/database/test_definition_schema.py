"""JSON Schema in SQL: any schema is read as in Python, with the same codes at the same places."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from flowgres_definitions.description import description
from flowgres_definitions.problems import format_path
from flowgres_definitions.schema import check_value
from tests.support.database import Database, Db
from tests.support.definitions import Author, workflow
from tests.support.schemas import any_schema, any_value

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def db(module_database: Database) -> Iterator[Db]:
    with module_database.connect() as db:
        yield db


def in_sql(db: Db, value: Any, schema: Any, *, is_open: bool) -> Pairs:
    found = db.value(
        "select to_jsonb(flowgres.check_value(%s, %s::jsonb, s, s, %s)) from (values (%s::jsonb)) as given (s)",
        "",
        json.dumps(value),
        is_open,
        json.dumps(schema),
    )
    return sorted({(told["path"], told["code"]) for told in found})


@pytest.mark.parametrize("is_open", [False, True])
def test_any_schema_is_read_as_in_python(db: Db, is_open: bool) -> None:
    rng = Random(os.urandom(8) if os.environ.get("FLOWGRES_FUZZ") else 2)
    for _ in range(1_500):
        schema, value = any_schema(rng), any_value(rng)
        in_python = {
            (format_path(path), problem.code) for path, problem in check_value(value, schema, schema, is_open=is_open)
        }
        assert in_sql(db, value, schema, is_open=is_open) == sorted(in_python), (schema, value)


def test_a_type_of_a_package_is_checked_at_the_import(db: Db, module_database: Database) -> None:
    schema = {
        "type": "object",
        "properties": {"to": {"type": "string", "pattern": "@"}, "copies": {"type": "integer", "maximum": 5}},
        "required": ["to"],
        "additionalProperties": False,
    }
    db.run("insert into flowgres.step_types (type, config_schema) values ('fax', %s::jsonb)", json.dumps(schema))
    author = Author(module_database, db)

    def errors(config: Any) -> dict[str, str]:
        return author.errors(workflow({"id": "a", "type": "fax", "config": config}))

    assert errors({"to": "a@b", "copies": 2}) == {}
    assert errors({"to": "{{ input.to }}", "copies": "{{ input.copies }}"}) == {}
    assert errors({"to": "nobody", "copies": 6}) == {
        "steps[0].config.to": "invalid_text",
        "steps[0].config.copies": "out_of_range",
    }
    assert errors({"copies": "{{ input.copies }}", "too": 1}) == {
        "steps[0].config.to": "missing_key",
        "steps[0].config.too": "unknown_key",
    }
    assert errors(None) == {"steps[0].config.to": "missing_key"}


NEST = {"$defs": {"n": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/n"}}]}}}
MODE = {"properties": {"mode": {"enum": ["a", "b", "c"]}, "x": {}}, "then": {"required": ["x"]}}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        # What may turn out either way asks for nothing yet.
        (MODE | {"if": {"properties": {"mode": {"const": "a"}}, "required": ["mode"]}}, {"mode": "{{ x }}"}, []),
        (MODE | {"if": {"properties": {"mode": {"enum": ["a", "c"]}}, "required": ["mode"]}}, {"mode": "{{ x }}"}, []),
        (MODE | {"if": {"required": ["mode"]}}, {"mode": "a"}, [("x", "missing_key")]),
        # A boundary of words, a pattern that PostgreSQL cannot read, a number of many digits.
        ({"pattern": "\\bfoo\\b"}, "a foo b", []),
        ({"pattern": "\\bfoo\\b"}, "afoo", [("", "invalid_text")]),
        ({"patternProperties": {"^(?i:x-)": {"type": "string"}}, "additionalProperties": False}, {"x-a": "1"}, []),
        ({"pattern": "^a"}, "{# a note #}", []),
        ({"multipleOf": 0.01}, 1e27, []),
        ({"multipleOf": 3}, 10**35, [("", "invalid_value")]),
        # Linear in depth.
        (NEST | {"$ref": "#/$defs/n"}, json.loads("[" * 40 + '"x"' + "]" * 40), [("[0]" * 40, "wrong_kind")]),
    ],
)
def test_both_read_what_is_easily_read_otherwise(db: Db, schema: Any, value: Any, said: Pairs) -> None:
    # What is exponential never ends.
    db.run("set statement_timeout = '60s'")
    in_python = sorted(
        {(format_path(path), problem.code) for path, problem in check_value(value, schema, schema, is_open=True)}
    )
    assert in_sql(db, value, schema, is_open=True) == in_python
    assert in_python == said


@pytest.mark.parametrize(
    ("place", "parts"),
    [
        ("correlation_id", [*'$.aä[]07*() -"\t\v', "_1", "12", "last", "size", "lax "]),
        ("mapped", [*'$.aä[]07*() -"\t', "[0]", ".b", "[*]", "last"]),
        ("filter", [*'$.aä ()!-"07', ' == "b"', " > 1.5", "<= -2", " && ", "||", "exists($.a)", "$.b", ".size()",
            " starts with ", '"x"', "[*]", " <> null", "!="]),
    ],
)  # fmt: skip
def test_what_the_description_takes_for_a_jsonpath_is_one(db: Db, place: str, parts: list[str]) -> None:
    root = description()
    schema = root["$defs"].get(place) or root["$defs"]["settings"]["properties"][place]
    rng = Random(3)
    taken = 0
    for _ in range(20_000):
        text = "$" + "".join(rng.choices(parts, k=rng.randrange(1, 7)))
        # Any other text of a mapping is taken as it is.
        if not check_value(text, schema, root) and (place != "mapped" or text[1:2] in ("", ".", "[")):
            taken += 1
            db.value("select %s::jsonpath", text)
    assert taken > 200
