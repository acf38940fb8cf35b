"""Limits with real runners, of which one is killed again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, import_workflow
from tests.support.runner import Runner, wait_for

EXECUTIONS = 40
KILLS = 3
# Of the limit two have a place at once, of each key three executions.
OVER = """
  select s.line, count(*) from flowgres.limit_slots as s where flowgres.slot_is_held(s) group by s.line
  having count(*) > case when s.line = 'limit:few' then 2 else 3 end
"""


def test_limits_hold_and_all_goes_on_while_runners_are_killed(
    database: Database, db: Db, tenant: Tenant, tmp_path: Path
) -> None:
    with database.as_role("admin", tenant_id=tenant.tenant_id) as api:
        api.call("flowgres_api.set_limit", name="few", capacity=2)
    steps: list[dict[str, Any]] = [
        {"id": "first"},
        {"id": "slow", "type": "delay", "config": {"duration": 0.05}, "depends_on": ["first"], "limit": "few"},
        {"id": "last", "depends_on": ["slow"]},
    ]
    import_workflow(db, tenant, dag("few", steps, settings={"concurrency": {"limit": 3, "key": "$.k"}}))

    def start() -> None:
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            inputs = [{"k": number % 3} for number in range(EXECUTIONS)]
            api.call("flowgres_api.start_executions", workflow="few", inputs=inputs)

    def ended() -> int:
        assert db.all(OVER) == []
        return int(db.value("select count(*) from flowgres.executions where finished_at is not null"))

    def wait_until_ended(count: int) -> None:
        wait_for(lambda: ended() >= count, timeout_seconds=60, what=f"the end of {count}")

    with Runner(database, log_path=tmp_path / "stays.log"):
        for number in range(KILLS):
            victim = Runner(database, log_path=tmp_path / f"killed-{number}.log").start()
            start()
            wait_until_ended(number * EXECUTIONS + 3)
            victim.kill()
            wait_until_ended((number + 1) * EXECUTIONS)
    assert db.value("select count(*) from flowgres.executions where status = 'completed'") == KILLS * EXECUTIONS
    assert_invariants(db)
