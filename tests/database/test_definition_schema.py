"""JSON Schema in SQL: any schema is read as in Python, with the same codes at the same places."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

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
