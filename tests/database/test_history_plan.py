"""How long periods are: never more than 12 of them, whatever the settings, and whatever they were before."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.database import Clock, Database, Db
from tests.support.history import assert_periods_are_sound, bounds, create_history, partitions, retire_history

pytestmark = pytest.mark.usefixtures("one_family")

DAY = 86400


def _set(db: Db, **settings: Any) -> None:
    for name, value in settings.items():
        db.run("update flowgres.settings set value = to_jsonb(%s::numeric) where name = %s", value, name)


def _round(database: Database, db: Db) -> None:
    """What a runner does every minute, until nothing is left to do."""
    while create_history(database) + retire_history(database)["retired"]:
        pass
    assert_periods_are_sound(db)


def _live(database: Database, db: Db, clock: Clock, *, rounds: int) -> int:
    """Go on to the moments at which a period is due, one after the other; return the largest number of periods seen."""
    most = 0
    for _ in range(rounds):
        ahead = db.value("select ahead from flowgres.plan_history(p_family => 'executions')")
        clock.advance(seconds=max((bounds(db)[-1][1] - ahead - clock.now()).total_seconds(), 0) + 60)
        _round(database, db)
        most = max(most, len(partitions(db)))
        assert bounds(db)[0][0] <= clock.now() <= bounds(db)[-1][1] - ahead
    return most


@pytest.mark.parametrize(
    ("retention", "shortest", "ahead", "length"),
    [
        (30, 7, 4, 7),
        (0, 0, 0, 1),
        (90, 7, 4, 12),
        (365, 1, 12, 38),
        (30, 30, 12, 39),
        (3650, 7, 4, 368),
        (7.5, 0.4, 2.5, 2),
        (1e15, 1e15, 1e15, 8030),
    ],
)
def test_the_length_of_a_period_follows_from_the_settings(
    db: Db, retention: float, shortest: float, ahead: float, length: int
) -> None:
    _set(db, log_retention_days=retention, history_period_days=shortest, history_ahead_count=ahead)
    plan = db.one("select * from flowgres.plan_history(p_family => 'executions')")
    assert plan["period_days"] == length
    assert -(-(plan["retention"].days + plan["ahead"].days) // length) + 1 <= 11


@pytest.mark.parametrize(("retention", "shortest", "ahead"), [(30, 7, 4), (0, 1, 1), (365, 1, 12), (3650, 7, 4)])
def test_at_most_12_periods_exist(
    database: Database, db: Db, clock: Clock, retention: int, shortest: int, ahead: int
) -> None:
    _set(db, log_retention_days=retention, history_period_days=shortest, history_ahead_count=ahead)
    _round(database, db)
    assert _live(database, db, clock, rounds=14) <= 12
    # What the installation had made has gone, and all the others have the length of the plan.
    length = db.value("select period_days from flowgres.plan_history(p_family => 'executions')")
    assert {(end - begin).days for begin, end in bounds(db)[-5:]} == {length}


def test_other_settings_take_hold_and_no_time_is_left_out(database: Database, db: Db, clock: Clock) -> None:
    _live(database, db, clock, rounds=4)
    _set(db, log_retention_days=3650)
    _round(database, db)
    # What was made ahead is made anew. The other short periods are there for ten years: the next ones are so long that
    # 12 are enough until those have gone.
    assert _live(database, db, clock, rounds=4) <= 12
    lengths = [(end - begin).days for begin, end in bounds(db)]
    assert lengths[0] == 7
    assert 368 < lengths[-1] < 1000
    assert _live(database, db, clock, rounds=10) <= 12
    assert (bounds(db)[-1][1] - bounds(db)[-1][0]).days == 368

    _set(db, log_retention_days=30)
    _round(database, db)
    # The current period stays as it is until its end.
    assert bounds(db)[-1][0] <= clock.now() or (bounds(db)[-1][1] - bounds(db)[-1][0]).days == 7
    _live(database, db, clock, rounds=9)
    assert {(end - begin).days for begin, end in bounds(db)} == {7}


def test_rows_in_a_period_that_has_become_too_long_go_all_the_same(database: Database, db: Db, clock: Clock) -> None:
    _set(db, log_retention_days=3650)
    _round(database, db)
    _live(database, db, clock, rounds=3)
    tenant = database.make_tenant()
    clock.advance(seconds=10 * DAY)
    db.run(
        "insert into flowgres.executions (tenant_id, id, workflow_id, version_id, version, status, step_count,"
        " timeout_seconds, created_at, finished_at) select %s, flowgres.uuid_v7(t.at), gen_random_uuid(),"
        " gen_random_uuid(), 1, 'completed', 1, 1, t.at, t.at from (select flowgres.now() as at) as t",
        tenant.tenant_id,
    )
    assert "default" not in db.value("select tableoid::regclass::text from flowgres.executions")
    clock.advance(seconds=32 * DAY)
    create_history(database)
    assert retire_history(database)["deleted"] == 0
    _set(db, log_retention_days=30)
    assert retire_history(database)["deleted"] == 1
    assert db.value("select count(*) from flowgres.executions") == 0
