"""The stream of a tenant: all its executions, whatever commits first, nothing missed and nothing doubled."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api
from tests.support.database import Database, Db, Tenant
from tests.support.engine import Hands, dag, hands, import_workflow, start
from tests.support.streams import Received, stored, streaming

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


class Listener:
    """A client that reads a stream and loses its connection now and then, at any moment of an event."""

    def __init__(self, api: Api, path: str, *, last_id: str | None, is_done: threading.Event, seed: int) -> None:
        self.seen: list[Received] = []
        self.connections = 0
        self._api, self._path, self._last_id = api, path, last_id
        self._is_done = is_done
        self._random = random.Random(seed)

    def run(self, wanted: int) -> None:
        """Read until so many events were seen, and then whatever else comes within half a second."""
        while len(self.seen) < wanted and not self._is_done.is_set():
            self._read(self._random.choice([0, 1, 2, 5, 20, 10_000]), wanted)
        self._read(10_000, 10**9, seconds=0.5)

    def _read(self, most: int, wanted: int, *, seconds: float = 3) -> None:
        self.connections += 1
        stream = None
        try:
            with streaming(self._api, self._path, last_id=self._last_id, seconds=seconds) as stream:
                if most == 0:
                    return
                for count, event in enumerate(stream, 1):
                    self.seen.append(event)
                    self._last_id = stream.last_id
                    if count >= most or len(self.seen) >= wanted:
                        return
        except httpx.TransportError:
            pass
        finally:
            if stream is not None:
                self._last_id = stream.last_id


def work_all(database: Database, count: int, db: Db, tenant_id: str) -> None:
    """Run until so many executions have ended."""
    ended = "select count(*) from flowgres.executions where tenant_id = %s and finished_at is not null"
    with hands(database) as hand:
        while db.value(ended, tenant_id) < count:
            hand.work(one_by_one=random.random() < 0.5)


def all_events(db: Db, tenant_id: str) -> Counter[tuple[str, int, str]]:
    rows = db.all("select execution_id::text as id, seq, type from flowgres.all_events where tenant_id = %s", tenant_id)
    return Counter((row["id"], row["seq"], row["type"]) for row in rows)


def check_exactness(
    front: Api, tenant: TenantKeys, owner: Tenant, database: Database, workflow: str, count: int
) -> None:
    """Two runners, starts meanwhile, and four clients that come and go: each has each event once, in its order."""
    is_done = threading.Event()
    api = front.as_key(tenant.viewer)
    with streaming(api, "/events/stream") as stream:
        assert stream.response.status_code == 200
        with start_position(api) as position, ThreadPoolExecutor(8) as pool:
            listeners = [
                Listener(api, "/events/stream", last_id=position, is_done=is_done, seed=seed) for seed in range(4)
            ]
            with ThreadPoolExecutor(2) as starting:
                workers = [pool.submit(_work_alone, database, count, tenant.tenant_id) for _ in range(2)]
                per_execution = 8
                readers = [pool.submit(listener.run, per_execution * count) for listener in listeners]
                for _ in range(count):
                    starting.submit(start, database, owner, workflow)
            for worker in workers:
                worker.result(300)
            for reader in readers:
                try:
                    reader.result(60)
                finally:
                    is_done.set()
    wanted = all_events(tenant.db, tenant.tenant_id)
    assert sum(wanted.values()) == per_execution * count
    for listener in listeners:
        assert listener.connections > 3
        seen = Counter((e.data["execution_id"], e.data["seq"], e.name) for e in listener.seen)
        assert seen == wanted
        numbers: dict[str, int] = {}
        for event in listener.seen:
            assert event.data["seq"] == numbers.get(event.data["execution_id"], 0) + 1
            numbers[event.data["execution_id"]] = event.data["seq"]


def _work_alone(database: Database, count: int, tenant_id: str) -> None:
    with database.connect() as db:
        work_all(database, count, db, tenant_id)


@contextmanager
def start_position(api: Api) -> Iterator[str]:
    """The id that a stream has before its first event."""
    with streaming(api, "/events/stream") as stream:
        lines = stream.response.iter_lines()
        yield next(line.removeprefix("id: ") for line in lines if line.startswith("id: "))


def test_clients_that_come_and_go_have_each_event_once(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str
) -> None:
    check_exactness(front, tenant, owner, module_database, workflow, 60)


@pytest.mark.slow
def test_clients_that_come_and_go_have_each_event_of_a_thousand_executions_once(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str
) -> None:
    check_exactness(front, tenant, owner, module_database, workflow, 1000)


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
        assert {event.data["execution_id"] for event in stream.take(count)} == {first}


def test_position_that_is_too_old_is_reset(
    front: Api, tenant: TenantKeys, owner: Tenant, module_database: Database, workflow: str, runner: Hands
) -> None:
    api = front.as_key(tenant.viewer)
    with start_position(api) as position:
        pass
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
