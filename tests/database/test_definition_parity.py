"""The check in SQL and the check in Python say the same of the same definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowgres_definitions.problems import Problem
from flowgres_definitions.schema import load_schema
from flowgres_definitions.validation import validate_document
from flowgres_runner.steps import condition as condition_step
from flowgres_runner.steps import delay, http, log, notify, sub_workflow, transform
from tests.support.database import Database
from tests.support.definitions import Author, condition, listed_step, workflow
from tests.support.parity import ALIASES, ALIKE, DOCUMENTED, PARSED, STORED, Definition, Said

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def in_python(definition: Any, severity: str = "error") -> Pairs:
    return pairs(problem for problem in validate_document(definition) if problem.severity == severity)


def in_sql(author: Author, definition: Any, member: str = "errors") -> Pairs:
    found = author.db.one(
        "select flowgres.check_definition(p_tenant_id => %s, p_definition => %s::jsonb) as c",
        author.tenant_id,
        definition,
    )["c"]
    assert found["valid"] == (found["errors"] == [])
    return sorted({(problem["path"], problem["code"]) for problem in found[member]})


def pairs(problems: Iterator[Problem]) -> Pairs:
    return sorted({(problem.path, problem.code) for problem in problems})


def codes(found: Pairs) -> list[str]:
    return sorted(code for _, code in found)


def test_the_list_is_long_enough_to_mean_something() -> None:
    said = {code for group in (ALIKE, PARSED, STORED) for _, errors in group for code in errors.values()}
    assert len(ALIKE) > 60
    assert len(said) > 25


@pytest.mark.parametrize(("definition", "errors"), ALIKE)
def test_both_say_the_same_at_the_same_place(author: Author, definition: Definition, errors: Said) -> None:
    assert in_python(definition) == sorted(errors.items())
    assert in_sql(author, definition) == sorted(errors.items())


@pytest.mark.parametrize(("definition", "errors"), ALIASES)
def test_both_read_the_words_of_other_systems(author: Author, definition: Definition, errors: list[str]) -> None:
    assert codes(in_python(definition)) == errors
    assert codes(in_sql(author, definition)) == errors


@pytest.mark.parametrize(("definition", "errors"), PARSED)
def test_only_python_parses(author: Author, definition: Definition, errors: Said) -> None:
    assert in_python(definition) == sorted(errors.items())
    assert in_sql(author, definition) == []


@pytest.mark.parametrize(("definition", "errors"), STORED)
def test_only_the_database_knows(author: Author, definition: Definition, errors: Said) -> None:
    assert in_python(definition) == []
    assert in_sql(author, definition) == sorted(errors.items())


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (DOCUMENTED, ["true_branch[0]", "false_branch[0]"]),
        (
            workflow(condition("c", true=["ghost", "x", "wraith"], false=[]), listed_step("x"), trigger_type="manual"),
            ["true_branch[0]", "true_branch[2]"],
        ),
        (workflow(condition("c", true=["x"], false=[]), listed_step("x"), trigger_type="manual"), []),
    ],
)
def test_both_warn_of_branches_that_lead_nowhere(author: Author, definition: Definition, expected: list[str]) -> None:
    number = next(place for place, step in enumerate(definition["steps"]) if step["type"] == "condition")
    warnings = sorted((f"steps[{number}].config.{path}", "unknown_branch_target") for path in expected)

    assert in_python(definition, "warning") == warnings
    found = in_sql(author, definition, "warnings")
    assert [pair for pair in found if pair[1] == "unknown_branch_target"] == warnings


@pytest.mark.parametrize(
    ("kind", "handler"),
    [
        ("condition", condition_step),
        ("delay", delay),
        ("http", http),
        ("log", log),
        ("notify", notify),
        ("sub_workflow", sub_workflow),
        ("transform", transform),
    ],
)
def test_schema_sql_and_handler_know_the_same_configuration(author: Author, kind: str, handler: Any) -> None:
    published = load_schema()["$defs"][kind]
    shape = author.db.value("select flowgres.definition_shape(%s)", kind)

    assert set(published["properties"]) == set(shape["keys"]) == set(handler.CONFIG_SCHEMA["properties"])
    assert published["additionalProperties"] is handler.CONFIG_SCHEMA["additionalProperties"] is False
