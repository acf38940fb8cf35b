"""How many starts a tenant may make in a minute, on a clock that the test moves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from flowgres_front.problems import from_database
from tests.support.database import Clock, Database
from tests.support.definitions import log_step, workflow
from tests.support.races import refusal_code
from tests.support.starts import Starts


@pytest.fixture
def starts(database: Database, clock: Clock) -> Iterator[Starts]:
    """A tenant without rules."""
    with database.connect() as db:
        starts = Starts(database, db, clock)
        starts.rule()
        yield starts


def limit(starts: Starts, value: int) -> None:
    """Let the tenant make so many starts in a minute."""
    starts.db.run("select flowgres.set_setting('rate_limit_per_minute', to_jsonb(%s::integer))", value)


def refused(starts: Starts, **members: Any) -> float:
    """Start once too often; in how many seconds it may be tried again."""
    with pytest.raises(psycopg.Error) as refusal:
        starts.start(**members)
    assert refusal_code(refusal.value) == "start_rate_exceeded"
    found = re.fullmatch(r"Start again in (\d+) s\.", refusal.value.diag.message_hint or "")
    assert found is not None, refusal.value.diag.message_hint
    return float(found[1])


def bulk(starts: Starts, count: int) -> list[str]:
    ids: list[str] = starts.db.call("flowgres_api.start_executions", workflow="w", inputs=[{}] * count)
    return ids


def test_start_that_is_one_too_many_may_come_when_the_first_is_a_minute_old(starts: Starts) -> None:
    limit(starts, 3)
    for _ in range(3):
        starts.start()
        starts.clock.advance(seconds=10)
    seconds = refused(starts)
    assert 29 <= seconds <= 30
    starts.clock.advance(seconds=seconds)
    assert starts.start()["created"]
    assert 9 <= refused(starts) <= 10


def test_refused_start_does_not_count_and_leaves_nothing(starts: Starts) -> None:
    limit(starts, 1)
    starts.start(options={"idempotency_key": "a"})
    for _ in range(3):
        refused(starts, options={"idempotency_key": "b"})
    assert starts.db.column("select key from flowgres.idempotency_keys") == ["a"]
    # What has an answer already is no start.
    assert not starts.start(options={"idempotency_key": "a"})["created"]
    starts.clock.advance(seconds=61)
    assert starts.start(options={"idempotency_key": "b"})["created"]


def test_many_starts_at_once_count_as_many(starts: Starts) -> None:
    limit(starts, 10)
    bulk(starts, 7)
    with pytest.raises(psycopg.Error) as refusal:
        bulk(starts, 4)
    assert refusal_code(refusal.value) == "start_rate_exceeded"
    assert len(bulk(starts, 3)) == 3
    assert len(starts.rows()) == 10


def test_more_at_once_than_a_minute_takes_is_refused_as_a_whole(starts: Starts) -> None:
    limit(starts, 600)
    with pytest.raises(psycopg.Error) as refusal:
        bulk(starts, 1000)
    assert refusal_code(refusal.value) == "start_rate_exceeded"
    assert "several calls" in (refusal.value.diag.message_hint or "")
    assert starts.rows() == []


def test_limit_of_nothing_lets_nothing_start(starts: Starts) -> None:
    limit(starts, 0)
    with pytest.raises(psycopg.Error) as refusal:
        starts.start()
    assert "operator" in (refusal.value.diag.message_hint or "")


def test_limits_of_tenants_are_their_own(starts: Starts) -> None:
    limit(starts, 1)
    starts.start()
    other = Starts(starts.database, starts.db, starts.clock)
    other.rule()
    assert [other.start()["created"] for _ in range(3)] == [True] * 3
    starts.author.use()
    refused(starts)


def test_lower_limit_holds_from_the_next_start_on(starts: Starts) -> None:
    for _ in range(20):
        starts.start()
    assert starts.db.value("select max(start_weight) from flowgres.tenants") == 120
    limit(starts, 0)
    with pytest.raises(psycopg.Error):
        starts.start()
    limit(starts, 1000)
    starts.start()


def test_rate_that_is_noted_by_lot_is_held_near_its_limit(starts: Starts) -> None:
    # One of ten is noted. Six standard deviations of what five hundred notes tell.
    limit(starts, 5000)
    count = 0

    def start_many() -> None:
        nonlocal count
        for _ in range(300):
            count += len(bulk(starts, 9))
            for _ in range(9):
                count += starts.start()["created"]

    with pytest.raises(psycopg.Error) as refusal:
        start_many()
    assert refusal_code(refusal.value) == "start_rate_exceeded"
    assert 5000 * 0.7 < count < 5000 * 1.3
    assert starts.db.value("select count(*) from flowgres.start_counts") < 800
    starts.clock.advance(seconds=200)
    starts.db.call("flowgres.prune", p_limit=10_000)
    assert starts.db.value("select count(*) from flowgres.start_counts") == 0


def test_slots_of_schedules_do_not_count(starts: Starts) -> None:
    limit(starts, 1)
    starts.start()
    definition = workflow(log_step("a"), name="s", triggers=[{"type": "cron", "cron": "* * * * *"}])
    starts.author.confirm(starts.author.import_(definition)["version_id"])
    starts.clock.advance(seconds=60)
    assert starts.db.one("select * from flowgres.fire_schedules(100)")["p_started"] == 1


@pytest.mark.parametrize(("trigger", "is_refused"), [("webhook", True), ("event", True), ("cron", False)])
def test_what_others_send_counts_whatever_brings_it(starts: Starts, trigger: str, is_refused: bool) -> None:
    limit(starts, 1)
    query = (
        "select flowgres.start_versions(p_version => v, p_inputs => array['{}'::jsonb], p_now => flowgres.now(),"
        " p_trigger_type => %s) from flowgres.workflow_versions as v where v.tenant_id = %s"
    )
    starts.db.run(query, trigger, starts.author.tenant_id)
    if is_refused:
        with pytest.raises(psycopg.Error):
            starts.db.run(query, trigger, starts.author.tenant_id)
    else:
        starts.db.run(query, trigger, starts.author.tenant_id)


def test_front_passes_on_when_a_start_may_come_again(starts: Starts) -> None:
    limit(starts, 1)
    starts.start()
    starts.clock.advance(seconds=20)
    with pytest.raises(psycopg.Error) as refusal:
        starts.start()
    problem = from_database(refusal.value)
    assert (problem.status, problem.code) == (429, "start_rate_exceeded")
    assert problem.headers is not None
    assert problem.headers["Retry-After"] in {"39", "40"}
