"""A step type that kills the process which runs it: real, installed by entry point as any package would."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.chaos import Crew, Receiver, call, tell, wait_for_drain
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start
from tests.support.runner import Runner, wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

HANDLER = """
import os
import signal


class Deadly:
    type = "deadly"
    config_schema = {"type": "object"}

    async def run(self, task):
        os.kill(os.getpid(), signal.SIGKILL)
"""
OTHERS = 10
DEATHS = 3


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A directory that a package with the step type `deadly` is installed in."""
    directory = tmp_path / "plugins"
    metadata = directory / "deadly-1.0.dist-info"
    metadata.mkdir(parents=True)
    (directory / "deadly.py").write_text(HANDLER)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: deadly\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[flowgres.step_types]\ndeadly = deadly:Deadly\n")
    return directory


def test_step_that_kills_its_runner_fails_after_its_attempts_and_alone(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver, plugins: Path
) -> None:
    path = os.pathsep.join(filter(None, [str(plugins), os.environ.get("PYTHONPATH")]))

    def replaced(runner: Runner) -> Runner:
        return runner if runner.process.is_running else crew.start(PYTHONPATH=path)

    alive = [crew.start(PYTHONPATH=path)]
    deadly = import_workflow(db, tenant, dag("doom", [{"id": "die", "type": "deadly", "config": {}}]))
    # With no policy of their own: a few attempts must be enough for who merely stood beside it.
    beside = {**call("wait", seconds="0.6"), "retry": {"attempts": 1}}
    other = import_workflow(
        db, tenant, {"name": "other", "steps": [beside, {**call("end", "wait"), "retry": {"attempts": 1}}]}
    )
    doomed = start(database, tenant, deadly)
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        inputs = [{"url": receiver.url, "n": n} for n in range(OTHERS)]
        member.call("flowgres_api.start_executions", workflow=other, inputs=inputs)

    def everything_ended() -> bool:
        alive[:] = [replaced(runner) for runner in alive]
        return bool(db.value("select bool_and(finished_at is not null) from flowgres.executions"))

    wait_for(everything_ended, timeout_seconds=50, what="the end of all executions")
    wait_for_drain(db, timeout_seconds=1)
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    row = db.one("select status, error ->> 'code' as code from flowgres.executions where id = %s", doomed)
    deaths = sum(not member.process.is_running for member in crew.members)
    ends = {
        r["status"]: r["n"]
        for r in db.all("select status, count(*) as n from flowgres.executions where id <> %s group by 1", doomed)
    }
    most = db.value("select max(attempts) from flowgres.step_executions where execution_id <> %s", doomed)
    tell(f"{deaths} runners died of it; others: {ends}, at most {most} attempts")
    assert row == {"status": "failed", "code": "lease_expired"}
    assert deaths == DEATHS
    assert ends == {"completed": OTHERS}
