"""Steps that wait until the address is called that they have sent along."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.api import Api
from tests.support.callbacks import Bank, begin, serving
from tests.support.database import Database
from tests.support.runner import Runner, wait_for

from .conftest import TenantKeys


@pytest.fixture(scope="module")
def runner(module_database: Database, front: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runner]:
    path = tmp_path_factory.mktemp("callbacks") / "runner.log"
    with Runner(module_database, log_path=path, environment={"PUBLIC_URL": front.url}) as runner:
        yield runner


@pytest.fixture
def bank(front: Api, runner: Runner) -> Iterator[tuple[Bank, str]]:
    bank = Bank(front)
    with serving(bank) as url:
        yield bank, url


def test_step_goes_on_when_its_address_is_called(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database
) -> None:
    ours, url = bank
    look = begin(tenant.db, tenant.tenant_id, module_database, url)
    wait_for(lambda: look()["steps"]["ask"]["waits_for"] == "callback:ask", what="the wait")
    taken = ours.call({"paid": 7.50})
    assert (taken.status_code, taken.json()) == (202, {"status": "taken"})
    wait_for(lambda: look()["status"] == "completed", what="the end")
    output = look()["steps"]["ask"]["output"]
    assert (output["request"]["status"], output["request"]["body"]) == (202, {"taken": True})
    assert (output["callback"]["body"], output["callback"]["content_type"]) == ({"paid": 7.50}, "application/json")
    again = ours.call({"paid": 8})
    assert (again.status_code, again.json()["code"]) == (409, "callback_repeated")


@pytest.mark.parametrize("is_called", [True, False], ids=["called", "in vain"])
def test_request_is_kept_with_the_attempt(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database, is_called: bool
) -> None:
    ours, url = bank
    timeout = {"timeout": "1h" if is_called else "50ms"}
    look = begin(tenant.db, tenant.tenant_id, module_database, url, callback=timeout, record="all", on_error="continue")
    wait_for(lambda: ours.tokens, what="the request")
    if is_called:
        assert ours.call({"n": 1}).status_code == 202
    wait_for(lambda: look()["status"] == "completed", what="the end")
    step = look()["steps"]["ask"]
    assert (step["error"] or {"code": None})["code"] == (None if is_called else "callback_timeout")
    (detail,) = tenant.db.column("select detail from flowgres_api.attempts where execution_id = %s", look()["id"])
    assert (detail["request"]["url"], detail["response"]["status"], detail["record"]) == (url, 202, "all")
    assert ours.tokens[0][-20:] not in str(detail), "whoever reads of an attempt may not call its step"


def test_call_that_comes_before_the_answer_is_not_lost(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database
) -> None:
    ours, url = bank
    ours.early = {"n": 1}
    look = begin(tenant.db, tenant.tenant_id, module_database, url)
    wait_for(lambda: look()["status"] == "completed", what="the end")
    assert look()["steps"]["ask"]["output"]["callback"]["body"] == {"n": 1}


def test_address_is_the_same_for_all_attempts(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database
) -> None:
    ours, url = bank
    ours.failures = 1
    look = begin(tenant.db, tenant.tenant_id, module_database, url, retry={"attempts": 2, "delay": "10ms"})
    wait_for(lambda: look()["steps"]["ask"]["waits_for"] == "callback:ask", what="the wait")
    assert len(ours.tokens) == 2
    assert ours.tokens[0] == ours.tokens[1]
    kept = str(tenant.db.column("select detail from flowgres_api.attempts where tenant_id = %s", tenant.tenant_id))
    assert "refused" in kept
    assert ours.tokens[0][-20:] not in kept, "whoever reads of an attempt may not call its step"
    assert ours.call("x", ours.tokens[0]).status_code == 202
    wait_for(lambda: look()["status"] == "completed", what="the end")


def test_nobody_calls_in_time(bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database) -> None:
    ours, url = bank
    look = begin(tenant.db, tenant.tenant_id, module_database, url, callback={"timeout": "50ms"}, on_error="continue")
    wait_for(lambda: look()["status"] == "completed", what="the end")
    assert look()["steps"]["ask"]["error"]["code"] == "callback_timeout"
    late = ours.call({})
    assert (late.status_code, late.json()["code"]) == (410, "callback_over")
    look = begin(
        tenant.db,
        tenant.tenant_id,
        module_database,
        url,
        callback={"timeout": "50ms"},
        on_timeout={"output": {"paid": "{{ 1 + 1 }}"}},
    )
    wait_for(lambda: look()["status"] == "completed", what="the end")
    assert look()["steps"]["ask"]["output"] == {"paid": 2}


def test_call_for_a_suspended_tenant_may_come_again(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database
) -> None:
    ours, url = bank
    look = begin(tenant.db, tenant.tenant_id, module_database, url)
    wait_for(lambda: ours.tokens, what="the request")
    status = "update flowgres.tenants set status = %s where tenant_id = %s"
    tenant.db.run(status, "suspended", tenant.tenant_id)
    refused = ours.call({})
    tenant.db.run(status, "active", tenant.tenant_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    assert ours.call({}).status_code == 202
    wait_for(lambda: look()["status"] == "completed", what="the end")


def test_of_many_calls_at_once_one_counts(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database
) -> None:
    ours, url = bank
    look = begin(tenant.db, tenant.tenant_id, module_database, url)
    wait_for(lambda: ours.tokens, what="the request")
    with ThreadPoolExecutor(5) as pool:
        statuses = sorted(answer.status_code for answer in pool.map(ours.call, range(5)))
    assert statuses == [202, 409, 409, 409, 409]
    wait_for(lambda: look()["status"] == "completed", what="the end")


@pytest.mark.parametrize("token", ["x", "A" * 102, "%00", "A" * 5000])
def test_address_that_nobody_made_is_unknown(front: Api, token: str) -> None:
    refused = front.request("POST", f"/callbacks/{token}", json={})
    assert (refused.status_code, refused.json()["code"]) == (404, "callback_unknown")


def test_each_item_has_an_address_of_its_own(
    bank: tuple[Bank, str], tenant: TenantKeys, module_database: Database
) -> None:
    ours, url = bank
    look = begin(tenant.db, tenant.tenant_id, module_database, url, foreach={"items": [1, 2, 3], "max_parallel": 2})
    wait_for(lambda: len(ours.tokens) == 2, what="two requests")
    called: dict[str, int] = {}
    while len(called) < 3:
        wait_for(lambda: set(ours.tokens) - set(called), what="the next request")
        token = next(one for one in ours.tokens if one not in called)
        called[token] = len(called)
        assert ours.call({"n": called[token]}, token).status_code == 202
        assert ours.call({"n": 9}, token).status_code in (409, 410)
    wait_for(lambda: look()["status"] == "completed", what="the end")
    output = look()["steps"]["ask"]["output"]
    assert sorted(one["callback"]["body"]["n"] for one in output) == [0, 1, 2]
