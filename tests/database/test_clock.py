"""The engine's clock and the ids that are made from it."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db


def test_clock_is_the_real_one_until_it_is_moved(database: Database, db: Db, clock: Clock) -> None:
    ahead = "select round(extract(epoch from flowgres.now() - clock_timestamp()))::integer"
    with database.connect("runner") as runner:
        # Asked twice before: what a session has planned must follow the clock too.
        assert [runner.value(ahead) for _ in range(2)] == [0, 0]
        clock.advance(seconds=3600)
        assert runner.value(ahead) == 3600
        clock.advance(seconds=-1800)
        assert (runner.value(ahead), db.value(ahead)) == (1800, 1800)


def test_move_that_is_rolled_back_moves_nothing(db: Db) -> None:
    with db.connection.transaction(force_rollback=True):
        db.run("select flowgres.set_clock(p_shift => interval '1 day')")
        assert db.value("select flowgres.clock_shift()").days == 1
    assert db.value("select flowgres.clock_shift() = interval '0'")


@pytest.mark.parametrize("role", ["runner", "operator", "front", "sql"])
def test_nobody_but_the_owner_moves_the_clock(database: Database, role: Any) -> None:
    with database.connect(role) as login, pytest.raises(psycopg.errors.InsufficientPrivilege):
        login.run("select flowgres.set_clock(p_shift => interval '1 day')")


def test_ids_carry_their_time_and_are_what_a_uuid_v7_is(db: Db) -> None:
    made = "select flowgres.uuid_v7('2026-01-02 03:04:05.678+00') from generate_series(1, 100)"
    ids = [uuid.UUID(str(value)) for value in db.column(made)]
    assert len(set(ids)) == 100
    assert {value.version for value in ids} == {7}
    assert {value.variant for value in ids} == {uuid.RFC_4122}
    assert {value.int >> 80 for value in ids} == {1_767_323_045_678}
    # What differs between a hundred ids are the 74 random bits: all behind the version but for the two of the variant.
    varying = 0
    for value in ids:
        varying |= value.int ^ ids[0].int
    assert varying == ((1 << 76) - 1) & ~(3 << 62)
