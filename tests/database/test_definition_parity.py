"""The check in SQL and the check in Python say the same of the same definition."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from flowgres_definitions.dialects import translate
from flowgres_definitions.problems import format_path
from flowgres_definitions.validation import find_all, validate_document
from tests.support.database import Database
from tests.support.definitions import Author
from tests.support.parity import ALIKE, PARSED, STORED, Definition, Said
from tests.support.parity_aliases import ALIASES
from tests.support.parity_machines import MACHINES, ODD

Pairs = list[tuple[str, str]]
SEVERITIES = {"error": "errors", "warning": "warnings"}


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def in_python(definition: Any) -> Pairs:
    found = find_all(definition, custom_types={})
    return sorted({(format_path(path), problem.code) for path, problem in found if problem.severity == "error"})


def in_sql(author: Author, definition: Any) -> Pairs:
    found = check(author, definition)
    assert found["valid"] == (found["errors"] == [])
    return sorted({(problem["path"], problem["code"]) for problem in found["errors"]})


def check(author: Author, definition: Any) -> Any:
    return author.db.value(
        "select flowgres.check_definition(p_tenant_id => %s, p_definition => %s::jsonb)", author.tenant_id, definition
    )


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
    assert [problem.code for problem in validate_document(definition) if problem.severity == "error"] == errors
    assert codes(in_sql(author, translate(definition).document)) == errors


@pytest.mark.parametrize(("definition", "errors"), PARSED)
def test_only_python_parses(author: Author, definition: Definition, errors: Said) -> None:
    assert in_python(definition) == sorted(errors.items())
    assert in_sql(author, definition) == []


@pytest.mark.parametrize(("definition", "errors"), STORED)
def test_only_the_database_knows(author: Author, definition: Definition, errors: Said) -> None:
    assert in_python(definition) == []
    assert in_sql(author, definition) == sorted(errors.items())


@pytest.mark.parametrize("definition", [definition for definition, _ in [*MACHINES, *ODD]])
def test_both_say_it_of_a_machine_in_the_same_words(author: Author, definition: Definition) -> None:
    found = check(author, definition)
    told = [{**one, "severity": kind} for kind, many in SEVERITIES.items() for one in found[many]]
    in_sql = [one for one in told if one["code"] != "workflow_not_found"]  # only a database has workflows
    in_python = [
        {**replace(problem, path=format_path(path)).as_json(), "severity": problem.severity}
        for path, problem in find_all(definition, custom_types={})
    ]
    assert by_place(in_python) == by_place(in_sql)


def by_place(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # Which word is the nearest one is told by two algorithms.
    told = [{**one, "hint": re.sub("(Did you mean|One of: ).*", "", one.get("hint", ""))} for one in told]
    return sorted(told, key=lambda one: (one["path"], one["code"]))


@pytest.mark.parametrize(("definition", "warnings"), ODD)
def test_what_is_odd_about_a_machine_is_told(author: Author, definition: Definition, warnings: Said) -> None:
    found = check(author, definition)
    assert found["errors"] == []
    assert {one["path"]: one["code"] for one in found["warnings"]} == warnings
