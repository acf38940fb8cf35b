"""PostgreSQL that is restarted under a front: the next call is answered, and what was refused has not been started."""

from __future__ import annotations

from pathlib import Path

import pytest

from flowgres_cli.stack.postgres import Cluster
from tests.support.api import Api
from tests.support.database import Database, Tenant
from tests.support.definitions import log_step, workflow
from tests.support.engine import import_workflow
from tests.support.front import Front
from tests.support.runner import wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

ROUNDS = 3


def test_calls_go_on_after_a_restart(cluster: Cluster, database: Database, tenant: Tenant, tmp_path: Path) -> None:
    with database.connect() as db:
        name = import_workflow(db, tenant, workflow(log_step("only")))
    with Front(database.url("front"), log_path=tmp_path / "front.log") as front:
        member = Api(front.url).as_key(tenant.key)

        def start() -> tuple[int, str]:
            answer = member.request("POST", f"/run/{name}?wait=0", json={})
            return answer.status_code, answer.json().get("code", "")

        for _ in range(ROUNDS):
            assert start() == (202, "")
            address = cluster.running()
            assert address is not None
            cluster.stop()
            assert start() == (503, "database_unreachable")
            cluster.start(port=address.port)
            # The pool makes new sessions at its own pace.
            wait_for(lambda: member.request("GET", "/health").json()["database"] == "ok", what="the database")
    with database.connect() as db:
        assert db.value("select count(*) from flowgres.executions") == ROUNDS
