"""A front that is killed right after it has answered a delivery: what was answered 202 is there."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database
from tests.support.front import Front
from tests.support.scale import IS_LONG
from tests.support.webhooks import Hooks


@pytest.mark.parametrize(
    "rounds",
    [5, pytest.param(200 if IS_LONG else 60, marks=[pytest.mark.slow, pytest.mark.alone])],
    ids=["few", "many"],
)
def test_what_was_answered_202_is_there(rounds: int, module_database: Database, tmp_path: Path) -> None:
    with module_database.connect() as db:
        keys = TenantKeys(db)
        webhook: dict[str, str] = {}
        answered: list[str] = []
        for number in range(rounds):
            front = Front(module_database.url("front"), log_path=tmp_path / f"front-{number}.log").start()
            try:
                hooks = Hooks(Api(front.url), db, tenant_id=keys.tenant_id, slug="x", key=keys.admin)
                if not webhook:
                    (webhook,) = hooks.import_()
                # Some are under way when it is killed: of those nothing is known, and a sender tries again.
                answer = hooks.send(webhook["path"], {"round": number}, key=f"round-{number}")
                front.process.kill()
            finally:
                front.process.kill()
            assert answer.status_code == 202
            answered.append(answer.json()["execution_id"])

        assert [str(row["id"]) for row in hooks.executions()] == answered
        assert [row["trigger"]["payload"]["round"] for row in hooks.executions()] == list(range(rounds))
        accepted = [row for row in hooks.deliveries() if row["outcome"] == "accepted"]
        assert [str(row["execution_id"]) for row in accepted] == answered
        with Front(module_database.url("front"), log_path=tmp_path / "last.log") as front:
            hooks.front = Api(front.url)
            again = hooks.send(webhook["path"], {"round": 0}, key="round-0")
        assert (again.status_code, again.json()["execution_id"]) == (200, answered[0])
        assert httpx.codes.is_success(again.status_code)
