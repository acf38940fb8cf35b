"""Words of the definition language: durations, suggestions."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.cases import load_durations
from tests.support.database import Database, Db

VALID, INVALID = load_durations()


@pytest.fixture(scope="module")
def shared_db(module_database: Database) -> Iterator[Db]:
    with module_database.connect() as db:
        yield db


@pytest.mark.parametrize(("written", "seconds"), VALID)
def test_duration_is_a_number_of_seconds(shared_db: Db, written: Any, seconds: Any) -> None:
    assert shared_db.value("select flowgres.parse_duration(%s)", Jsonb(written)) == Decimal(seconds)


@pytest.mark.parametrize("written", INVALID)
def test_anything_else_is_no_duration(shared_db: Db, written: Any) -> None:
    assert shared_db.value("select flowgres.parse_duration(%s)", Jsonb(written)) is None


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("confg", 'Did you mean "config"?'),
        ("retrys", 'Did you mean "retry"?'),
        ("zzzzzz", "One of: config, id, retry."),
    ],
)
def test_hint_names_the_nearest_word(shared_db: Db, word: str, hint: str) -> None:
    assert shared_db.value("select flowgres.did_you_mean(%s, array['config', 'id', 'retry'])", word) == hint
