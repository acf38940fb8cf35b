"""Tasks: workers outside claim them, keep them, and say what came of them; the engine goes on with that."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database, Db
from tests.support.engine import Hands, assert_invariants, outwait_lease, statuses
from tests.support.races import refusal_code
from tests.support.tasks import Workers

Json = Any


@pytest.fixture
def workers(database: Database, db: Db, runner: Hands) -> Workers:
    return Workers(database, db, runner, database.make_tenant())


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(psycopg.Error) as refused:
        call(*arguments, **named)
    return refusal_code(refused.value)


def test_worker_does_a_task_and_its_output_is_that_of_the_step(workers: Workers) -> None:
    execution = workers.start(payload={"to": "a@b.example"})
    assert workers.run() == []
    [task] = workers.claim("one")
    assert (task["payload"], task["step"], task["workflow"]) == ({"to": "a@b.example"}, "ask", "w0")
    assert (task["execution_id"], task["iteration"], task["attempt"]) == (execution, None, 1)
    assert task["task_id"] == f"{execution}/ask"
    answer = workers.complete(task, {"sent": True})
    assert (answer["status"], answer["token"]) == ("completed", task["token"])
    assert workers.run() == ["ask", "after"]
    got = workers.get(execution)
    assert got["status"] == "completed"
    assert (got["steps"]["ask"]["output"], got["steps"]["ask"]["attempts"]) == ({"sent": True}, 1)
    assert_invariants(workers.db)


def test_step_says_which_worker_it_waits_for_and_who_has_it(workers: Workers) -> None:
    execution = workers.start()
    waiting = workers.get(execution)
    assert (waiting["status"], waiting["steps"]["ask"]["status"]) == ("waiting", "waiting")
    assert waiting["steps"]["ask"]["reason"] == "waits for a worker of the queue mail"
    workers.claim("press-1")
    assert workers.get(execution)["steps"]["ask"]["reason"] == "the worker press-1 has it"
    with workers.database.as_role("viewer", tenant_id=workers.tenant.tenant_id) as db:
        reason = db.value("select reason from flowgres_api.step_executions where step = 'ask'")
    assert reason == "the worker press-1 has it"


def test_view_shows_a_task_from_its_beginning_to_its_end(workers: Workers) -> None:
    execution = workers.start(payload=[1])
    waiting = workers.row(execution)
    assert (waiting["status"], waiting["worker"], waiting["payload"]) == ("waiting", None, [1])
    [task] = workers.claim("one")
    claimed = workers.row(execution)
    assert (claimed["status"], claimed["worker"], claimed["attempt"]) == ("claimed", "one", 1)
    assert claimed["lease_until"] == datetime.fromisoformat(task["lease_until"])
    workers.complete(task, 1)
    workers.run()
    done = workers.row(execution)
    assert (done["status"], done["output"], done["step"]) == ("completed", 1, "ask")


def test_claim_takes_a_bounded_number_the_oldest_first_of_one_queue(workers: Workers) -> None:
    old, new = workers.start(), workers.start()
    workers.start(queue="print")
    assert [task["execution_id"] for task in workers.claim(limit=1)] == [old]
    assert [task["execution_id"] for task in workers.claim(limit=100)] == [new]
    assert workers.claim() == []
    assert len(workers.claim(queue="print")) == 1


def test_claimed_task_is_nobody_elses_until_its_lease_ends(workers: Workers, clock: Clock) -> None:
    workers.start(lease=30)
    assert len(workers.claim("one")) == 1
    assert workers.claim("two") == []
    clock.advance(seconds=29)
    assert (workers.run(), workers.claim("two")) == ([], [])


def test_lease_that_ran_out_is_an_attempt_and_the_task_is_anothers(workers: Workers, clock: Clock) -> None:
    execution = workers.start(lease=30)
    [lost] = workers.claim("one")
    clock.advance(seconds=31)
    assert workers.run() == ["ask"]
    assert workers.row(execution)["status"] == "expired"
    clock.advance(seconds=120)
    assert workers.run() == ["ask"]
    [task] = workers.claim("two")
    assert (task["task_id"], task["attempt"]) == (lost["task_id"], 2)
    assert task["token"] > lost["token"]
    assert refusal(workers.complete, lost, 1) == "lease_lost"
    workers.complete(task, 2)
    workers.run()
    assert workers.get(execution)["steps"]["ask"]["output"] == 2
    with workers.database.as_role("viewer", tenant_id=workers.tenant.tenant_id) as db:
        tries = db.all("select attempt, status, runner, error from flowgres_api.attempts where step = 'ask' order by 1")
    assert [(one["status"], one["runner"]) for one in tries] == [("lost", "one"), ("completed", "two")]
    assert tries[0]["error"]["code"] == "lease_expired"
    assert_invariants(workers.db)


def test_task_that_is_lost_three_times_fails(workers: Workers, clock: Clock) -> None:
    execution = workers.start(lease=5)
    for _ in range(3):
        assert len(workers.claim()) == 1
        for _ in range(2):
            clock.advance(seconds=600)
            workers.run()
    got = workers.get(execution)
    assert (got["status"], got["error"]["code"], got["steps"]["ask"]["attempts"]) == ("failed", "lease_expired", 3)


def test_worker_that_extends_keeps_its_task_and_says_how_far_it_is(workers: Workers, clock: Clock) -> None:
    execution = workers.start(lease=30)
    [task] = workers.claim()
    for share in (0.25, 0.5):
        clock.advance(seconds=25)
        assert workers.extend(task, progress=share)["progress"] == share
    workers.extend(task, lease_seconds=600)
    clock.advance(seconds=500)
    assert workers.run() == []
    assert (workers.row(execution)["progress"], workers.row(execution)["status"]) == (0.5, "claimed")
    with workers.database.as_role("viewer", tenant_id=workers.tenant.tenant_id) as db:
        told = db.all(
            "select step, details from flowgres_api.execution_events where type = 'task_progress' order by seq"
        )
    assert [one["details"]["progress"] for one in told] == [0.25, 0.5]
    workers.complete(task)
    workers.run()
    assert_invariants(workers.db)


def test_progress_is_told_a_hundred_times_at_most(workers: Workers) -> None:
    workers.start()
    [task] = workers.claim()
    workers.db.run("update flowgres.tasks set progress_count = 98")
    for share in (0.1, 0.2, 0.3):
        workers.extend(task, progress=share)
    assert workers.db.value("select count(*) from flowgres.events where type = 'task_progress'") == 1
    assert workers.db.value("select progress from flowgres.tasks") == 0.3


def test_timeout_bounds_what_a_worker_may_have_however_often_it_extends(workers: Workers, clock: Clock) -> None:
    execution = workers.start(lease=60, timeout=90, retry=1)
    clock.advance(seconds=1000)
    [task] = workers.claim()
    clock.advance(seconds=50)
    workers.extend(task)
    clock.advance(seconds=41)
    assert refusal(workers.extend, task) == "lease_lost"
    assert workers.run() == ["ask"]
    assert workers.get(execution)["error"]["code"] == "timed_out"


def test_failed_task_is_tried_again_as_its_step_says(workers: Workers, clock: Clock) -> None:
    execution = workers.start(retry={"attempts": 2, "delay": 10})
    [task] = workers.claim("one")
    assert (
        workers.fail(task, {"message": "no paper", "code": "paper_out", "details": {"tray": 2}})["status"] == "failed"
    )
    workers.run()
    assert statuses(workers.get(execution))["ask"] == "retrying"
    clock.advance(seconds=60)
    workers.run()
    [task] = workers.claim("two")
    assert task["attempt"] == 2
    workers.fail(task, "again")
    workers.run()
    got = workers.get(execution)
    assert (got["status"], got["error"]["code"], got["steps"]["ask"]["attempts"]) == ("failed", "task_failed", 2)
    assert_invariants(workers.db)


def test_failure_that_is_not_to_be_tried_again_is_not(workers: Workers) -> None:
    execution = workers.start(retry={"attempts": 5, "errors": ["task"]})
    [task] = workers.claim()
    workers.fail(task, {"message": "no such address", "code": "address_unknown"}, retry=False)
    workers.run()
    assert workers.get(execution)["error"]["code"] == "address_unknown"


def test_what_is_said_twice_is_answered_the_same_and_nothing_else_is_taken(workers: Workers) -> None:
    workers.start()
    [task] = workers.claim()
    first = workers.complete(task, {"a": 1})
    assert workers.complete(task, {"a": 1}) == first
    assert refusal(workers.complete, task, {"a": 2}) == "task_finished"
    assert refusal(workers.fail, task) == "task_finished"
    assert refusal(workers.extend, task) == "lease_lost"
    workers.run()
    assert workers.complete(task, {"a": 1}) == first
    workers.start()
    [task] = workers.claim()
    assert workers.fail(task, "no") == workers.fail(task, "no")


def test_worker_of_a_cancelled_execution_is_told_so(workers: Workers) -> None:
    execution = workers.start()
    [task] = workers.claim()
    workers.call("cancel_execution", execution_id=execution)
    assert workers.row(execution)["status"] == "cancelled"
    assert refusal(workers.extend, task) == "task_cancelled"
    assert refusal(workers.complete, task, 1) == "task_cancelled"
    workers.start()
    assert len(workers.claim()) == 1


def test_token_of_another_claim_is_refused(workers: Workers) -> None:
    workers.start()
    [task] = workers.claim()
    for token in (task["token"] - 1, task["token"] + 1):
        assert refusal(workers.complete, {**task, "token": token}) == "lease_lost"


def test_task_of_another_tenant_is_not_there(workers: Workers) -> None:
    workers.start()
    [task] = workers.claim()
    workers.tenant = workers.database.make_tenant("Other")
    assert workers.claim() == []
    for call in (workers.complete, workers.fail, workers.extend):
        assert refusal(call, task) == "task_not_found"
    with workers.database.as_role("viewer", tenant_id=workers.tenant.tenant_id) as db:
        assert db.all("select * from flowgres_api.tasks") == []
        assert db.all("select * from flowgres_api.task_queues") == []


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        ("claim_tasks", {"queue": "Mail", "worker": "a"}, "argument_invalid"),
        ("claim_tasks", {"queue": "mail", "worker": ""}, "argument_invalid"),
        ("claim_tasks", {"queue": "mail", "worker": "a", "limit": 101}, "argument_invalid"),
        ("claim_tasks", {"queue": "mail", "worker": "a", "lease_seconds": 0.5}, "argument_invalid"),
        ("extend_task", {"task_id": "1", "token": 1}, "task_not_found"),
        ("extend_task", {"task_id": "1", "token": 1, "progress": {"a": "x" * 5000}}, "progress_too_large"),
        ("fail_task", {"task_id": "1", "token": 1, "error": {"code": "a"}}, "argument_invalid"),
        ("fail_task", {"task_id": "1", "token": 1, "error": {"code": "A b", "message": "m"}}, "argument_invalid"),
        ("complete_task", {"task_id": "1", "token": 1, "output": {"a": "x" * 1_100_000}}, "payload_too_large"),
    ],
)
def test_argument_that_is_wrong_is_named(
    workers: Workers, function: str, arguments: dict[str, Json], code: str
) -> None:
    assert refusal(workers.call, function, **arguments) == code


def test_queues_say_how_much_waits_and_how_much_is_done(workers: Workers) -> None:
    for queue in ("mail", "mail", "print"):
        workers.start(queue=queue)
    workers.claim()
    with workers.database.as_role("viewer", tenant_id=workers.tenant.tenant_id) as db:
        rows = db.all("select queue, waiting, claimed from flowgres_api.task_queues order by 1")
    assert [tuple(row.values()) for row in rows] == [("mail", 1, 1), ("print", 1, 0)]


def test_task_that_was_given_back_unbegun_is_there_again_and_no_attempt_more(workers: Workers) -> None:
    workers.start()
    [task] = workers.claim()
    with workers.database.as_role("member", tenant_id=workers.tenant.tenant_id) as db:
        assert db.call("flowgres.return_tasks", p_tasks=[[task["task_id"], task["token"]]]) == 1
    assert refusal(workers.complete, task) == "lease_lost"
    [again] = workers.claim()
    assert (again["attempt"], again["token"] > task["token"]) == (1, True)
    workers.complete(again)
    workers.run()
    assert_invariants(workers.db)


def test_runner_that_dies_over_a_finished_task_loses_nothing(workers: Workers, clock: Clock) -> None:
    execution = workers.start()
    [task] = workers.claim()
    workers.complete(task, {"kept": 1})
    [lease] = workers.runner.claim()
    assert lease["resume"]["output"] == {"kept": 1}
    with_other = Hands(workers.runner.db)
    outwait_lease(workers.db, clock, with_other)
    with_other.sweep()
    workers.runner = with_other
    clock.advance(seconds=600)
    workers.run()
    assert workers.get(execution)["steps"]["ask"]["output"] == {"kept": 1}
