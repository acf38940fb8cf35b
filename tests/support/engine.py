"""Hands without a runner: claims and reports through the very functions that runners call, as the runner's login."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from flowgres_runner.runner import PROTOCOL
from tests.support.database import Clock, Database, Db, Row, Tenant

Json = Any
Decide = Callable[[Row, str], dict[str, Any]]

NOBODY = "00000000-0000-0000-0000-000000000000"


class Hands:
    """One registered runner whose outcomes a test decides.

    `decide(lease, step)` gets the claimed row and the step's id and returns the outcome, for instance
    `{"o": "completed", "out": 1}`.
    """

    def __init__(self, db: Db, *, environment: str = "development", protocol: int = PROTOCOL) -> None:
        self.db = db
        self.id = str(uuid.uuid4())
        self._steps: dict[Any, list[str]] = {}
        db.call(
            "flowgres.register_runner",
            p_runner_id=self.id,
            p_info={"name": "hands", "version": "0", "protocol": protocol, "environment": environment},
        )

    def claim(self, want: int = 100, *, after: str = NOBODY) -> list[Row]:
        """Take up to `want` ready steps."""
        return self.report([], want=want, after=after)

    def report(self, results: Sequence[dict[str, Any]], *, want: int = 0, after: str = NOBODY) -> list[Row]:
        """Report outcomes; return the steps handed over, and up to `want` others.

        What is passed over because somebody else holds its execution is reported again, as a runner does.
        """
        leases: list[Row] = []
        deadline = time.monotonic() + 20
        while True:
            rows = self.report_once(results, want=want, after=after)
            leases += [row for row in rows if not row["is_passed_over"]]
            passed_over = {row["queue_id"] for row in rows if row["is_passed_over"]}
            if not passed_over:
                return leases
            assert time.monotonic() < deadline, "an execution is held for too long"
            results, want = [result for result in results if result["q"] in passed_over], 0
            time.sleep(0.002)

    def report_once(
        self, results: Sequence[dict[str, Any]], *, want: int = 0, after: str = NOBODY, room: int | None = None
    ) -> list[Row]:
        """One call; rows with `is_passed_over` are no leases, but results to be reported again."""
        query = "select * from flowgres.complete_and_claim(%s, %s::jsonb, %s, %s, %s)"
        return self.db.all(query, self.id, json.dumps(results), want, after, room)

    def report_chains(self, chains: Sequence[tuple[Row, list[Json]]], *, want: int = 0) -> list[Row]:
        """Report leases whose whole chain completed, with the outputs of its steps."""
        columns = ["tenant_id", "execution_id", "queue_id", "token", "version_id", "step_index"]
        types = ["uuid", "uuid", "bigint", "bigint", "uuid", "smallint"]
        arrays = [[lease[column] for lease, _ in chains] for column in columns]
        places = ", ".join(f"%s::{name}[]" for name in [*types, "smallint", "jsonb"])
        steps = [json.dumps([[1.0, output] for output in outputs]) for _, outputs in chains]
        query = f"select * from flowgres.complete_chains(%s, {places}, null, %s, null)"
        counts = [len(outputs) for _, outputs in chains]
        return self.db.connection.execute(query, [self.id, *arrays, counts, steps, want]).fetchall()

    def beat(self, *running: Row) -> dict[str, Any]:
        """Show that it lives; `running` are the leases whose loss it asks about."""
        leases = [[str(r["tenant_id"]), str(r["execution_id"]), r["queue_id"], r["token"]] for r in running]
        answer: dict[str, Any] = self.db.call("flowgres.heartbeat", p_runner_id=self.id, p_running=leases, p_stats={})
        return answer

    def sweep(self, *, limit: int = 200) -> int:
        """Give up whoever was silent for too long, and free what they held; return how many leases."""
        return int(self.db.call("flowgres.rescue_expired_leases", p_limit=limit))

    def step_name(self, lease: Row) -> str:
        """The id of the step of a lease."""
        version = lease["version_id"]
        if version not in self._steps:
            answer = self.db.call("flowgres.get_version", p_version_id=version)
            self._steps[version] = [step["id"] for step in answer["steps"]]
        return self._steps[version][lease["step_index"]]

    def result(self, lease: Row, outcome: dict[str, Any]) -> dict[str, Any]:
        """The report of one lease."""
        return {
            "t": str(lease["tenant_id"]),
            "x": str(lease["execution_id"]),
            "q": lease["queue_id"],
            "k": lease["token"],
            "s": lease["step_index"],
            "ms": 1.0,
            **outcome,
        }

    def work(self, decide: Decide | None = None, *, one_by_one: bool = False) -> list[str]:
        """Run everything that is ready, and what becomes ready by it; return the steps in the order of their run."""
        ran: list[str] = []
        leases = self.claim()
        while leases:
            batch, leases = (leases[:1], leases[1:]) if one_by_one else (leases, [])
            results = []
            for lease in batch:
                name = self.step_name(lease)
                ran.append(name)
                results.append(self.result(lease, decide(lease, name) if decide else completed(name)))
            leases += self.report(results)
            if not leases:
                leases = self.claim()
        return ran


def outwait_lease(db: Db, clock: Clock, *alive: Hands) -> None:
    """Let a lease pass while somebody listens and only those `alive` are heard; the next sweep gives the others up."""
    for _ in range(db.value("select value::int from flowgres.settings where name = 'lease_seconds'") // 2 + 1):
        clock.advance(seconds=2)
        for runner in alive:
            assert runner.beat()["alive"]
        db.run("select flowgres.keep_watch(p_now => flowgres.now())")


def completed(output: Json = None, **more: Any) -> dict[str, Any]:
    """The outcome of a step that is done."""
    return {"o": "completed", "out": output, **more}


def failed(error_class: str = "internal", **more: Any) -> dict[str, Any]:
    """The outcome of a step that failed."""
    return {"o": "failed", "error": {"code": "broken", "message": "it broke", "class": error_class, **more}}


@contextmanager
def hands(database: Database, *, protocol: int = PROTOCOL) -> Iterator[Hands]:
    """Hands on a connection of their own; when they are done, the engine's own checker has to find nothing."""
    with database.connect("runner") as db:
        # Whoever waits for itself fails, and does not hang.
        db.run("set lock_timeout to '30s'")
        yield Hands(db, protocol=protocol)
    with database.connect() as db:
        assert_invariants(db, drained=False)


def import_workflow(db: Db, tenant: Tenant, definition: dict[str, Any]) -> str:
    """Import and activate a definition; return the workflow's name."""
    answer = db.call(
        "flowgres.import_definition",
        p_tenant_id=tenant.tenant_id,
        p_definition=definition,
        p_activate=True,
        p_checked=True,
    )
    return str(answer["name"])


def start(database: Database, tenant: Tenant, workflow: str, **arguments: Any) -> str:
    """Start one execution as a member of the tenant; return its id."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as db:
        return str(db.call("flowgres_api.start_execution", workflow=workflow, **arguments)["execution_id"])


def get(database: Database, tenant: Tenant, execution_id: str) -> dict[str, Any]:
    """An execution as its tenant sees it, with `steps` by id."""
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as db:
        execution: dict[str, Any] = db.call("flowgres_api.get_execution", execution_id=execution_id)
    execution["steps"] = {step["step"]: step for step in execution["steps"]}
    return execution


def statuses(execution: dict[str, Any]) -> dict[str, str]:
    """What has become of the steps of an execution that `get` gave."""
    return {name: step["status"] for name, step in execution["steps"].items()}


def dag(name: str, steps: Sequence[Mapping[str, Any]], **more: Any) -> dict[str, Any]:
    """A definition; steps without a type are transforms, and every step says what it depends on."""
    return {
        "name": name,
        "steps": [
            {
                "type": "transform",
                "depends_on": [],
                **({"config": {"expression": "1"}} if step.get("type", "transform") == "transform" else {}),
                **step,
            }
            for step in steps
        ],
        **more,
    }


def assert_invariants(db: Db, *, drained: bool = True) -> None:
    """Fail when the engine's own checker finds anything."""
    violations = db.all("select * from flowgres.check_invariants(p_is_drained => %s)", drained)
    assert violations == [], violations[:10]
