"""What a report makes ready: handed to its runner as far as that has room, left to others beyond, who are told."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import Hands, assert_invariants, completed, dag, hands, import_workflow, start

WIDTH = 20


def _fan(database: Database, db: Db, tenant: Tenant, **step: Any) -> None:
    steps = [{"id": "root"}, *({"id": f"s{i}", "depends_on": ["root"], **step} for i in range(WIDTH))]
    start(database, tenant, import_workflow(db, tenant, dag("fan", steps)))


def _end_root(runner: Hands, *, room: int | None, want: int = 0) -> list[Row]:
    (lease,) = runner.claim(1)
    return runner.report_once([runner.result(lease, completed())], want=want, room=room)


def test_runner_gets_no_more_than_it_has_room_for(database: Database, db: Db, tenant: Tenant) -> None:
    _fan(database, db, tenant, type="delay", config={"seconds": 1})
    with hands(database) as runner:
        assert len(_end_root(runner, room=5)) == 5
        assert len(runner.claim(100)) == WIDTH - 5
    assert_invariants(db, drained=False)


def test_runner_that_stops_gets_nothing(database: Database, db: Db, tenant: Tenant) -> None:
    _fan(database, db, tenant)
    with hands(database) as stopping, hands(database) as other:
        assert _end_root(stopping, room=0) == []
        assert len(other.claim(100)) == WIDTH


def test_room_that_nobody_names_is_what_the_batch_frees_and_what_is_wanted(
    database: Database, db: Db, tenant: Tenant
) -> None:
    _fan(database, db, tenant, type="delay", config={"seconds": 1})
    with hands(database) as runner:
        # Four are handed over, and three claimed.
        assert len(_end_root(runner, room=None, want=3)) == 4 + 3


def test_steps_that_only_compute_take_no_room(database: Database, db: Db, tenant: Tenant) -> None:
    _fan(database, db, tenant)
    with hands(database) as runner:
        assert len(_end_root(runner, room=1)) == WIDTH


def test_fan_is_shared_with_runners_that_have_nothing_to_do(database: Database, db: Db, tenant: Tenant) -> None:
    _fan(database, db, tenant)
    with hands(database) as busy, hands(database) as idle, database.connect("runner") as sleeper:
        idle.db.call("flowgres.declare_idle", p_runner_id=idle.id, p_idle=True)
        sleeper.run("listen flowgres_work")
        assert len(_end_root(busy, room=100)) == 1 + (WIDTH - 1) // 2
        assert len(list(sleeper.connection.notifies(timeout=5, stop_after=1))) == 1
        assert len(idle.claim(100)) == WIDTH - 1 - (WIDTH - 1) // 2
    assert_invariants(db, drained=False)


def test_step_that_another_runner_serves_wakes_it(database: Database, db: Db, tenant: Tenant) -> None:
    _fan(database, db, tenant)
    db.run("update flowgres.workflow_steps set capability = 'special' where id = 's1'")
    with hands(database) as runner, hands(database) as special, database.connect("runner") as sleeper:
        db.run("update flowgres.runners set capabilities = '{special}' where id = %s", special.id)
        special.db.call("flowgres.declare_idle", p_runner_id=special.id, p_idle=True)
        sleeper.run("listen flowgres_work")
        leases = _end_root(runner, room=100)
        assert "s1" not in {runner.step_name(lease) for lease in leases}
        assert len(list(sleeper.connection.notifies(timeout=5, stop_after=1))) == 1
        assert [special.step_name(lease) for lease in special.claim(1)] == ["s1"]


@pytest.mark.parametrize("call", ["start_execution", "start_executions"])
def test_start_by_a_request_wakes_a_runner_that_sleeps(database: Database, db: Db, tenant: Tenant, call: str) -> None:
    """Whoever starts as a tenant sees no runner by its own rights."""
    name = import_workflow(db, tenant, dag("one", [{"id": "a"}]))
    more: dict[str, Any] = {"inputs": Jsonb([{}])} if call == "start_executions" else {}
    with hands(database) as idle, database.connect("runner") as sleeper:
        idle.db.call("flowgres.declare_idle", p_runner_id=idle.id, p_idle=True)
        sleeper.run("listen flowgres_work")
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call(f"flowgres_api.{call}", workflow=name, **more)
        assert len(list(sleeper.connection.notifies(timeout=5, stop_after=1))) == 1


def test_claim_of_a_fan_carries_its_context_once(database: Database, db: Db, tenant: Tenant) -> None:
    steps: list[dict[str, Any]] = [
        {"id": "one"},
        {"id": "two", "depends_on": ["one"]},
        *(
            {"id": f"s{i}", "depends_on": ["two"], "config": {"expression": f"{{{{ steps.{name}.output }}}}"}}
            for i, name in enumerate(["one", "two"] * 4)
        ),
    ]
    for _ in range(2):
        start(database, tenant, import_workflow(db, tenant, dag("contexts", steps)))
    with hands(database) as runner:
        leases = runner.claim()
        for value in (1, 2):
            results = [runner.result(lease, completed(value)) for lease in leases]
            leases = runner.report_once(results, room=2 if value == 1 else 0)
        rows = runner.claim(100)
    assert len(rows) == 16
    for execution_id in {row["execution_id"] for row in rows}:
        first, *others = [row for row in rows if row["execution_id"] == execution_id]
        # Of all that its rows refer to, in the first of them.
        assert {name: step["output"] for name, step in first["context"]["steps"].items()} == {"one": 1, "two": 2}
        assert [row["context"] for row in others] == [None] * 7
