"""What is said of why steps do not move is what the claim does, of every row there may be, and it costs little."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start
from tests.support.why import why

Json = Any
MOST = 12
SETTINGS = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

WAITS = st.sampled_from(
    ["start", "retry", "timer", "signal:go/7", "event:paid", "first_of:signal:go, event:paid", "callback:a",
     "worker:mail", "task:one", "limit:api", "concurrency:7", "host:example.org", "something:new", "odd"]
)  # fmt: skip
ROWS = st.fixed_dictionaries(
    {
        "lease": st.sampled_from(["none", "none", "none", "live", "dead"]),
        "due": st.sampled_from(["none", "none", "past", "future", "infinity"]),
        "held": st.sampled_from([None, None, None, None, "nobody", "execution", "workflow"]),
        "line": st.sampled_from(["core", "core", "core", "fax", "sql", "limit:m", "limit:@w:k", "refused:concurrency"]),
        "waits_for": WAITS,
    }
)
RUNNERS = st.fixed_dictionaries(
    {
        "serves": st.sets(st.sampled_from(["fax", "sql"])),
        "told_to_stop": st.sampled_from([False, False, False, True]),
        "given_up": st.sampled_from([False, False, False, True]),
    }
)


@pytest.fixture
def stuck(database: Database, db: Db, tenant: Tenant) -> Db:
    """As many executions of one step as an example makes something of."""
    import_workflow(db, tenant, dag("w", [{"id": "a"}]))
    for _ in range(MOST):
        start(database, tenant, "w")
    return db


@contextmanager
def undone(db: Db) -> Iterator[None]:
    with db.connection.transaction(force_rollback=True):
        yield


def make_runner(db: Db, *, serves: set[str], told_to_stop: bool = False, given_up: bool = False) -> str:
    runner_id = str(uuid.uuid4())
    kinds = [{"type": kind, "config_schema": {}, "secret_places": [], "core": False} for kind in sorted(serves)]
    info = {"name": "r", "version": "0", "protocol": 2, "environment": "development", "step_types": kinds}
    db.call("flowgres.register_runner", p_runner_id=runner_id, p_info=info)
    db.run(
        "update flowgres.runners set drained_at = case when %s then flowgres.now() end,"
        " stopped_at = case when %s then flowgres.now() end where id = %s",
        told_to_stop,
        given_up,
        runner_id,
    )
    return runner_id


def put(db: Db, place: int, row: dict[str, Json], leases: dict[str, str | None]) -> None:
    """Bring the row of an execution into a state, of those that rows have."""
    lease = leases[row["lease"]]
    due = None if lease else {"none": None, "past": "-1 s", "future": "1 h", "infinity": "infinity"}[row["due"]]
    db.run(
        """
        update flowgres.work_queue as q
        set runner_id = %s, claimed_at = case when %s::uuid is not null then flowgres.now() end,
          held = %s::text is not null,
          held_for = case %s when 'execution' then q.execution_id when 'workflow' then q.version_id end,
          capability = %s,
          due_at = case when %s::text = 'infinity' then 'infinity' else flowgres.now() + %s::interval end,
          waits_for = case when %s::text is not null then %s end, resume = '{}'
        where q.id = (select x.id from flowgres.work_queue as x order by x.id limit 1 offset %s)
        """,
        lease, lease, row["held"], row["held"], row["line"], due,
        None if due == "infinity" else due, due, row["waits_for"], place,
    )  # fmt: skip


def pause(db: Db, whole: str | None) -> None:
    """Let the workflow, or the tenant, stand still: as the row of a pause says it, before any claim has come by."""
    if whole:
        db.run(
            "insert into flowgres.pauses (tenant_id, workflow_id, paused_at, due_at)"
            " select tenant_id, case when %s then id else flowgres.system_tenant_id() end, flowgres.now(), 'infinity'"
            " from flowgres.workflows",
            whole == "workflow",
        )


@SETTINGS
@given(rows=st.lists(ROWS, max_size=MOST), runner=RUNNERS, paused=st.sampled_from([None, None, "workflow", "tenant"]))
def test_queued_is_what_a_claim_takes_and_nothing_else(
    stuck: Db, rows: list[dict[str, Json]], runner: Json, paused: str | None
) -> None:
    with undone(stuck):
        pause(stuck, paused)
        mine = make_runner(stuck, **runner)
        dead = make_runner(stuck, serves=set(), given_up=True)
        for place, row in enumerate(rows):
            put(stuck, place, row, {"none": None, "live": mine, "dead": dead})
        told = stuck.all("select execution_id, reason from flowgres_api.execution_why")
        assert len(told) == MOST, "a row for each, and no more"
        assert all(re.fullmatch(r"[a-z_]+", row["reason"]) for row in told)
        # Who is told to stop, or was given up, makes due rows no more than anybody else would, and takes none.
        claimed = stuck.column("select execution_id from flowgres.claim(%s, 100, null)", mine)
        assert {row["execution_id"] for row in told if row["reason"] == "queued"} == set(claimed)


@SETTINGS
@given(rows=st.lists(ROWS, min_size=1, max_size=MOST), held_back=st.booleans())
def test_no_row_is_told_of_without_a_reason_and_a_time(stuck: Db, rows: list[dict[str, Json]], held_back: bool) -> None:
    with undone(stuck):
        mine, dead = make_runner(stuck, serves=set()), make_runner(stuck, serves=set(), given_up=True)
        for place, row in enumerate(rows):
            put(stuck, place, row, {"none": None, "live": mine, "dead": dead})
        if held_back:
            stuck.run("update flowgres.executions set status = 'paused'")
        told = stuck.all("select * from flowgres_api.execution_why")
        assert all(row["reason"] and row["since"] and row["detail"] is not None for row in told)
        unnamed = [row for row in told if row["reason"] == "waits"]
        assert all("waits_for" in row["detail"] for row in unnamed), (
            "what has no word of its own is told in its own words"
        )


def test_every_call_that_is_named_is_one_of_the_api(db: Db) -> None:
    source = "".join(db.column("select prosrc from pg_proc where proname = 'helping_call'"))
    functions = set(db.column("select proname from pg_proc where pronamespace = 'flowgres_api'::regnamespace"))
    named = set(re.findall(r"/rpc/(\w+)", source))
    assert named >= {"send_signal", "emit_event", "decide_approval", "claim_tasks"}
    assert named <= functions


def test_other_tenants_rows_are_not_told_of(stuck: Db, database: Database, tenant: Tenant) -> None:
    other = database.make_tenant("Other")
    execution = stuck.value("select id::text from flowgres.executions limit 1")
    assert why(database, other) == {}
    assert why(database, other, execution) == {}
    assert len(why(database, tenant, execution)) == 1


def test_operator_sees_all_tenants(stuck: Db, database: Database) -> None:
    with database.connect("operator") as operator:
        rows = operator.all("select * from flowgres_api.execution_why")
    assert len(rows) == MOST
    assert all(row["reason"] == "no_runner" for row in rows)


def fill(db: Db, count: int) -> str:
    """As many rows of the queue more; returns the execution of one in the middle."""
    db.run(
        """
        insert into flowgres.work_queue (
          tenant_id, execution_id, version_id, ready_at, step_index, rank, due_at, waits_for)
        select q.tenant_id, flowgres.uuid_v7(flowgres.now()), q.version_id, q.ready_at, q.step_index, q.rank + n,
          case when n %% 2 = 0 then 'infinity'::timestamptz end, case when n %% 2 = 0 then 'signal:go' end
        from (select * from flowgres.work_queue order by id limit 1) as q cross join generate_series(1, %s) as n
        """,
        count,
    )
    db.run("analyze flowgres.work_queue")
    return str(
        db.value("select execution_id from flowgres.work_queue order by execution_id limit 1 offset %s", count // 2)
    )


def pages(database: Database, tenant: Tenant, query: str, *parameters: Any) -> int:
    """The pages that a query of a tenant reads, the second time it is asked."""
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as db:
        db.all(query, *parameters)
        (plan,) = db.value(f"explain (analyze, buffers, format json) {query}", *parameters)
    return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])


@pytest.mark.parametrize(
    ("query", "most"),
    [
        ("select * from flowgres_api.execution_why where execution_id = %s", 600),
        ("select * from flowgres_api.execution_why where execution_id = %s and reason = 'queued'", 600),
    ],
)
def test_asking_of_one_execution_reads_no_others(
    query: str, most: int, stuck: Db, database: Database, tenant: Tenant
) -> None:
    make_runner(stuck, serves=set())
    execution = fill(stuck, 100_000)
    assert pages(database, tenant, query, execution) < most


def test_first_page_of_all_reads_no_more_than_a_page(stuck: Db, database: Database, tenant: Tenant) -> None:
    make_runner(stuck, serves=set())
    fill(stuck, 100_000)
    for where in ("", "where reason = 'waits_for_signal'", "where reason = 'queued'"):
        assert pages(database, tenant, f"select * from flowgres_api.execution_why {where} limit 20") < 10_000, where


def test_line_is_counted_no_further_than_a_thousand(stuck: Db, database: Database, tenant: Tenant) -> None:
    make_runner(stuck, serves=set())
    fill(stuck, 10_000)
    last = stuck.value("select execution_id from flowgres.work_queue where due_at is null order by rank desc limit 1")
    (row,) = why(database, tenant, str(last)).values()
    assert (row["detail"]["before"], row["detail"]["is_more"]) == (1000, True)
    assert json.dumps(row["detail"])
