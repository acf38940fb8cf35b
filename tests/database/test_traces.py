"""Where executions stand in a trace, and which ends are kept for whoever tells of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from flowgres_runner.trace_context import attempt_context
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import assert_invariants, completed, dag, failed, hands, import_workflow, start

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"
TRIGGER = "select trigger from flowgres.executions where id = %s"
ENDS = "select count(*) from flowgres.trace_ends"
TAKE = "select * from flowgres.take_ends(p_limit => %s, p_lease_seconds => 60)"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        # The examples of W3C Trace Context, and what its test suite sends.
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ),
        (
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ),
        (f"00-{TRACE}-{SPAN}-03", GIVEN),
        (f"00-{TRACE}-{SPAN}-fe", GIVEN[:-1] + "0"),
        (f"cc-{TRACE}-{SPAN}-01", GIVEN),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like", GIVEN),
        (f"cc-{TRACE}-{SPAN}-01.what-the-future-will-be-like", None),
        (f"00-{TRACE}-{SPAN}-01-what-the-future-will-be-like", None),
        (f"00-{TRACE}-{SPAN}-01-", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}-0x", None),
        (f"0-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE[1:]}-{SPAN}-01", None),
        (f"00-{TRACE}0-{SPAN}-01", None),
        (f" {GIVEN}", None),
        (f"{GIVEN}\n", None),
        (f"{GIVEN},{GIVEN}", None),
        ("ää", None),
        ("", None),
    ],
)
def test_traceparent_is_read_as_the_standard_says(db: Db, text: str, read: str | None) -> None:
    assert db.value("select flowgres.read_traceparent(%s)", text) == read


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("vendor=a,other=b:1", True),
        ("a=" + "x" * 510, True),
        ("a=" + "x" * 511, False),
        ("nothing", False),
        ("a=\n", False),
    ],
)
def test_tracestate_is_passed_on_where_it_is_one(db: Db, text: str, is_one: bool) -> None:
    assert db.value("select flowgres.read_tracestate(%s)", text) == (text if is_one else None)


@pytest.fixture
def flow(db: Db, tenant: Tenant) -> str:
    return import_workflow(db, tenant, dag("flow", [{"id": "a"}]))


def started(database: Database, tenant: Tenant, **settings: str) -> Any:
    """The trigger of a start in a transaction with these settings."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
        for name, value in settings.items():
            caller.run("select set_config(%s, %s, true)", name.replace("__", "."), value)
        answer = caller.value("select flowgres_api.start_execution('flow')")
        return caller.value("select trigger from flowgres_api.executions where id = %s", answer["execution_id"])


def test_start_stores_the_trace_that_it_is_in_and_else_nothing(database: Database, tenant: Tenant, flow: str) -> None:
    assert started(database, tenant) is None
    assert started(database, tenant, flowgres__traceparent=GIVEN) == {"type": "api", "traceparent": GIVEN}
    both = started(database, tenant, flowgres__traceparent=GIVEN, flowgres__tracestate="v=1")
    assert both == {"type": "api", "traceparent": GIVEN, "tracestate": "v=1"}
    headers = json.dumps({"traceparent": GIVEN, "tracestate": "v=2"})
    assert started(database, tenant, request__headers=headers)["tracestate"] == "v=2"
    for nonsense in ("00-zz", "", GIVEN.upper()):
        assert started(database, tenant, flowgres__traceparent=nonsense) is None


def test_python_and_sql_make_the_same_ids(db: Db) -> None:
    execution_id = "01890000-0000-7000-8000-00000000abcd"
    for place in ((1, 0, -1, 1), (2, 7, 12, 3)):
        generation, step_index, iteration, attempt = place
        for trigger in (None, {"traceparent": GIVEN}, {"traceparent": GIVEN[:-1] + "0", "tracestate": "v=1"}):
            context = attempt_context(
                execution_id=execution_id, generation=generation, step_index=step_index, iteration=iteration,
                attempt=attempt, trigger=trigger,
            )  # fmt: skip
            span = db.value("select flowgres.attempt_span(%s, %s, %s, %s, %s)", execution_id, *place)
            below = db.value("select flowgres.trace_below(%s, %s::jsonb, %s)", execution_id, json.dumps(trigger), span)
            assert context.headers == below


def run(database: Database) -> None:
    with hands(database) as hand:
        hand.work(lambda lease, step: completed(step))


def test_child_goes_on_below_the_attempt_that_started_it(database: Database, tenant: Tenant, db: Db) -> None:
    import_workflow(db, tenant, dag("child", [{"id": "c"}]))
    step = {"id": "call", "type": "sub_workflow", "config": {"workflow": "child"}}
    import_workflow(db, tenant, dag("flow", [step]))
    for settings in ({}, {"flowgres__traceparent": GIVEN}):
        started(database, tenant, **settings)
        with hands(database) as hand:
            (lease,) = hand.claim()
            hand.report([hand.result(lease, {"o": "child", "workflow": "child", "input": {}})])
            child = db.one(
                "select * from flowgres.executions where trigger_type = 'sub_workflow' order by id desc limit 1"
            )
            span = db.value("select flowgres.attempt_span(%s, 1, 0, -1, 1)", lease["execution_id"])
            trace = TRACE if settings else str(lease["execution_id"]).replace("-", "")
            assert child["trigger"] == {"type": "sub_workflow", "traceparent": f"00-{trace}-{span}-01"}
        run(database)
    assert_invariants(db)


def listen(db: Db) -> list[dict[str, Any]]:
    """Be who tells; what there is to be told."""
    return db.all(TAKE, 100)


def test_ends_are_kept_only_while_somebody_tells(
    database: Database, tenant: Tenant, db: Db, clock: Clock, flow: str
) -> None:
    start(database, tenant, flow)
    run(database)
    assert db.value(ENDS) == 0
    assert listen(db) == []
    kept = start(database, tenant, flow)
    run(database)
    assert [str(row["execution_id"]) for row in listen(db)] == [kept]
    clock.advance(seconds=3601)
    start(database, tenant, flow)
    run(database)
    assert db.value(ENDS) == 1
    db.value("select flowgres.prune(100)")
    assert (db.value(ENDS), db.value("select count(*) from flowgres.trace_exports")) == (0, 0)


@pytest.mark.parametrize("how", ["cancel", "expire", "fail", "queued"])
def test_every_way_to_end_is_kept(
    database: Database, tenant: Tenant, db: Db, clock: Clock, flow: str, how: str
) -> None:
    listen(db)
    execution_id = start(database, tenant, flow)
    with hands(database) as hand:
        if how != "queued":
            (lease,) = hand.claim()
        if how == "fail":
            error = {"code": "broken", "message": "secret text", "class": "permanent"}
            hand.report([hand.result(lease, {"o": "failed", "error": error})])
        elif how == "expire":
            hand.report([hand.result(lease, {"o": "started"})])
            clock.advance(seconds=301)
            db.value("select flowgres.expire_executions(100)")
        else:
            with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
                caller.value("select flowgres_api.cancel_execution(%s)", execution_id)
    (end,) = listen(db)
    assert str(end["execution_id"]) == execution_id
    spans = db.all(
        "select * from flowgres.get_spans(array[%s]::uuid[], array[%s]::uuid[], 10)", tenant.tenant_id, execution_id
    )
    assert [span["kind"] for span in spans] == (["execution"] if how == "queued" else ["execution", "transform"])
    assert spans[0]["status"] == ("failed" if how in ("fail", "expire") else "cancelled")
    assert "secret text" not in str(spans)


@pytest.mark.parametrize("delay", [None, "30 s", "1 h"])
def test_execution_begins_when_it_might_have(
    database: Database, tenant: Tenant, db: Db, clock: Clock, flow: str, delay: str | None
) -> None:
    """Not with its first step; one that was cancelled before its time has no duration."""
    at = None if delay is None else db.value("select flowgres.now() + %s::interval", delay)
    execution_id = start(database, tenant, flow, scheduled_at=at)
    clock.advance(seconds=60)
    if delay == "1 h":
        with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
            caller.value("select flowgres_api.cancel_execution(%s)", execution_id)
    else:
        run(database)
    span, *_ = db.all(
        "select * from flowgres.get_spans(array[%s]::uuid[], array[%s]::uuid[], 10)", tenant.tenant_id, execution_id
    )
    names = ("created", "scheduled", "finished")
    moments = ", ".join(f"flowgres.epoch_microseconds({name}_at) as {name}" for name in names)
    row = db.one(f"select {moments} from flowgres.executions where id = %s", execution_id)
    began = {None: row["created"], "30 s": row["scheduled"], "1 h": row["finished"]}[delay]
    assert (span["began_at"], span["ended_at"]) == (began, row["finished"])


def test_what_is_taken_is_anothers_once_its_time_is_over(
    database: Database, tenant: Tenant, db: Db, clock: Clock, flow: str
) -> None:
    listen(db)
    ids = {start(database, tenant, flow) for _ in range(3)}
    run(database)
    first, second = db.all(TAKE, 2), db.all(TAKE, 2)
    assert (len(first), len(second)) == (2, 1)
    assert {str(row["execution_id"]) for row in (*first, *second)} == ids
    assert db.all(TAKE, 2) == []
    clock.advance(seconds=61)
    assert len(db.all(TAKE, 10)) == 3
    forgotten = db.value(
        "select flowgres.forget_ends(array[%s]::uuid[], array[%s]::uuid[])", tenant.tenant_id, first[0]["execution_id"]
    )
    assert (forgotten, db.value(ENDS)) == (1, 2)


def test_two_who_take_at_once_take_others(database: Database, tenant: Tenant, db: Db, flow: str) -> None:
    listen(db)
    for _ in range(4):
        start(database, tenant, flow)
    run(database)
    with database.connect("runner") as one, database.connect("runner") as other:
        with one.connection.transaction():
            mine = one.all(TAKE, 2)
            theirs = other.all(TAKE, 10)
        assert len({row["execution_id"] for row in (*mine, *theirs)}) == len(mine) + len(theirs) == 4
        # Whoever ends something waits for none of them.
        with other.connection.transaction():
            db.run("update flowgres.trace_ends set taken_until = null")
            assert len(other.all(TAKE, 10)) == 4
            with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
                caller.run("set local lock_timeout = '2s'")
                execution_id = caller.value("select flowgres_api.start_execution('flow')")["execution_id"]
                caller.value("select flowgres_api.cancel_execution(%s)", execution_id)
    assert db.value(ENDS) == 5


def test_execution_that_retention_took_is_forgotten(database: Database, tenant: Tenant, db: Db, flow: str) -> None:
    listen(db)
    execution_id = start(database, tenant, flow)
    run(database)
    for table, key in (("step_executions", "execution_id"), ("executions", "id")):
        db.run(f"delete from flowgres.{table} where {key} = %s", execution_id)
    (end,) = listen(db)
    assert (str(end["execution_id"]), end["trace_id"]) == (execution_id, None)


def test_spans_are_bounded_and_say_how_many_are_left_out(database: Database, tenant: Tenant, db: Db) -> None:
    step = {"id": "each", "foreach": {"items": "{{ input.items }}"}, "config": {"expression": "{{ item }}"}}
    import_workflow(db, tenant, dag("flow", [step]))
    listen(db)
    execution_id = start(database, tenant, "flow", input={"items": [1, 2, 3]})
    with hands(database) as hand:
        (lease,) = hand.claim()
        items = hand.report([hand.result(lease, {"o": "expand", "out": [1, 2, 3]})], want=10)
        hand.report([hand.result(item, completed(1)) for item in items])
        hand.work()
    spans = "select * from flowgres.get_spans(array[%s]::uuid[], array[%s]::uuid[], %s)"
    root, *attempts = db.all(spans, tenant.tenant_id, execution_id, 100)
    assert len(attempts) == 4
    (whole,) = [span for span in attempts if span["name"] == "each"]
    assert {span["parent_span"] for span in attempts if span is not whole} == {whole["span"]}
    assert whole["parent_span"] == root["span"]
    root, *some = db.all(spans, tenant.tenant_id, execution_id, 3)
    assert (len(some), root["attributes"]["flowgres.attempts_left_out"]) == (3, 1)


@pytest.mark.parametrize("told", ["before", "under way", "not yet"])
def test_each_end_of_one_that_is_retried_is_told(
    database: Database, tenant: Tenant, db: Db, flow: str, told: str
) -> None:
    listen(db)
    execution_id = start(database, tenant, flow)
    forget = "select flowgres.forget_ends(array[%s]::uuid[], array[%s]::uuid[])"
    with hands(database) as hand:
        hand.work(lambda lease, step: failed())
        if told != "not yet":
            assert len(listen(db)) == 1
        if told == "before":
            assert db.value(forget, tenant.tenant_id, execution_id) == 1
        with database.as_role("member", tenant_id=tenant.tenant_id) as caller:
            caller.value("select flowgres_api.retry_execution(%s)", execution_id)
        hand.work(lambda lease, step: completed(step))
    if told == "under way":
        # Who tells of the first end forgets that one.
        assert db.value(forget, tenant.tenant_id, execution_id) == 1
    (end,) = listen(db)
    assert str(end["execution_id"]) == execution_id
    spans = db.all(
        "select * from flowgres.get_spans(array[%s]::uuid[], array[%s]::uuid[], 10)", tenant.tenant_id, execution_id
    )
    assert (spans[0]["kind"], spans[0]["status"]) == ("execution", "completed")
    assert "failed" in {span["status"] for span in spans[1:]}
    assert len({span["span"] for span in spans}) == len(spans)
    db.value(forget, tenant.tenant_id, execution_id)
    assert db.value(ENDS) == 0
