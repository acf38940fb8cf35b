"""Starting, stopping, dying and coming back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from flowgres_cli.stack.ports import free_port
from tests.support.database import Database, Db, Tenant, end_sessions
from tests.support.engine import get, import_workflow, start
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

StartRunner = Callable[..., Runner]
CHAIN = [
    {"id": "a", "type": "transform", "config": {"expression": "{{ input.n + 1 }}"}},
    {"id": "b", "type": "transform", "config": {"expression": "{{ steps.a.output + 1 }}"}},
    {"id": "c", "type": "transform", "config": {"expression": "{{ steps.b.output + 1 }}"}},
]
FINISHED = "select count(*) from flowgres.executions where finished_at is not null"


@pytest.fixture
def tenant(database: Database) -> Tenant:
    return database.make_tenant()


def start_many(database: Database, tenant: Tenant, workflow: str, count: int) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as db:
        db.call("flowgres_api.start_executions", workflow=workflow, inputs=[{"n": n} for n in range(count)])


def http_steps(peer: Peer, path: str) -> list[dict[str, Any]]:
    return [{"id": "h", "type": "http", "config": {"url": f"http://127.0.0.1:{peer.port}/{path}"}}]


def all_completed(db: Db, count: int) -> None:
    wait_for(lambda: db.value(FINISHED) == count, what=f"{count} ends", timeout_seconds=30)
    assert db.value("select count(*) from flowgres.executions where status <> 'completed'") == 0
    assert db.value("select count(*) from flowgres.work_queue") == 0


def test_many_executions_run_in_batches(database: Database, tenant: Tenant, db: Db, runner: Runner) -> None:
    import_workflow(db, tenant, {"name": "chain", "steps": CHAIN})
    start_many(database, tenant, "chain", 1000)
    all_completed(db, 1000)
    assert db.value("select count(*) from flowgres.step_executions where attempts <> 1") == 0


def test_sigterm_gives_steps_back_unharmed_and_ends_with_0(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    import_workflow(db, tenant, {"name": "chain", "steps": CHAIN})
    start_many(database, tenant, "chain", 2000)
    first = start_runner()
    wait_for(lambda: db.value("select count(*) > 50 from flowgres.step_executions"), what="some steps")
    first.process.send_signal(signal.SIGTERM)
    wait_for(lambda: first.process.return_code is not None, what="the end of the runner")
    assert first.process.return_code == 0
    assert db.value("select count(*) from flowgres.work_queue where runner_id is not null") == 0
    assert db.value("select count(*) from flowgres.runners where stopped_at is null") == 0
    start_runner()
    all_completed(db, 2000)
    assert db.value("select count(*) from flowgres.step_executions where attempts <> 1") == 0


async def test_sigterm_aborts_what_outlasts_the_grace(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    async with Peer() as peer:
        import_workflow(db, tenant, {"name": "slow", "steps": http_steps(peer, "hang")})
        start(database, tenant, "slow")
        runner = start_runner(SHUTDOWN_GRACE_SECONDS="0.3")
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the request")
        runner.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: runner.process.return_code is not None, what="the end of the runner")
    assert runner.process.return_code == 0
    row = db.one("select runner_id, attempt, due_at from flowgres.work_queue")
    assert row == {"runner_id": None, "attempt": 0, "due_at": None}


def test_what_is_being_reported_when_the_grace_is_over_is_not_given_back(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    import_workflow(db, tenant, {"name": "chain", "steps": CHAIN})
    runner = start_runner(SHUTDOWN_GRACE_SECONDS="0.1")
    with database.connect() as other:
        other.connection.autocommit = False
        other.run("lock table flowgres.step_executions in share mode")
        execution_id = start(database, tenant, "chain", input={"n": 1})
        waiting = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'complete'"
        wait_for(lambda: db.value(waiting), what="a report that waits")
        runner.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "calls_awaited" in runner.log, what="the end of the grace")
        other.connection.rollback()
    wait_for(lambda: runner.process.return_code is not None, what="the end of the runner")
    assert "steps_released" not in runner.log
    assert get(database, tenant, execution_id)["status"] == "completed"
    assert db.value("select count(*) from flowgres.step_executions where attempts <> 1") == 0


async def test_second_signal_ends_at_once(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    async with Peer() as peer:
        import_workflow(db, tenant, {"name": "slow", "steps": http_steps(peer, "hang")})
        start(database, tenant, "slow")
        runner = start_runner()
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the request")
        runner.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(wait_for, lambda: "runner_stopping" in runner.log, what="the log line")
        runner.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(
            wait_for, lambda: runner.process.return_code is not None, what="the end", timeout_seconds=3
        )
    assert runner.process.return_code != 0


async def test_cancel_aborts_a_running_request(database: Database, tenant: Tenant, db: Db, runner: Runner) -> None:
    async with Peer() as peer:
        import_workflow(db, tenant, {"name": "slow", "steps": http_steps(peer, "hang")})
        execution_id = start(database, tenant, "slow")
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the request")
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.cancel_execution", execution_id=execution_id)
        await asyncio.to_thread(wait_for, lambda: "result_discarded" in runner.log, what="the abort", timeout_seconds=8)
    assert get(database, tenant, execution_id)["status"] == "cancelled"


def test_broken_connections_lose_and_double_nothing(database: Database, tenant: Tenant, db: Db, runner: Runner) -> None:
    import_workflow(db, tenant, {"name": "chain", "steps": CHAIN})
    start_many(database, tenant, "chain", 3000)
    for progress in (100, 1500, 4000, 7000):
        wait_for(
            lambda least=progress: db.value("select count(*) >= %s from flowgres.step_executions", least),  # type: ignore[misc]
            what="progress",
        )
        end_sessions(db, "flowgres_runner")
    all_completed(db, 3000)
    assert db.value("select count(*) from flowgres.step_executions where attempts <> 1") == 0
    doubled = """
      select execution_id from flowgres.all_events
      where type = 'step_completed'
      group by execution_id, step having count(*) > 1"""
    assert db.all(doubled) == []


@pytest.mark.parametrize("point", ["after_claim", "before_commit", "after_commit"])
def test_runner_that_dies_at_a_named_point_is_replaced(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner, point: str
) -> None:
    db.run("update flowgres.settings set value = '5' where name = 'lease_seconds'")
    import_workflow(db, tenant, {"name": "chain", "steps": CHAIN})
    victim = start_runner(FLOWGRES_FAILPOINT=point)
    start_many(database, tenant, "chain", 50)
    wait_for(lambda: victim.process.return_code is not None, what="the death")
    start_runner()
    all_completed(db, 50)


async def test_zombie_is_refused_and_begins_anew(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    db.run("update flowgres.settings set value = '3' where name = 'lease_seconds'")
    async with Peer() as peer:
        import_workflow(db, tenant, {"name": "slow", "steps": http_steps(peer, "delay?seconds=1")})
        zombie = start_runner()
        execution_id = start(database, tenant, "slow")
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the request")
        zombie.process.send_signal(signal.SIGSTOP)
        start_runner()
        await asyncio.to_thread(
            wait_for, lambda: get(database, tenant, execution_id)["status"] == "completed", what="the rescue"
        )
        zombie.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(wait_for, lambda: "runner_given_up" in zombie.log, what="the notice")
    assert get(database, tenant, execution_id)["steps"]["h"]["attempts"] == 2
    events = db.column("select type from flowgres.all_events where type in ('step_completed', 'execution_completed')")
    assert sorted(events) == ["execution_completed", "step_completed"]
    # It works again, under its new id.
    wait_for(lambda: db.value("select count(*) from flowgres.runners where stopped_at is null") == 2, what="its return")


async def test_zombie_begins_nothing_that_it_had_not_begun(
    database: Database, tenant: Tenant, db: Db, start_runner: StartRunner
) -> None:
    db.run("update flowgres.settings set value = '3' where name = 'lease_seconds'")
    async with Peer() as peer:
        import_workflow(db, tenant, {"name": "slow", "steps": http_steps(peer, "delay?seconds=1")})
        start_many(database, tenant, "slow", 2)
        # One slot, so that the other step waits for it, claimed.
        zombie = start_runner(RUNNER_CONCURRENCY="1")
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the request")
        zombie.process.send_signal(signal.SIGSTOP)
        assert db.value("select count(*) from flowgres.work_queue where runner_id is not null") == 2
        start_runner()
        await asyncio.to_thread(wait_for, lambda: db.value(FINISHED) == 2, what="the rescue")
        zombie.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(wait_for, lambda: "runner_given_up" in zombie.log, what="the notice")
        assert len(peer.requests) == 3


def inherited() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}


def run_once(**environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowgres_runner"],
        env={**inherited(), **environment},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_runner_of_another_environment_is_refused(database: Database) -> None:
    done = run_once(DATABASE_URL=database.url("runner"), ENV="production")
    assert done.returncode == 1
    assert "environment_mismatch" in done.stderr
    assert "Set ENV" in done.stderr


@pytest.mark.parametrize(
    ("environment", "word"),
    [
        ({}, "DATABASE_URL is not set"),
        ({"DATABASE_URL": "postgresql://x", "RUNNER_CONCURRENCY": "many"}, "RUNNER_CONCURRENCY must be a whole number"),
        ({"DATABASE_URL": "postgresql://x", "FLOWGRES_FAILPOINT": "nowhere"}, "FLOWGRES_FAILPOINT must be one of"),
        ({"DATABASE_URL": "postgresql://x y z"}, "DATABASE_URL"),
    ],
)
def test_wrong_environment_ends_with_1_and_says_why(environment: dict[str, str], word: str) -> None:
    done = run_once(**environment)
    assert done.returncode == 1
    assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_database_is_told_and_waited_for(database: Database) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "flowgres_runner"],
        env={**inherited(), "DATABASE_URL": f"postgresql://flowgres_runner@127.0.0.1:{free_port()}/x"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "database_unreachable" in line
        assert "Is PostgreSQL running" in line
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.communicate()
