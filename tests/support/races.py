"""Two connections whose order a test decides: one holds its locks, the other is let run until it has to wait."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.database import Database, Db, Row, Tenant, postgrest_request
from tests.support.engine import Hands, assert_invariants, completed, dag, failed, hands, import_workflow

PATIENCE_SECONDS = 20
POLL_SECONDS = 0.005


class Rival:
    """A call that runs on a connection of its own, in a thread."""

    def __init__(self, observer: Db, db: Db, future: Future[Any]) -> None:
        self._observer = observer
        self._pid = db.connection.info.backend_pid
        self._future = future

    @property
    def is_done(self) -> bool:
        """Whether the call has come back."""
        return self._future.done()

    @property
    def is_blocked(self) -> bool:
        """Whether the call waits for a lock of somebody."""
        return bool(self._observer.value("select cardinality(pg_blocking_pids(%s)) > 0", self._pid))

    def run_until_blocked(self) -> bool:
        """Let it run until it waits for a lock (true), or has come back (false)."""
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            if self.is_done:
                return False
            if self.is_blocked:
                return True
            wait([self._future], POLL_SECONDS)
        raise AssertionError("the call neither waits for a lock nor comes back")

    def blocked_seconds(self, *, at_most: float) -> float:
        """For how long it waits for locks until it comes back; stops watching after `at_most`."""
        began: float | None = None
        total = 0.0
        while not self.is_done and total < at_most:
            now, is_blocked = time.monotonic(), self.is_blocked
            began = (began or now) if is_blocked else None
            total = max(total, now - began) if began else total
            wait([self._future], POLL_SECONDS)
        return total

    def answer(self) -> Any:
        """What the call returned; raises what it raised."""
        return self._future.result(PATIENCE_SECONDS)

    def refusal(self) -> psycopg.Error | None:
        """The error of the call, or none."""
        error = self._future.exception(PATIENCE_SECONDS)
        assert error is None or isinstance(error, psycopg.Error), error
        return error


Run = Callable[[Db, Callable[[], Any]], Rival]


@contextmanager
def rivals(observer: Db) -> Iterator[Run]:
    """`run = rivals(...)`; `run(db, call)` runs the call, which uses the connection of `db`, beside the test."""
    with ThreadPoolExecutor(4) as pool:

        def run(db: Db, call: Callable[[], Any]) -> Rival:
            return Rival(observer, db, pool.submit(call))

        yield run


def refusal_code(error: psycopg.Error) -> str:
    """The stable code of a refusal, or the SQLSTATE of what is none."""
    if error.sqlstate == "PGRST":
        return str(json.loads(error.diag.message_primary or "{}")["code"])
    return str(error.diag.constraint_name if (error.sqlstate or "").startswith("FG") else error.sqlstate)


class Lane:
    """A second connection of a runner."""

    def __init__(self, db: Db, runner: Hands) -> None:
        self.db = db
        self.id = runner.id

    def report(self, results: list[dict[str, Any]]) -> list[Row]:
        query = "select * from flowgres.complete_and_claim(%s, %s::jsonb, 0, null)"
        return self.db.all(query, self.id, json.dumps(results))

    def release(self, *leases: Row) -> int:
        rows = [[str(row["tenant_id"]), str(row["execution_id"]), row["queue_id"], row["token"]] for row in leases]
        return int(self.db.value("select flowgres.release(%s, %s::jsonb)", self.id, json.dumps(rows)))

    def release_unknown(self, *_: Row) -> int:
        return int(self.db.value("select flowgres.release_unknown(%s, '[]')", self.id))


@contextmanager
def caller(database: Database, tenant: Tenant) -> Iterator[tuple[Db, Callable[..., Any]]]:
    """A connection of PostgREST, and how to make one request on it that is committed when it comes back."""
    with psycopg.connect(database.dsn("authenticator"), row_factory=dict_row) as connection:

        def request(function: str, **arguments: Any) -> Any:
            with postgrest_request(connection, "member", tenant_id=tenant.tenant_id) as api:
                return api.call(f"flowgres_api.{function}", **arguments)

        yield Db(connection), request


def natural(lease: Row, step: str) -> dict[str, Any]:
    """What a real runner would say: a `call...` starts the child of that name, the rest is completed."""
    if not step.startswith("call_"):
        return completed(step)
    if lease["resume"] is None:
        return {"o": "child", "workflow": step.removeprefix("call_"), "input": {}}
    return completed() if lease["resume"]["status"] == "completed" else failed("child")


def drain(database: Database, db: Db, *owners: Hands) -> None:
    """Let go of every lease, and work until nothing is left."""
    for owner in owners:
        db.call("flowgres.stop_runner", p_runner_id=owner.id)
    with hands(database) as heir:
        ran = True
        while ran:
            heir.db.call("flowgres.rescue_expired_leases", p_limit=1000)
            heir.db.call("flowgres.wake_pending", p_limit=1000)
            while heir.db.call("flowgres.cancel_orphan"):
                pass
            ran = bool(heir.work(natural))
    assert_invariants(db)


def import_call_tree(db: Db, tenant: Tenant, *, parent: list[dict[str, Any]] | None = None) -> None:
    """`top` calls `middle`, which calls `leaf`; `leaf` and `middle` have a step behind."""
    import_workflow(db, tenant, dag("leaf", [{"id": "first"}, {"id": "second", "depends_on": ["first"]}]))
    for name, child in (("middle", "leaf"), ("top", "middle")):
        call = {"id": f"call_{child}", "type": "sub_workflow", "config": {"workflow": child}}
        after = {"id": "after", "depends_on": [call["id"]]}
        import_workflow(db, tenant, dag(name, [call, after, *((parent or []) if name == "top" else [])]))


def descend(runner: Hands, *, to: str, keep: tuple[str, ...] = ()) -> dict[str, Row]:
    """Run calls until a step named `to` is leased; returns the leases of it and of those to keep, by step."""
    kept: dict[str, Row] = {}
    leases: list[Row] = []
    while to not in kept:
        leases = leases or runner.claim()
        assert leases, "nothing more is ready"
        lease = leases.pop()
        step = runner.step_name(lease)
        if step in (to, *keep):
            kept[step] = lease
        else:
            leases += runner.report([runner.result(lease, natural(lease, step))])
    return kept


def execution_of(db: Db, workflow: str) -> str:
    return str(
        db.value(
            "select e.id from flowgres.executions as e join flowgres.workflows as w on w.id = e.workflow_id"
            " where w.name = %s",
            workflow,
        )
    )
