"""The check in SQL and the check in Python say the same of the same definition."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from flowgres_definitions.dialects import translate
from flowgres_definitions.problems import format_path
from flowgres_definitions.validation import find_all, validate_document
from tests.support.database import Database
from tests.support.definitions import Author
from tests.support.parity import ALIKE, PARSED, STORED, Definition, Said
from tests.support.parity_aliases import ALIASES

Pairs = list[tuple[str, str]]


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def in_python(definition: Any) -> Pairs:
    return sorted({(format_path(path), problem.code) for path, problem in find_all(definition, custom_types={})})


def in_sql(author: Author, definition: Any) -> Pairs:
    found = author.db.one(
        "select flowgres.check_definition(p_tenant_id => %s, p_definition => %s::jsonb) as c",
        author.tenant_id,
        definition,
    )["c"]
    assert found["valid"] == (found["errors"] == [])
    return sorted({(problem["path"], problem["code"]) for problem in found["errors"]})


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
