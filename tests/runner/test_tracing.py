"""Executions as a collector is told of them, by real runners over OTLP, and what http steps send along."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator

import pytest

from tests.support.collector import Collector, Told, serving
from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, import_workflow, start
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

StartRunner = Callable[..., Runner]
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNTOLD = "select count(*) from flowgres.trace_ends"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with serving() as collector:
        yield collector


@pytest.fixture
def start_traced(start_runner: StartRunner, db: Db, collector: Collector) -> StartRunner:
    """A runner that tells the collector, ready to do so."""

    def start(**environment: str) -> Runner:
        runner = start_runner(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **environment)
        wait_for(lambda: db.value("select count(*) from flowgres.trace_exports"), what="the wish for traces")
        return runner

    return start


def told(collector: Collector, execution_id: str, count: int) -> list[Told]:
    """The spans of an execution, when there are so many."""
    wait_for(lambda: len(collector.of(execution_id)) >= count, timeout_seconds=30, what=f"{count} spans")
    spans = collector.of(execution_id)
    assert len(spans) == count, [span.name for span in spans]
    return spans


def trace_of(execution_id: str) -> str:
    return execution_id.replace("-", "")


def test_execution_is_one_trace_with_its_attempts_below(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    start_traced()
    import_workflow(db, tenant, dag("flow", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    execution_id = start(database, tenant, "flow")
    root, a, b = told(collector, execution_id, 3)
    assert {span.trace for span in (root, a, b)} == {trace_of(execution_id)}
    assert (root.span, root.parent, root.name) == (trace_of(execution_id)[16:], "", "flow")
    assert [(span.parent, span.name) for span in (a, b)] == [(root.span, "a"), (root.span, "b")]
    assert root.began_at <= a.began_at <= a.ended_at <= b.ended_at <= root.ended_at
    assert (root.service, root.is_error) == ("flowgres", False)
    assert root.attributes | {"flowgres.tenant": ""} == {
        "flowgres.tenant": "", "flowgres.workflow": "flow", "flowgres.version": 1, "flowgres.trigger": "api",
        "flowgres.execution.id": execution_id, "flowgres.execution.status": "completed",
    }  # fmt: skip
    assert (a.attributes["flowgres.step.type"], a.attributes["flowgres.step.attempt"]) == ("transform", 1)
    wait_for(lambda: db.value(UNTOLD) == 0)
    assert len(collector.told) == 3
    assert_invariants(db)


async def test_http_step_sends_the_span_that_is_told_of_later(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    start_traced()
    async with Peer() as peer:
        step = {"id": "call", "type": "http", "config": {"url": f"{peer.url}/status/503"}}
        import_workflow(db, tenant, dag("flow", [step | {"retry": {"attempts": 2, "delay": 0.01}}]))
        execution_id = start(database, tenant, "flow")
        root, *attempts = await asyncio.to_thread(told, collector, execution_id, 3)
        sent = [request.headers["traceparent"] for request in peer.requests]
    assert sent == [f"00-{root.trace}-{attempt.span}-01" for attempt in attempts]
    names = [f"{execution_id}/1/0/-1/{number}" for number in (1, 2)]
    assert [attempt.span for attempt in attempts] == [hashlib.sha256(name.encode()).hexdigest()[:16] for name in names]
    assert all(span.is_error for span in (root, *attempts))
    assert attempts[0].attributes["error.type"] == root.attributes["error.type"] == "http_status"
    assert attempts[0].attributes["http.response.status_code"] == 503
