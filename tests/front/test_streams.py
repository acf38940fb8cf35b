"""Streams of executions: what was, then what comes, until the end."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.front.conftest import TenantKeys
from tests.support.api import Api, make_token
from tests.support.database import Database, Tenant, end_sessions
from tests.support.engine import Hands, completed, dag, failed, hands, import_workflow, start
from tests.support.front import Front
from tests.support.memory import memory_of
from tests.support.runner import wait_for
from tests.support.streams import stored, streaming

TWO_STEPS: list[dict[str, Any]] = [{"id": "one"}, {"id": "two", "depends_on": ["one"]}]


@pytest.fixture
def started(module_database: Database, tenant: TenantKeys) -> Callable[..., str]:
    """Starts an execution of a workflow with these steps; nobody runs it."""

    def begin(*steps: dict[str, Any], name: str = "flow") -> str:
        owner = Tenant(tenant.tenant_id, "", tenant.admin)
        definition = dag(name, list(steps) or TWO_STEPS)
        return start(module_database, owner, import_workflow(tenant.db, owner, definition))

    return begin


@pytest.fixture
def runner(module_database: Database) -> Any:
    with hands(module_database) as hand:
        yield hand


def test_stream_of_an_ended_execution_has_all_its_events_and_ends(
    front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands
) -> None:
    execution_id = started()
    runner.work()

    with streaming(front.as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream:
        events = list(stream)

    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["x-accel-buffering"] == "no"
    assert [(int(event.id), event.name) for event in events] == stored(tenant.db, execution_id)
    assert [event.data["progress"] for event in events] == [0, 0, 50, 50, 99, 100]
    assert [event.data["steps_completed"] for event in events] == [0, 0, 1, 1, 2, 2]
    assert {"type", "execution_id", "step", "status", "steps_completed", "total_steps", "progress", "at"} <= set(
        events[0].data
    )
    assert events[-1].data["status"] == "completed"


def test_events_come_as_they_happen(front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands) -> None:
    execution_id = started()
    with streaming(front.as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream:
        leases = runner.claim()
        again = runner.report([runner.result(leases[0], completed(1))], want=1)
        assert [event.name for event in stream.take(3)] == ["execution_started", "step_started", "step_completed"]
        runner.report([runner.result(again[0], failed("permanent"))])
        rest = list(stream)

    assert [event.name for event in rest] == ["step_started", "step_failed", "execution_failed"]
    assert rest[-1].data["status"] == "failed"


def test_client_that_comes_back_goes_on_where_it_was(
    front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands
) -> None:
    execution_id = started()
    runner.work()
    api, path = front.as_key(tenant.viewer), f"/executions/{execution_id}/stream"

    for last in range(6):
        with streaming(api, path, last_id=str(last)) as stream:
            assert [int(event.id) for event in stream] == list(range(last + 1, 7))
    with streaming(api, path, last_event_id=4) as stream:
        assert [int(event.id) for event in stream] == [5, 6]


def test_client_that_has_all_of_an_ended_execution_is_told_to_stop(
    front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands
) -> None:
    execution_id = started()
    runner.work()

    answer = front.as_key(tenant.viewer).request(
        "GET", f"/executions/{execution_id}/stream", headers={"Last-Event-ID": "6"}
    )

    assert answer.status_code == 204


@pytest.mark.parametrize("last_id", ["garbage", "-1", "1.5", "7", "99999999999999999999", "１", "1 "])
def test_number_that_no_event_has_is_refused(
    front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands, last_id: str
) -> None:
    execution_id = started()
    runner.work()

    answer = front.as_key(tenant.viewer).request(
        "GET", f"/executions/{execution_id}/stream", params={"last_event_id": last_id}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "last_event_id_invalid")


def test_execution_of_another_tenant_does_not_exist(
    front: Api, tenant: TenantKeys, started: Callable[..., str]
) -> None:
    execution_id = started()
    stranger = TenantKeys(tenant.db)

    for path in (f"/executions/{execution_id}/stream", "/executions/nonsense/stream"):
        answer = front.as_key(stranger.viewer).request("GET", path)
        assert (answer.status_code, answer.json()["code"]) == (404, "execution_not_found")


def test_token_may_stand_in_the_query_and_a_key_may_not(
    front: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands
) -> None:
    execution_id = started()
    runner.work()
    path = f"/executions/{execution_id}/stream"
    token = make_token(role="viewer", tenant_id=tenant.tenant_id)

    with streaming(front, path, access_token=token) as stream:
        assert len(list(stream)) == 6
    assert front.request("GET", path, params={"access_token": tenant.viewer}).status_code == 401
    assert front.request("GET", path).status_code == 401
    both = front.as_key(tenant.viewer).request("GET", path, params={"access_token": token})
    assert (both.status_code, both.json()["code"]) == (400, "ambiguous_credentials")


def test_token_in_the_query_is_in_no_log(
    start_front: Callable[..., Api],
    tenant: TenantKeys,
    started: Callable[..., str],
    module_database: Database,
    tmp_path: Path,
) -> None:
    front = start_front(module_database.url("front"), log_path=tmp_path / "front.log")
    token = make_token(role="viewer", tenant_id=tenant.tenant_id)
    with streaming(front, f"/executions/{started()}/stream", access_token=token):
        pass

    wait_for(lambda: "request_served" in (tmp_path / "front.log").read_text(), what="the line")
    assert token not in (tmp_path / "front.log").read_text()


@pytest.fixture
def hasty(start_front: Callable[..., Api], module_database: Database) -> Api:
    """A front that says that it is there ten times a second, and is as quick to look whether others are."""
    return start_front(
        module_database.url("front"), FRONT_STREAM_HEARTBEAT="0.1", FRONT_STREAM_CHECK="0.1", FRONT_STREAM_STALL="1"
    )


def test_comments_show_that_the_line_stands(
    hasty: Api, tenant: TenantKeys, started: Callable[..., str], runner: Hands
) -> None:
    with streaming(hasty.as_key(tenant.viewer), f"/executions/{started()}/stream") as stream:
        lines = stream.response.iter_lines()
        assert [line for line in itertools.islice(lines, 12) if line.startswith(":")][:2] == [": still here"] * 2


@pytest.mark.parametrize("is_of_tenant", [False, True])
def test_stream_ends_with_the_key(
    hasty: Api, tenant: TenantKeys, started: Callable[..., str], is_of_tenant: bool
) -> None:
    path = "/events/stream" if is_of_tenant else f"/executions/{started()}/stream"
    with streaming(hasty.as_key(tenant.viewer), path) as stream:
        tenant.db.run(
            "update flowgres.api_keys set revoked_at = flowgres.now() where tenant_id = %s and role = 'viewer'",
            tenant.tenant_id,
        )
        last = list(stream)[-1]
    assert (last.name, last.data["code"]) == ("closed", "invalid_credentials")


def test_stream_ends_with_the_token(front: Api, tenant: TenantKeys, started: Callable[..., str]) -> None:
    token = make_token(role="viewer", tenant_id=tenant.tenant_id, exp=int(time.time()) + 2)
    with streaming(front.as_token(token), f"/executions/{started()}/stream") as stream:
        last = list(stream)[-1]
    assert (last.name, last.data["code"]) == ("closed", "token_expired")


def test_front_that_stops_ends_its_streams(
    module_database: Database, tenant: TenantKeys, started: Callable[..., str], tmp_path: Path
) -> None:
    execution_id = started()
    with (
        Front(module_database.url("front"), log_path=tmp_path / "front.log") as front,
        streaming(Api(front.url).as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream,
    ):
        os.kill(front.process.pid, signal.SIGTERM)
        last = list(stream)[-1]
    assert (last.name, last.data["code"]) == ("closed", "front_stopping")


def test_streams_of_a_tenant_are_bounded_and_are_no_requests_under_way(
    front: Api, tenant: TenantKeys, started: Callable[..., str]
) -> None:
    api, path = front.as_key(tenant.viewer), f"/executions/{started()}/stream"
    stranger = TenantKeys(tenant.db)
    with ExitStack() as stack:
        for _ in range(256):
            stack.enter_context(streaming(api, path))
        refused = api.request("GET", path)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_at_once")
        assert api.request("GET", "/health").status_code == 200
        assert api.request("PUT", "/secrets/NAME", json={"value": "a-secret"}).status_code == 403
        stack.enter_context(streaming(front.as_key(stranger.viewer), "/events/stream"))
    wait_for(lambda: api.request("GET", path.replace("stream", "no")).status_code == 404)
    with streaming(api, path):
        pass


def test_database_that_is_away_for_a_while_ends_no_stream(
    front: Api, tenant: TenantKeys, started: Callable[..., str], module_database: Database
) -> None:
    execution_id = started()
    with streaming(front.as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream:
        with module_database.connect() as db:
            end_sessions(db, "flowgres_front")
        with hands(module_database) as runner:
            runner.work()
        assert [int(event.id) for event in stream] == list(range(1, 7))


def test_client_that_takes_nothing_is_cut_off_and_costs_no_memory(
    module_database: Database, tenant: TenantKeys, started: Callable[..., str], runner: Hands, tmp_path: Path
) -> None:
    logs = [{"level": "info", "message": "x" * 1000} for _ in range(100)]
    steps = ({"id": "one"}, *({"id": f"s{i}", "depends_on": ["one"]} for i in range(40)))
    with Front(
        module_database.url("front"), log_path=tmp_path / "front.log", environment={"FRONT_STREAM_STALL": "1"}
    ) as front:

        def cut(count: int) -> tuple[str, int]:
            """An execution of which so many take nothing, and the bytes of the front after they were cut off."""
            execution_id = started(*steps, name="long")
            known = front.log.count("slow_reader_cut")
            with ExitStack() as stack:
                for _ in range(count):
                    stack.enter_context(deaf(front.port, execution_id, tenant.viewer))
                runner.work(lambda lease, step: completed(1, logs=logs))
                wait_for(
                    lambda: front.log.count("slow_reader_cut") == known + count, timeout_seconds=60, what="the cuts"
                )
                return execution_id, memory_of(front.process.pid)

        # What the first costs is what the front and its sessions load for any stream.
        _, before = cut(1)
        execution_id, after = cut(50)
        with streaming(Api(front.url).as_key(tenant.viewer), f"/executions/{execution_id}/stream") as stream:
            assert len(list(stream)) == len(stored(tenant.db, execution_id)) > 4000
    # All that was to be sent to them would be fifty times four megabytes.
    assert after - before < 32 << 20


@contextmanager
def deaf(port: int, execution_id: str, key: str) -> Iterator[socket.socket]:
    """A client that asks for a stream and reads nothing of it, with room for little."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        client.sendall(
            f"GET /executions/{execution_id}/stream HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode()
        )
        yield client
