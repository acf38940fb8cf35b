"""Runners that are told what to serve: each gets the steps of these types alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.support.database import Database, Db, Tenant
from tests.support.functions import calling, make_shop, sql_environment
from tests.support.runner import Runner, run_to_end


def test_each_runner_gets_the_steps_of_its_types_alone(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]
) -> None:
    make_shop(db)
    start_runner(RUNNER_NAME="core", RUNNER_TYPES="core", **sql_environment(database))
    start_runner(RUNNER_NAME="sql", RUNNER_TYPES="sql", **sql_environment(database))
    wait = {"id": "wait", "type": "delay", "config": {"seconds": 0.01}}
    call = calling("shop.reserve", args={"step": "a"}, depends_on=["wait"])
    after = {"id": "after", "type": "delay", "config": {"seconds": 0.01}, "depends_on": ["call"]}
    assert run_to_end(database, db, tenant, wait, call, after)["status"] == "completed"
    ran = "select s.step, r.name from flowgres.step_executions as s join flowgres.runners as r on r.id = s.runner_id"
    assert {row["step"]: row["name"] for row in db.all(ran)} == {"wait": "core", "call": "sql", "after": "core"}
    served = db.all("select name, capabilities from flowgres.runners order by name")
    assert [row["capabilities"] for row in served] == [["core"], ["sql"]]


def test_a_step_that_no_runner_serves_says_so(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]
) -> None:
    start_runner()
    assert db.value("select flowgres.unserved_reason('sql')") == 'no live runner serves the step type "sql"'
    assert db.value("select flowgres.unserved_reason('http')") is None


def test_a_type_that_the_runner_does_not_have_keeps_it_from_starting(database: Database, tmp_path: Path) -> None:
    runner = Runner(database, log_path=tmp_path / "log", environment={"RUNNER_TYPES": "core, shuot"})
    done = subprocess.run(
        [sys.executable, "-m", "flowgres_runner"],
        env=runner.process.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "RUNNER_TYPES names 'shuot', which this runner does not have" in done.stdout + done.stderr
