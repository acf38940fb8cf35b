"""SQL and Python say the same of definitions that nobody thought of: verdict, codes and paths."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from psycopg.types.json import Jsonb

from flowgres_definitions.machines import is_machine
from flowgres_definitions.problems import format_path
from flowgres_definitions.validation import find_all
from tests.support.database import Database
from tests.support.definitions import Author
from tests.support.wild import VALUES, nearly_valid, wild_machines

ONE_SIDED = {"sub_workflow_recursion", "workflow_not_found", "guard_not_boolean"}
"""What one of the two alone can know: other workflows take a database. So does what PostgreSQL makes of a guard."""
PARSED = ("expression_", "secret_misuse")
"""SQL reads expressions as text, so of these it may say less, and never more."""


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def assert_same(author: Author, document: Any) -> None:
    if not isinstance(document, dict):
        return
    found = find_all(document, custom_types={})
    in_python = pairs((format_path(path), problem.code) for path, problem in found if problem.severity == "error")
    check = author.db.value(
        "select flowgres.check_definition(p_tenant_id => %s, p_definition => %s)", author.tenant_id, Jsonb(document)
    )
    in_sql = pairs((told["path"], told["code"]) for told in check["errors"])
    assert in_sql <= in_python
    assert [pair for pair in in_python - in_sql if not pair[1].startswith(PARSED)] == []
    if is_machine(document) and check["valid"]:
        warned = pairs((format_path(path), problem.code) for path, problem in found if problem.severity == "warning")
        assert warned == pairs((told["path"], told["code"]) for told in check["warnings"])


def pairs(told: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Paths and codes, but for what one of the two alone can know."""
    return {
        (path, code)
        for path, code in told
        if code not in ONE_SIDED and not (code == "jsonpath_invalid" and path.endswith(".guard"))
    }


@given(VALUES)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_judged_alike(author: Author, document: Any) -> None:
    assert_same(author, document)


@given(nearly_valid())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nearly_valid_definitions_are_judged_alike(author: Author, document: Any) -> None:
    assert_same(author, document)


@given(wild_machines())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_wild_machines_are_judged_alike(author: Author, document: Any) -> None:
    assert_same(author, document)


@pytest.mark.slow
@given(nearly_valid() | wild_machines())
@settings(max_examples=5_000, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
def test_five_thousand_of_them_are(author: Author, document: Any) -> None:
    assert_same(author, document)
