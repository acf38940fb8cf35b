"""A pooler that gives each transaction another session: recognised and named, and no trouble where it may stand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from flowgres_cli import migrate
from flowgres_cli.errors import CliError
from flowgres_cli.operator import call_as_operator
from tests.support.database import Database, Db
from tests.support.front import Front
from tests.support.functions import calling, effects, make_shop
from tests.support.pooler import pooling
from tests.support.runner import Runner, run_to_end, wait_for
from tests.support.server import INSTALLER

DEFINITION = {"name": "greet", "steps": [{"id": "hello", "type": "log", "config": {"message": "hello"}}]}


@pytest.fixture
def pooled(database: Database) -> Iterator[Callable[[str], str]]:
    """The same connection string, through the pooler."""
    parts = conninfo_to_dict(database.server.superuser_dsn)
    with pooling(host=str(parts["host"]), port=int(str(parts["port"]))) as port:
        yield lambda dsn: make_conninfo(dsn, port=port)


@pytest.mark.parametrize(
    "names", [("DATABASE_URL",), ("DATABASE_URL", "DATABASE_DIRECT_URL"), ("DATABASE_DIRECT_URL",)]
)
def test_runner_names_the_pooler_and_ends(
    names: tuple[str, ...], database: Database, pooled: Callable[[str], str], tmp_path: Any
) -> None:
    environment = dict.fromkeys(names, pooled(database.dsn("runner")))
    runner = Runner(database, log_path=tmp_path / "log", environment=environment)
    done = subprocess.run(
        [sys.executable, "-m", "flowgres_runner"],
        env=runner.process.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "leads through a pooler" in done.stderr
    assert "[pooler_in_between]" in done.stderr
    assert "DATABASE_DIRECT_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_runner_and_front_work_through_it_with_a_direct_address(
    database: Database, db: Db, pooled: Callable[[str], str], start_runner: Callable[..., Runner], tmp_path: Path
) -> None:
    runner = start_runner(
        DATABASE_URL=pooled(database.dsn("runner")),
        DATABASE_DIRECT_URL=database.dsn("runner"),
    )
    tenant = database.make_tenant()
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.import_workflow", definition=DEFINITION)
    for _ in range(3):
        with database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.call("flowgres_api.start_execution", workflow="greet")
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'") == 3)
    with Front(pooled(database.dsn("front")), log_path=tmp_path / "front.log") as front:
        for _ in range(5):
            assert httpx.get(f"{front.url}/health").json()["database"] == "ok"
    assert "Traceback" not in runner.log


def test_command_line_upgrades_past_it_and_calls_through_it(database: Database, pooled: Callable[[str], str]) -> None:
    owner = pooled(database.server.dsn(database.name, user=INSTALLER))
    with pytest.raises(CliError) as caught:
        migrate.upgrade(owner)
    assert caught.value.code == "pooler_in_between"
    assert "DATABASE_DIRECT_URL" in str(caught.value.hint)
    for _ in range(3):
        assert migrate.status(owner).is_current
    answer = call_as_operator(owner, "select flowgres_api.register_tenant(name => %s)", ["Acme"])
    assert answer["slug"] == "acme"


def test_sql_steps_go_through_a_pooler(
    database: Database, db: Db, pooled: Callable[[str], str], start_runner: Callable[..., Runner]
) -> None:
    make_shop(db)
    start_runner(DATABASE_SQL_URL=pooled(database.dsn("sql")))
    steps = [calling("shop.reserve", step=f"s{n}", args={"step": f"s{n}"}) for n in range(8)]
    execution = run_to_end(database, db, database.make_tenant(), *steps)
    assert execution["status"] == "completed", execution["error"]
    assert sorted(effects(db)) == [f"s{n}" for n in range(8)]
