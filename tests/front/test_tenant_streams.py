"""The stream of a tenant: all its executions, whatever commits first, nothing missed and nothing doubled."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database, Tenant
from tests.support.engine import Hands, dag, hands, import_workflow, start
from tests.support.streams import beginning_of, stored, streaming

THREE_STEPS: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["a"]}]


@pytest.fixture
def owner(tenant: TenantKeys) -> Tenant:
    return Tenant(tenant.tenant_id, "", tenant.admin)


@pytest.fixture
def workflow(tenant: TenantKeys, owner: Tenant) -> str:
    return import_workflow(tenant.db, owner, dag("flow", THREE_STEPS))


@pytest.fixture
def runner(module_database: Database) -> Iterator[Hands]:
    with hands(module_database) as hand:
        yield hand


def test_filter_lets_through_what_was_asked_for(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str, runner: Hands
) -> None:
    other = import_workflow(tenant.db, owner, dag("other", [{"id": "only"}]))
    api = front.as_key(tenant.viewer)
    with (
        streaming(api, "/events/stream", workflow=other) as of_other,
        streaming(api, "/events/stream", type="execution_started,execution_completed") as of_type,
        streaming(api, "/events/stream", status="completed", workflow=f"{workflow},{other}") as of_status,
    ):
        start(module_database, owner, workflow)
        runner.work()
        start(module_database, owner, other)
        runner.work()

        assert {event.data["workflow"] for event in of_other.take(4)} == {other}
        assert [event.name for event in of_type.take(4)] == ["execution_started", "execution_completed"] * 2
        assert [event.data["workflow"] for event in of_status.take(2)] == [workflow, other]


def test_other_tenants_are_not_heard(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str, runner: Hands
) -> None:
    stranger = TenantKeys(tenant.db)
    import_workflow(tenant.db, Tenant(stranger.tenant_id, "", ""), dag("theirs", [{"id": "only"}]))
    with streaming(front.as_key(tenant.viewer), "/events/stream") as stream:
        start(module_database, Tenant(stranger.tenant_id, "", ""), "theirs")
        runner.work()
        start(module_database, owner, workflow)
        runner.work()

        assert {event.data["workflow"] for event in stream.take(8)} == {workflow}


def test_transaction_that_commits_late_is_not_passed_over(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str, runner: Hands
) -> None:
    first, second = start(module_database, owner, workflow), start(module_database, owner, workflow)
    with streaming(front.as_key(tenant.viewer), "/events/stream") as stream, module_database.connect() as late:
        with late.connection.transaction():
            late.run("select set_config('flowgres.tenant_id', %s, true)", tenant.tenant_id)
            late.run(
                "select flowgres.cancel_tree(p_tenant_id => %s, p_execution_ids => array[%s::uuid],"
                " p_reason => null, p_actor => 'test')",
                tenant.tenant_id,
                first,
            )
            with module_database.as_role("member", tenant_id=tenant.tenant_id) as early:
                early.call("flowgres_api.cancel_execution", execution_id=second)
            count = len(stored(tenant.db, second))
            assert {event.data["execution_id"] for event in stream.take(count)} == {second}
        last = stream.take(count)
        assert {event.data["execution_id"] for event in last} == {first}
    # Nor does it make forget those before it, which have higher numbers, when somebody comes back with its id.
    third = start(module_database, owner, workflow)
    runner.work()
    for place, event in enumerate(last, 1):
        with streaming(front.as_key(tenant.viewer), "/events/stream", last_id=event.id) as again:
            seen = [one.data["execution_id"] for one in again.take(count - place + 1)]
            assert seen == [first] * (count - place) + [third]


def test_position_that_is_too_old_is_reset(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str, runner: Hands
) -> None:
    api = front.as_key(tenant.viewer)
    position = beginning_of(api)
    start(module_database, owner, workflow)
    runner.work()
    tenant.db.run("update flowgres.stream_changes set at = at - interval '1 hour'")
    assert tenant.db.value("select flowgres.prune_streams(p_limit => 1000)") > 0

    with streaming(api, "/events/stream", last_id=position) as stream:
        start(module_database, owner, workflow)
        runner.work()
        events = stream.take(9)

    assert events[0].name == "reset"
    assert [event.data["seq"] for event in events[1:]] == list(range(1, 9))


def test_tenant_that_nobody_listens_to_writes_nothing(
    tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str, runner: Hands
) -> None:
    start(module_database, owner, workflow)
    runner.work()

    changes = "select count(*) from flowgres.stream_changes where tenant_id = %s"
    assert tenant.db.value(changes, tenant.tenant_id) == 0


def test_watch_that_nobody_renews_is_forgotten(front: Api, tenant: TenantKeys, owner: Tenant) -> None:
    with streaming(front.as_key(tenant.viewer), "/events/stream"):
        pass
    watches = "select count(*) from flowgres.stream_watches where tenant_id = %s"
    assert tenant.db.value(watches, tenant.tenant_id) == 1
    tenant.db.run(
        "update flowgres.stream_watches set watched_until = watched_until - interval '1 hour' where tenant_id = %s",
        tenant.tenant_id,
    )
    tenant.db.run("select flowgres.prune_streams(p_limit => 1000)")
    tenant.db.run("select flowgres.prune_streams(p_limit => 1000)")
    assert tenant.db.value(watches, tenant.tenant_id) == 0


@pytest.mark.parametrize("last_id", ["7", "garbage", "5:3:", "1:9:99", "10:20:15/3/x/1", "1:2:/9/0/0", "9" * 400])
def test_id_that_is_none_of_this_stream_is_refused(front: Api, tenant: TenantKeys, last_id: str) -> None:
    answer = front.as_key(tenant.viewer).request("GET", "/events/stream", headers={"Last-Event-ID": last_id})
    assert (answer.status_code, answer.json()["code"]) == (400, "last_event_id_invalid")
