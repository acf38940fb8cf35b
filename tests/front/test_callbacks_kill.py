"""A runner that dies between the request and the wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.callbacks import Bank, begin, serving
from tests.support.database import Database
from tests.support.runner import Runner, wait_for

from .conftest import TenantKeys

pytestmark = [pytest.mark.chaos, pytest.mark.slow]


def test_call_of_a_request_whose_runner_died_ends_the_step(
    front: Api, tenant: TenantKeys, module_database: Database, tmp_path: Path
) -> None:
    bank = Bank(front)
    with serving(bank) as url:
        look = begin(tenant.db, tenant.tenant_id, module_database, url)
        dying = {"PUBLIC_URL": front.url, "FLOWGRES_FAILPOINT": "after_http:1"}
        victim = Runner(module_database, log_path=tmp_path / "victim.log", environment=dying).start()
        wait_for(lambda: victim.process.return_code is not None, what="the death")
        assert bank.call({"paid": True}).status_code == 202
        with Runner(module_database, log_path=tmp_path / "next.log", environment={"PUBLIC_URL": front.url}):
            wait_for(lambda: look()["status"] == "completed", timeout_seconds=40, what="the end")
    assert look()["steps"]["ask"]["output"]["callback"]["body"] == {"paid": True}
    assert len(bank.tokens) == 2
    assert bank.tokens[0] == bank.tokens[1], "it was sent again, with the same address"
