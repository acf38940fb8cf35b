"""Executions as a collector is told of them, by real runners over OTLP, and what http steps send along."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Iterator

import pytest

from tests.support.collector import Collector, Told, serving
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, import_workflow, start
from tests.support.notifications import Notifications
from tests.support.peers import Peer
from tests.support.runner import Runner, wait_for

StartRunner = Callable[..., Runner]
GIVEN = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
INTERNAL, SERVER, CLIENT = 1, 2, 3
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


def test_trace_of_a_caller_goes_on_through_children_and_out(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    """Two runners; whichever has a step, its span is below the same parent."""
    for _ in range(2):
        start_traced()
    with asyncio.Runner() as loop:
        loop.run(_child_that_calls_out(database, tenant, db, collector))


async def _child_that_calls_out(database: Database, tenant: Tenant, db: Db, collector: Collector) -> None:
    async with Peer() as peer:
        import_workflow(
            db, tenant, dag("child", [{"id": "call", "type": "http", "config": {"url": f"{peer.url}/echo"}}])
        )
        import_workflow(
            db, tenant, dag("flow", [{"id": "sub", "type": "sub_workflow", "config": {"workflow": "child"}}])
        )
        with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
            caller.run("select set_config('flowgres.traceparent', %s, true)", GIVEN)
            caller.run("select set_config('flowgres.tracestate', 'vendor=x', true)")
            execution_id = str(caller.value("select flowgres_api.start_execution('flow')")["execution_id"])
        root, sub = await asyncio.to_thread(told, collector, execution_id, 2)
        child_id = str(db.value("select id from flowgres.executions where parent_execution_id = %s", execution_id))
        child, call = await asyncio.to_thread(told, collector, child_id, 2)
        (request,) = peer.requests
    assert {span.trace for span in (root, sub, child, call)} == {GIVEN.split("-")[1]}
    assert (root.parent, sub.parent, child.parent, call.parent) == (
        GIVEN.split("-")[2],
        root.span,
        sub.span,
        child.span,
    )
    assert request.headers["traceparent"] == f"00-{call.trace}-{call.span}-01"
    assert request.headers["tracestate"] == "vendor=x"
    assert (root.kind, child.kind, call.kind) == (SERVER, INTERNAL, CLIENT)
    assert sub.began_at <= child.began_at <= child.ended_at <= sub.ended_at


def test_iterations_rounds_and_branches_have_their_places(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    start_traced()
    each = {"id": "each", "foreach": {"items": "{{ [1, 2] }}"}, "config": {"expression": "{{ item }}"}}
    again = {"id": "again", "repeat": {"until": "{{ round == 3 }}"}, "config": {"expression": "{{ round }}"}}
    never = {"id": "never", "when": "{{ false }}", "config": {"expression": "{{ 1 }}"}}
    pause = {"id": "pause", "type": "delay", "config": {"seconds": 0.01}}
    import_workflow(db, tenant, dag("flow", [each, again, never, pause]))
    root, *spans = told(collector, start(database, tenant, "flow"), 8)
    below = {name: [span for span in spans if span.attributes["flowgres.step"] == name] for name in ("each", "again")}
    (whole,) = [span for span in below["each"] if span.parent == root.span]
    assert [span.parent for span in below["each"] if span is not whole] == [whole.span] * 2
    assert [span.attributes["flowgres.step.round"] for span in below["again"]] == [1, 2, 3]
    assert {span.parent for span in below["again"]} == {root.span}
    assert [span.name for span in spans if span.name in ("pause", "never")] == ["pause"]


def test_trace_that_is_not_sampled_is_passed_on_and_not_told_of(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    start_traced()
    import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
    with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
        caller.run("select set_config('flowgres.traceparent', %s, true)", GIVEN[:-1] + "0")
        quiet = str(caller.value("select flowgres_api.start_execution('flow')")["execution_id"])
    told(collector, start(database, tenant, "flow"), 2)
    wait_for(lambda: db.value(UNTOLD) == 0)
    assert collector.of(quiet) == []


def test_traces_of_our_own_are_sampled_as_the_variables_say(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    start_traced(OTEL_TRACES_SAMPLER="parentbased_traceidratio", OTEL_TRACES_SAMPLER_ARG="0", OTEL_SERVICE_NAME="shop")
    import_workflow(db, tenant, dag("child", [{"id": "a"}]))
    import_workflow(db, tenant, dag("flow", [{"id": "sub", "type": "sub_workflow", "config": {"workflow": "child"}}]))
    start(database, tenant, "flow")
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'") == 2)
    with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
        caller.run("select set_config('flowgres.traceparent', %s, true)", GIVEN)
        execution_id = str(caller.value("select flowgres_api.start_execution('child')")["execution_id"])
    told(collector, execution_id, 2)
    wait_for(lambda: db.value(UNTOLD) == 0)
    assert {span.execution_id for span in collector.told} == {execution_id}
    assert {span.service for span in collector.told} == {"shop"}


@pytest.mark.chaos
def test_runner_that_is_killed_while_it_tells_leaves_nothing_untold(
    database: Database, tenant: Tenant, db: Db, clock: Clock, collector: Collector, start_traced: StartRunner
) -> None:
    first = start_traced()
    import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
    collector.gate.clear()
    before = start(database, tenant, "flow")
    wait_for(lambda: collector.requests, what="a request that nobody answers")
    first.kill()
    # It had been heard, but nobody knows.
    collector.gate.set()
    told(collector, before, 2)
    assert db.value(UNTOLD) == 1
    start_traced()
    after = start(database, tenant, "flow")
    told(collector, after, 2)
    clock.advance(seconds=100)
    wait_for(lambda: db.value(UNTOLD) == 0, timeout_seconds=30)
    assert len([span for span in collector.told if span.execution_id == before]) == 4
    assert len(told(collector, before, 2)) == 2


def test_collector_that_is_away_delays_no_step_and_is_told_once_it_is_back(
    database: Database, tenant: Tenant, db: Db, clock: Clock, collector: Collector, start_traced: StartRunner
) -> None:
    collector.status = 400
    runner = start_traced()
    import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
    ids = [start(database, tenant, "flow") for _ in range(20)]
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'") == 20)
    wait_for(lambda: "traces_postponed" in runner.log, what="a line in the log")
    assert db.value(UNTOLD) == 20
    collector.status = 200
    clock.advance(seconds=100)
    for execution_id in ids:
        told(collector, execution_id, 2)
    wait_for(lambda: db.value(UNTOLD) == 0)
    assert runner.log.count("traces_postponed") == 1


def test_collector_that_does_not_answer_delays_no_step(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    collector.gate.clear()
    start_traced()
    import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
    start(database, tenant, "flow")
    wait_for(lambda: collector.requests)
    for _ in range(20):
        start(database, tenant, "flow")
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'") == 21)
    # One request is under way, whatever else has ended; all else waits in the database.
    assert (collector.requests, db.value(UNTOLD)) == (1, 21)


def test_runner_that_tells_nobody_asks_for_nothing(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_runner: StartRunner
) -> None:
    start_runner(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SDK_DISABLED="true")
    import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
    start(database, tenant, "flow")
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'"))
    assert (db.value(UNTOLD), db.value("select count(*) from flowgres.trace_exports")) == (0, 0)


def test_large_execution_is_told_of_in_pieces(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    start_traced()
    step = {"id": "each", "foreach": {"items": "{{ input.items }}"}, "config": {"expression": "{{ item }}"}}
    import_workflow(db, tenant, dag("flow", [step]))
    execution_id = start(database, tenant, "flow", input={"items": list(range(2500))})
    wait_for(lambda: len(collector.told) == 2502, timeout_seconds=60, what="all of it")
    wait_for(lambda: db.value(UNTOLD) == 0)
    assert len(collector.of(execution_id)) == 2502
    assert collector.requests == 2


async def test_delivery_sends_the_span_of_what_it_tells_of_and_has_none(
    notifications: Notifications,
    database: Database,
    tenant: Tenant,
    db: Db,
    collector: Collector,
    start_traced: StartRunner,
) -> None:
    start_traced()
    async with Peer() as peer:
        notifications.set(url=f"{peer.url}/echo")
        import_workflow(db, tenant, dag("flow", [{"id": "a"}]))
        execution_id = start(database, tenant, "flow")
        root, _ = await asyncio.to_thread(told, collector, execution_id, 2)
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the delivery")
        assert peer.requests[0].headers["traceparent"] == f"00-{root.trace}-{root.span}-01"
        delivered = (
            "select count(*) from flowgres.executions where trigger_type = 'notification' and status = 'completed'"
        )
        await asyncio.to_thread(wait_for, lambda: db.value(delivered) == 1, what="its end")
    await asyncio.to_thread(wait_for, lambda: db.value(UNTOLD) == 0)
    assert {span.execution_id for span in collector.told} == {execution_id}


async def test_log_lines_name_the_span(
    database: Database, tenant: Tenant, db: Db, collector: Collector, start_traced: StartRunner
) -> None:
    runner = start_traced()
    async with Peer() as peer:
        step = {"id": "call", "type": "http", "config": {"url": f"{peer.url}/hang"}}
        import_workflow(db, tenant, dag("flow", [step]))
        execution_id = start(database, tenant, "flow")
        await asyncio.to_thread(wait_for, lambda: peer.requests, what="the request")
        with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
            caller.value("select flowgres_api.cancel_execution(%s)", execution_id)
        await asyncio.to_thread(wait_for, lambda: "result_discarded" in runner.log, what="the line")
    root, call = await asyncio.to_thread(told, collector, execution_id, 2)
    (line,) = [json.loads(text) for text in runner.log.splitlines() if "result_discarded" in text]
    assert (line["trace_id"], line["span_id"]) == (call.trace, call.span)
    assert (root.attributes["flowgres.execution.status"], call.attributes["flowgres.step.status"]) == (
        "cancelled", "cancelled",
    )  # fmt: skip
