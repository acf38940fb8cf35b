"""Rules of starts (settings.start): what one start after the other becomes, on a clock that the test moves."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Row
from tests.support.definitions import log_step, sub_workflow, workflow
from tests.support.engine import completed, hands
from tests.support.starts import Starts


@pytest.fixture
def starts(database: Database, clock: Clock) -> Iterator[Starts]:
    """A tenant whose starts go by rules."""
    with database.connect() as db:
        yield Starts(database, db, clock)


def test_debounced_starts_are_one_execution_with_the_last_input(starts: Starts) -> None:
    starts.rule(debounce=10, key="$.k")
    first = starts.start(k="a", n=1)
    starts.clock.advance(seconds=6)
    again = starts.start(k="a", n=2)
    other = starts.start(k="b", n=3)
    assert (first["created"], again["created"], other["created"]) == (True, False, True)
    assert first["execution_id"] == again["execution_id"] != other["execution_id"]
    starts.clock.advance(seconds=6)
    assert starts.run() == []
    starts.clock.advance(seconds=5)
    assert starts.run() == [{"k": "a", "n": 2}, {"k": "b", "n": 3}]
    assert starts.start(k="a", n=4)["created"]


def test_debounce_waits_no_longer_than_it_may(starts: Starts) -> None:
    starts.rule(debounce=10, max_wait=25)
    ran: list[Any] = []
    for number in range(12):
        starts.start(n=number)
        starts.clock.advance(seconds=5)
        ran += starts.run()
    assert [row["n"] for row in ran] == [4, 9]


@pytest.mark.parametrize(("response", "created"), [("return", False), ("reject", None)])
def test_singleton_is_alone_until_it_ends(starts: Starts, response: str, created: bool | None) -> None:
    starts.rule(singleton=response, key="$.k")
    first = starts.start(k=1)
    assert starts.start(k="1")["created"], "a text is another key than a number"
    if response == "return":
        assert starts.start(k=1) == {**first, "created": False, "scheduled_at": None}
    else:
        with pytest.raises(psycopg.Error) as refusal:
            starts.start(k=1)
        assert (refusal.value.sqlstate, refusal.value.diag.constraint_name) == ("FG409", "singleton_running")
        assert refusal.value.diag.message_detail == first["execution_id"]
    assert len(starts.run()) == 2
    assert starts.start(k=1)["created"]


def test_throttle_delays_what_is_too_much(starts: Starts) -> None:
    starts.rule(throttle={"limit": 2, "per": 60})
    for number in range(5):
        assert starts.start(n=number)["created"]
    ran = [starts.run()]
    for _ in range(2):
        starts.clock.advance(seconds=61)
        ran.append(starts.run())
    assert [[row["n"] for row in rows] for rows in ran] == [[0, 1], [2, 3], [4]]


def test_throttle_refuses_what_is_too_much_where_it_says_so(starts: Starts) -> None:
    starts.rule(throttle={"limit": 1, "per": 60, "when_full": "reject"}, key="$.k")
    assert starts.start(k="a")["created"]
    assert starts.start(k="b")["created"]
    starts.clock.advance(seconds=20)
    with pytest.raises(psycopg.Error) as refusal:
        starts.start(k="a")
    assert (refusal.value.sqlstate, refusal.value.diag.constraint_name) == ("FG429", "start_throttled")
    assert refusal.value.diag.message_hint in {"Start again in 40 s.", "Start again in 39 s."}
    starts.clock.advance(seconds=41)
    assert starts.start(k="a")["created"]


def test_throttle_says_itself_when_executions_begin(starts: Starts) -> None:
    starts.rule(throttle={"limit": 1, "per": 60})
    later = starts.db.value("select (flowgres.now() + interval '1 hour')::text")
    with pytest.raises(psycopg.Error) as refusal:
        starts.start(options={"scheduled_at": later})
    assert refusal.value.diag.constraint_name == "scheduled_at_refused"
    starts.rule(debounce=60)
    assert starts.start(options={"scheduled_at": later})["scheduled_at"] is not None


BULK: list[tuple[dict[str, Any], list[int], list[int]]] = [
    # The rule, which execution each of the starts with n 0 to 4 and the keys a, b, a, b, a stands for, and what runs.
    ({"debounce": 10}, [0, 1, 0, 1, 0], [4, 3]),
    ({"singleton": "return"}, [0, 1, 0, 1, 0], [0, 1]),
    ({"throttle": {"limit": 5, "per": 60}}, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]),
]


@pytest.mark.parametrize(("rule", "stands_for", "runs"), BULK)
def test_many_starts_are_as_one_after_the_other(
    starts: Starts, rule: dict[str, Any], stands_for: list[int], runs: list[int]
) -> None:
    starts.rule(**rule, key="$.k")
    inputs = [{"k": "ab"[n % 2], "n": n} for n in range(5)]
    ids = starts.db.call("flowgres_api.start_executions", workflow="w", inputs=inputs)
    assert [ids.index(id) for id in ids] == stands_for
    starts.clock.advance(seconds=11)
    assert sorted(row["n"] for row in starts.run()) == sorted(runs)


@pytest.mark.parametrize(
    "rule", [{"singleton": "reject"}, {"throttle": {"limit": 1, "per": 60, "when_full": "reject"}}]
)
def test_many_starts_are_refused_as_a_whole(starts: Starts, rule: dict[str, Any]) -> None:
    starts.rule(**rule, key="$.k")
    with pytest.raises(psycopg.Error):
        starts.db.call("flowgres_api.start_executions", workflow="w", inputs=[{"k": 1}, {"k": 2}, {"k": 1}])
    assert starts.rows() == []


@pytest.mark.parametrize("rule", [{"debounce": 10}, {"singleton": "return"}])
def test_key_of_a_call_answers_with_the_execution_it_stands_for(starts: Starts, rule: dict[str, Any]) -> None:
    starts.rule(**rule)
    first = starts.start(n=1, options={"idempotency_key": "one"})
    second = starts.start(n=2, options={"idempotency_key": "two"})
    assert second["execution_id"] == first["execution_id"]
    starts.clock.advance(seconds=11)
    starts.run()
    for number, key in enumerate(("one", "two"), 1):
        again = starts.start(n=number, options={"idempotency_key": key})
        assert (again["execution_id"], again["created"]) == (first["execution_id"], False)


def test_last_start_counts_with_all_that_it_says(starts: Starts) -> None:
    starts.rule(debounce=10)
    starts.start(n=1, options={"priority": 1, "correlation_id": "one", "metadata": {"x": 1}})
    starts.start(n=2, options={"priority": 8, "correlation_id": "two", "idempotency_key": "k"})
    (row,) = starts.rows()
    said = {name: row[name] for name in ("input", "priority", "correlation_id", "metadata", "idempotency_key")}
    assert said == {
        "input": {"n": 2}, "priority": 8, "correlation_id": "two", "metadata": None, "idempotency_key": "k",
    }  # fmt: skip
    assert starts.db.column("select priority from flowgres.work_queue") == [8]


def test_debounced_execution_goes_over_to_the_version_of_its_last_start(starts: Starts) -> None:
    starts.rule(debounce=10)
    first = starts.start(n=1)
    steps = [log_step("x"), log_step("y"), log_step("z", "x", "y")]
    made = starts.author.import_(workflow(*steps, settings={"start": {"debounce": 10}}))
    starts.author.confirm(made["version_id"])
    assert starts.start(n=2)["execution_id"] == first["execution_id"]
    starts.clock.advance(seconds=11)
    assert starts.run() == [{"n": 2}]
    (row,) = starts.rows()
    assert (row["version"], row["step_count"], row["status"]) == (2, 3, "completed")


def test_execution_waits_on_when_its_workflow_has_no_rule_any_more(starts: Starts) -> None:
    starts.rule(debounce=10)
    starts.start(n=1)
    starts.rule()
    assert starts.start(n=2)["created"]
    assert starts.run() == [{"n": 2}]
    starts.clock.advance(seconds=11)
    assert starts.run() == [{"n": 1}]


def test_waiting_execution_shows_when_it_begins(starts: Starts) -> None:
    starts.rule(debounce=10)
    answer = starts.start(n=1)
    (row,) = starts.db.all("select * from flowgres_api.executions")
    # Both as moments: of their texts one leaves trailing zeros out.
    begins_at = dt.datetime.fromisoformat(answer["scheduled_at"].replace("Z", "+00:00"))
    assert (row["status"], row["scheduled_at"]) == ("queued", begins_at)
    (step,) = starts.db.all("select * from flowgres_api.step_executions")
    assert (step["status"], step["due_at"]) == ("waiting", row["scheduled_at"])


def test_children_are_no_starts(starts: Starts) -> None:
    starts.rule(singleton="reject")
    calls = [sub_workflow(f"call_{n}", "w") | {"depends_on": []} for n in range(3)]
    made = starts.author.import_(workflow(*calls, name="parent"))
    starts.author.confirm(made["version_id"])
    starts.start()
    starts.start(workflow="parent")
    with hands(starts.database) as runner:
        while runner.work(natural_call):
            pass
    assert [row["status"] for row in starts.rows()] == ["completed"] * 5


def natural_call(lease: Row, step: str) -> dict[str, Any]:
    """What a real runner would say of a call of `w`, and of a step that logs."""
    if not step.startswith("call_"):
        return completed(step)
    return {"o": "child", "workflow": "w", "input": {}} if lease["resume"] is None else completed(step)


def test_schedules_go_by_the_rule(starts: Starts) -> None:
    triggers = [{"type": "cron", "cron": "* * * * *", "input": {"k": 1}}]
    definition = workflow(log_step("a"), triggers=triggers, settings={"start": {"singleton": "return", "key": "$.k"}})
    starts.author.confirm(starts.author.import_(definition)["version_id"])
    for _ in range(3):
        starts.clock.advance(seconds=60)
        starts.db.one("select * from flowgres.fire_schedules(100)")
    (row,) = starts.rows()
    assert starts.db.column("select distinct execution_id from flowgres.schedule_slots") == [row["id"]]
    assert starts.db.value("select count(*) from flowgres.schedule_slots") == 3
    assert starts.db.value("select last_execution_id from flowgres.schedules") == row["id"]


def test_keys_are_kept_as_long_as_they_matter(starts: Starts) -> None:
    starts.rule(singleton="return", key="$.k")
    starts.start(k=1)
    second = starts.start(k=2)
    starts.db.call("flowgres_api.cancel_execution", execution_id=second["execution_id"])
    for _ in range(3):
        starts.clock.advance(seconds=100_000)
        starts.db.run("select flowgres.prune(1)")
        starts.db.run("select flowgres.prune(1)")
    assert starts.db.column("select key from flowgres.start_keys") == ["1"]
    assert not starts.start(k=1)["created"]
    assert starts.start(k=2)["created"]


@pytest.mark.parametrize(
    ("value", "other"),
    [(None, ""), ("x" * 300, "x" * 301), ({"b": 1, "a": 2}, {"a": 2}), (1, "1"), (True, "true"), ("ü", "u")],
)
def test_values_of_a_key_are_told_apart(starts: Starts, value: Any, other: Any) -> None:
    starts.rule(singleton="return", key="$.k")
    assert [starts.start(k=k)["created"] for k in (value, value, other, other)] == [True, False, True, False]


def test_no_value_is_one_key(starts: Starts) -> None:
    starts.rule(singleton="return", key="$.k")
    assert [starts.start(**members)["created"] for members in ({}, {"k": None}, {"x": 1})] == [True, False, False]
