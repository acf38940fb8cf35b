"""Failures that are alike are one group, whoever they happened to."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Decide, Hands, completed, dag, failed, import_workflow, start
from tests.support.metrics import measure, measure_all

WORDS = st.sampled_from(["order", "was", "not", "found", "at", "failed", "timeout", "added", "dead", "facade"])
KINDS = (
    st.integers(0, 10**18).map(str),
    st.uuids().map(str),
    st.binary(min_size=8, max_size=32).map(lambda value: "0" + value.hex()),
    st.datetimes(datetime(2000, 1, 1)).map(lambda at: at.isoformat(timespec="milliseconds") + "Z"),
    st.text("abc 019", max_size=20).map(lambda text: f'"{text}"'),
    st.text("abc 019", max_size=20).map(lambda text: f"'{text}'"),
)


@st.composite
def _pairs(draw: st.DrawFn) -> tuple[str, str]:
    """Two messages of the same words, in whose other places stand two ids of the same kind."""
    one, other = [], []
    for _ in range(draw(st.integers(1, 8))):
        word = draw(WORDS)
        one.append(word)
        other.append(word)
        if draw(st.booleans()):
            kind = draw(st.sampled_from(KINDS))
            one.append(draw(kind))
            other.append(draw(kind))
    return " ".join(one), " ".join(other)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pair=_pairs())
def test_messages_that_differ_in_ids_alone_are_one(db: Db, pair: tuple[str, str]) -> None:
    normal = "select flowgres.normalise_message(%s)"
    one, other = (db.value(normal, message) for message in pair)
    assert one == other
    assert db.value(normal, one) == one


@pytest.mark.parametrize(
    ("message", "normal"),
    [
        ("order 17 of 3.50 EUR", "order <n> of <n> EUR"),
        ("at 2026-11-27T03:00:00.5Z and 2026-11-27", "at <time> and <time>"),
        (f"execution {uuid.UUID(int=7)} is gone", "execution <n> is gone"),
        ("commit deadbeef1 and 0xff; a facade, defaced", "commit <n> and <n>; a facade, defaced"),
        ("cannot read 'a b' of \"c\"", "cannot read <text> of <text>"),
        ("don't", "don't"),
        ("HTTP 503 from https://a.example/7", "HTTP <n> from https://a.example/<n>"),
        ("", ""),
        ("\u00e4" * 2000, "\u00e4" * 300),
    ],
)
def test_what_a_message_becomes(db: Db, message: str, normal: str) -> None:
    assert db.value("select flowgres.normalise_message(%s)", message) == normal


@pytest.mark.parametrize("piece", ["'", '"', "0", "a", "0x", "2026-", "12345678-1234-", "aaaaaaa", "1,", "`a"])
def test_no_message_takes_long(db: Db, piece: str) -> None:
    db.run("set statement_timeout to '1s'")
    for _ in range(20):
        db.value("select length(flowgres.normalise_message(repeat(%s, 1000000)))", piece)


def _fail_as(number: int) -> Decide:
    """Step a always fails, and b in the last execution."""

    def decide(lease: Any, step: str) -> dict[str, Any]:
        has_failed = step == "a" or number == 3
        return failed(code="lost", message=f"{step} {number} is lost") if has_failed else completed(1)

    return decide


def _groups(database: Database, tenant: Tenant) -> dict[tuple[Any, ...], Any]:
    with database.as_role("viewer", tenant_id=tenant.tenant_id) as viewer:
        rows = viewer.all("select * from flowgres_api.error_groups")
    assert {row["tenant_id"] for row in rows} <= {rows[0]["tenant_id"]} if rows else True
    return {(row["workflow_name"], row["step"], row["code"], row["message"]): row for row in rows}


def test_groups_are_the_same_before_and_after_they_are_measured(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    steps = [{"id": "a", "on_error": "continue", "retry": 1}, {"id": "b", "depends_on": ["a"], "retry": 1}]
    flow = import_workflow(db, tenant, dag("flow", steps))
    ids = []
    for number in range(4):
        ids.append(start(database, tenant, flow))
        runner.work(_fail_as(number))
        clock.advance(seconds=3700)
    before = _groups(database, tenant)
    assert {key: row["count"] for key, row in before.items()} == {
        ("flow", "a", "lost", "a <n> is lost"): 4,
        ("flow", "b", "lost", "b <n> is lost"): 1,
    }
    group = before["flow", "a", "lost", "a <n> is lost"]
    assert str(group["sample_execution_id"]) == ids[-1]
    assert (group["last_at"] - group["first_at"]).total_seconds() == pytest.approx(3 * 3700, abs=60)
    measure_all(database, clock)
    assert db.value("select sum(count) from flowgres.error_rollups") == 5
    assert _groups(database, tenant) == before
    assert _groups(database, database.make_tenant("Other")) == {}


def test_step_that_failed_in_an_execution_that_goes_on_is_in_its_group(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    steps: list[dict[str, Any]] = [{"id": "a", "on_error": "continue", "retry": 1}, {"id": "b", "depends_on": ["a"]}]
    start(database, tenant, import_workflow(db, tenant, dag("open", steps)))
    (lease,) = runner.claim()
    (next_lease,) = runner.report([runner.result(lease, failed(code="lost", message="x"))])
    for _ in range(2):
        assert [row["count"] for row in _groups(database, tenant).values()] == [1]
        measure_all(database, clock)
    runner.beat(next_lease)
    runner.report([runner.result(next_lease, completed(1))])
    clock.advance(seconds=7200)
    measure(database)
    assert db.value("select count(*) from flowgres.metric_open") == 0
    assert [row["count"] for row in _groups(database, tenant).values()] == [1]


def test_execution_whose_time_is_over_is_a_group_without_a_step(
    database: Database, db: Db, clock: Clock, tenant: Tenant, runner: Hands
) -> None:
    steps: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]
    start(database, tenant, import_workflow(db, tenant, dag("slow", steps, settings={"timeout": "5s"})))
    runner.report([runner.result(lease, completed(1)) for lease in runner.claim()])
    clock.advance(seconds=60)
    runner.db.call("flowgres.expire_executions", p_limit=10)
    assert set(_groups(database, tenant)) == {
        ("slow", None, "execution_timeout", "the execution was active for more than <n> s")
    }
