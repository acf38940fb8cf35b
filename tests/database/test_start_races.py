"""Rules of starts between connections: who starts at once, who claims, who holds a transaction open."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database
from tests.support.definitions import log_step, workflow
from tests.support.engine import hands
from tests.support.races import rivals
from tests.support.starts import Starts

THREADS = 8


@pytest.fixture
def starts(database: Database, clock: Clock) -> Iterator[Starts]:
    """A tenant whose starts go by rules."""
    with database.connect() as db:
        yield Starts(database, db, clock)


def at_once(starts: Starts, count: int, keys: int) -> list[Any]:
    """Start in eight threads, with keys drawn at random; the answers, and the errors as they are."""

    def run(thread: int) -> list[Any]:
        draw = random.Random(thread)
        answers: list[Any] = []
        with starts.author.connect() as db:
            for number in range(count):
                try:
                    answers.append(starts.start(db, k=draw.randrange(keys), n=f"{thread}-{number}"))
                except psycopg.Error as error:
                    answers.append(error)
        return answers

    with ThreadPoolExecutor(THREADS) as pool:
        return [answer for answers in pool.map(run, range(THREADS)) for answer in answers]


def test_one_execution_of_a_key_at_most_runs(starts: Starts) -> None:
    starts.rule(singleton="return", key="$.k")
    with ThreadPoolExecutor(1) as pool, hands(starts.database) as runner:
        started = pool.submit(at_once, starts, 30, 3)
        while not started.done():
            runner.work()
        runner.work()
    assert all(isinstance(answer, dict) for answer in started.result()), started.result()[:3]
    created = [answer["execution_id"] for answer in started.result() if answer["created"]]
    assert sorted(created) == sorted(str(row["id"]) for row in starts.rows())
    for key in range(3):
        spans = [row for row in starts.rows() if row["input"]["k"] == key]
        assert len(spans) > 1
        for earlier, later in pairwise(sorted(spans, key=lambda row: row["started_at"])):
            assert earlier["finished_at"] <= later["started_at"]


def test_burst_is_one_execution_with_the_input_that_came_last(starts: Starts) -> None:
    starts.rule(debounce=60, key="$.k")
    answers = at_once(starts, 25, 1)
    assert {answer["created"] for answer in answers} == {True, False}
    (row,) = starts.rows()
    assert {answer["execution_id"] for answer in answers} == {str(row["id"])}
    assert row["input"]["n"].endswith("-24"), "each thread's last start is the last of that thread"
    starts.clock.advance(seconds=61)
    assert starts.run() == [row["input"]]


def test_throttle_holds_in_any_time_whoever_starts(starts: Starts) -> None:
    starts.rule(throttle={"limit": 5, "per": 30}, key="$.k")
    assert all(answer["created"] for answer in at_once(starts, 10, 2))
    for key in range(2):
        begins = sorted((row["scheduled_at"] or row["created_at"]) for row in starts.rows() if row["input"]["k"] == key)
        assert len(begins) > 10
        for first, sixth in zip(begins, begins[5:], strict=False):
            # Where nothing waits the row has the time of its call, which is before the key was got.
            assert sixth - first > timedelta(seconds=29)


def test_calls_with_many_keys_do_not_wait_in_a_circle(starts: Starts) -> None:
    starts.rule(singleton="return", key="$.k")

    def run(thread: int) -> list[str]:
        draw = random.Random(thread)
        with starts.author.connect() as db:
            ids: list[str] = []
            for _ in range(10):
                inputs = [{"k": key} for key in draw.sample(range(20), 20)]
                ids += db.call("flowgres_api.start_executions", workflow="w", inputs=inputs)
            return ids

    with ThreadPoolExecutor(THREADS) as pool:
        ids = {id for ids in pool.map(run, range(THREADS)) for id in ids}
    assert len(ids) == len(starts.rows()) == 20


@pytest.mark.parametrize("rule", [{"singleton": "return"}, {"debounce": 60}])
def test_start_waits_for_one_of_its_key_that_has_not_committed(starts: Starts, rule: dict[str, Any]) -> None:
    starts.rule(**rule, key="$.k")
    with starts.author.connect() as first, starts.author.connect() as second, rivals(starts.db) as run:
        for ends in ("rollback", "commit"):
            first.run("begin")
            held = starts.start(first, k=1, n=1)
            assert starts.start(second, k=2)["execution_id"], "another key is free"
            rival = run(second, lambda: starts.start(second, k=1, n=2))
            assert rival.run_until_blocked()
            first.run(ends)
            answer = rival.answer()
            if ends == "rollback":
                assert answer["created"]
                assert answer["execution_id"] != held["execution_id"]
            else:
                assert not answer["created"]
                assert answer["execution_id"] == held["execution_id"]


def test_debounced_start_makes_another_one_when_its_execution_is_taken(starts: Starts) -> None:
    starts.rule(debounce=10)
    first = starts.start(n=1)
    starts.clock.advance(seconds=11)
    with starts.database.connect() as claimer, hands(starts.database) as runner:
        claimer.run("begin")
        assert claimer.value("select flowgres.promote_due(1000)") == 1
        # Nobody waits for the claim.
        second = starts.start(n=2)
        claimer.run("commit")
        assert second["created"]
        assert runner.work() == ["a"]
    inputs = {str(row["id"]): (row["input"], row["status"]) for row in starts.rows()}
    assert inputs[first["execution_id"]] == ({"n": 1}, "completed")
    assert inputs[second["execution_id"]] == ({"n": 2}, "queued")


def test_claim_passes_over_an_execution_whose_start_is_being_replaced(starts: Starts) -> None:
    starts.rule(debounce=10)
    first = starts.start(n=1)
    starts.clock.advance(seconds=11)
    with starts.author.connect() as other, hands(starts.database) as runner:
        other.run("begin")
        assert starts.start(other, n=2)["execution_id"] == first["execution_id"]
        assert runner.claim() == []
        other.run("commit")
        assert runner.claim() == []
        starts.clock.advance(seconds=11)
        assert len(runner.claim()) == 1
    assert starts.rows()[0]["input"] == {"n": 2}


def test_cancel_reaches_an_execution_whose_start_is_being_replaced(starts: Starts) -> None:
    starts.rule(debounce=10)
    id = starts.start(n=1)["execution_id"]
    with starts.author.connect() as other, starts.author.connect() as person, rivals(starts.db) as run:
        other.run("begin")
        starts.start(other, n=2)
        cancel = run(person, lambda: person.call("flowgres_api.cancel_execution", execution_id=id))
        assert cancel.run_until_blocked()
        other.run("commit")
        assert cancel.answer()["status"] == "cancelled"
    assert starts.start(n=3)["created"]
    starts.clock.advance(seconds=11)
    assert starts.run() == [{"n": 3}]


def test_open_transaction_of_a_start_keeps_no_other_start_of_the_tenant(starts: Starts) -> None:
    starts.rule()
    starts.db.run("update flowgres.settings set value = '100' where name = 'rate_limit_per_minute'")
    with starts.author.connect() as first, starts.author.connect() as second, rivals(starts.db) as run:
        first.run("begin")
        starts.start(first)
        rival = run(second, lambda: starts.start(second))
        assert not rival.run_until_blocked()
        assert rival.answer()["created"]
        first.run("commit")


def test_rate_holds_for_starts_of_many_connections(starts: Starts) -> None:
    starts.rule()
    starts.db.run("update flowgres.settings set value = '100' where name = 'rate_limit_per_minute'")
    answers = at_once(starts, 25, 1)
    refused = [answer for answer in answers if isinstance(answer, psycopg.Error)]
    assert {error.diag.constraint_name for error in refused} == {"start_rate_exceeded"}
    # Each other connection may have one start on its way that is not seen yet.
    assert 100 <= len(answers) - len(refused) <= 100 + THREADS - 1
    assert len(starts.rows()) == len(answers) - len(refused)


def test_schedule_whose_key_somebody_holds_is_fired_later_and_keeps_no_other(starts: Starts) -> None:
    trigger = {"type": "cron", "cron": "* * * * *"}
    for name, settings in (("w", {"start": {"singleton": "return"}}), ("free", {})):
        definition = workflow(log_step("a"), name=name, triggers=[trigger], settings=settings)
        starts.author.confirm(starts.author.import_(definition)["version_id"])
    with starts.author.connect() as other:
        other.run("begin")
        starts.start(other)
        starts.clock.advance(seconds=60)
        assert starts.db.one("select * from flowgres.fire_schedules(100)")["p_started"] == 1
        other.run("rollback")
    assert starts.db.one("select * from flowgres.fire_schedules(100)")["p_started"] == 1
    assert [row["trigger_type"] for row in starts.rows()] == ["cron", "cron"]
    assert starts.db.column("select last_error from flowgres.schedules") == [None, None]
