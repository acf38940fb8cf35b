"""The check in SQL and the check in Python give the same verdict on definitions that nobody thought of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from psycopg.types.json import Jsonb

from flowgres_definitions.validation import validate_document
from tests.support.database import Database
from tests.support.definitions import Author
from tests.support.wild import VALUES, nearly_valid

ONE_SIDED = {"cron_invalid", "timezone_unknown", "inline_secret", "jsonpath_invalid", "sub_workflow_recursion"}
"""What one of the two checks alone can know, or tells of more inputs than the other."""


@pytest.fixture(scope="module")
def author(module_database: Database) -> Iterator[Author]:
    with module_database.connect() as db:
        yield Author(module_database, db)


def assert_same_verdict(author: Author, document: Any) -> None:
    in_python = {
        (problem.path, problem.code)
        for problem in validate_document(document)
        if problem.severity == "error" and problem.code not in ONE_SIDED
    }
    found = author.db.value(
        "select flowgres.check_definition(p_tenant_id => %s, p_definition => %s)", author.tenant_id, Jsonb(document)
    )["errors"]
    in_sql = {(problem["path"], problem["code"]) for problem in found if problem["code"] not in ONE_SIDED}
    assert bool(in_python) == bool(in_sql), (in_python, in_sql)


@given(VALUES)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_has_one_verdict(author: Author, document: Any) -> None:
    assert_same_verdict(author, document)


@given(nearly_valid())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nearly_valid_definitions_have_one_verdict(author: Author, document: Any) -> None:
    assert_same_verdict(author, document)
