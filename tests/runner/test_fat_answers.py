"""One tenant has large answers, inputs or results: what the runner takes for it, and what another tenant notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.chaos import Receiver
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start
from tests.support.memory import MemoryWatch, memory_of
from tests.support.runner import Runner, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.alone]

MAX_GROWTH_BYTES = 64 << 20
"""As GUARANTEES has it: hostile peers cost no more."""
MAX_RATIO = 5
"""Of another tenant's latency to a quiet run; what the processes on a machine of two cores take from each other."""
MIN_NOTICEABLE_SECONDS = 1.0
"""On a machine that is busy with other tests, too. With one loop for all it was half a minute."""
_NEIGHBOURS = 40


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Receiver]:
    with Receiver(tmp_path) as receiver:
        yield receiver


def fetches(url: str, **step: Any) -> dict[str, Any]:
    return dag("fetch", [{"id": "get", "type": "http", "config": {"url": url}, **step}])


def start_many(database: Database, tenant: Tenant, count: int) -> None:
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.call("flowgres_api.start_executions", workflow="fetch", inputs=[{"n": n} for n in range(count)])


def start_large(database: Database, tenant: Tenant, workflow: str) -> None:
    """100 executions with inputs that take little room in the database, and all they have elsewhere."""
    with database.as_role("member", tenant_id=tenant.tenant_id) as member:
        member.run(
            "select flowgres_api.start_execution(workflow => %s, input => given)"
            " from jsonb_build_object('text', repeat('x', 900000)) as given, generate_series(1, 100)",
            workflow,
        )


def unfinished(db: Db, tenant: Tenant) -> int:
    sql = "select count(*) from flowgres.executions where tenant_id = %s and finished_at is null"
    return int(db.value(sql, tenant.tenant_id))


def latencies(database: Database, db: Db, tenant: Tenant, *, until: Callable[[], bool]) -> list[float]:
    """Seconds from start to end of one-step executions that are started one after the other, sorted."""
    count = 0
    while count < _NEIGHBOURS or not until():
        start(database, tenant, "small", input={"n": count})
        count += 1
    wait_for(lambda: unfinished(db, tenant) == 0, timeout_seconds=60)
    rows = db.all(
        "select extract(epoch from finished_at - created_at)::float8 as seconds from flowgres.executions"
        " where tenant_id = %s order by 1",
        tenant.tenant_id,
    )
    db.run("delete from flowgres.executions where tenant_id = %s", tenant.tenant_id)
    return [row["seconds"] for row in rows]


def assert_little_growth(watch: MemoryWatch, before: int) -> None:
    print(f"grown by {watch.peak - before >> 20} MiB to {[part >> 20 for part in watch.parts]}")
    assert watch.peak - before <= MAX_GROWTH_BYTES, [part >> 20 for part in watch.parts]


def assert_little_delay(quiet: list[float], noisy: list[float]) -> None:
    """By the 95th in a hundred; both are sorted."""
    quiet_seconds, seconds = quiet[len(quiet) * 95 // 100], noisy[len(noisy) * 95 // 100]
    print(f"p95 {seconds:.3f} s, quiet {quiet_seconds:.3f} s; p99 {noisy[len(noisy) * 99 // 100]:.3f} s")
    assert seconds <= max(MAX_RATIO * quiet_seconds, MIN_NOTICEABLE_SECONDS)


@pytest.mark.parametrize(("shape", "count"), [("records", 10), ("texts", 10)])
def test_fat_answers_take_little_memory_and_delay_nobody_else(
    database: Database, db: Db, peer: Receiver, start_runner: Callable[..., Runner], shape: str, count: int
) -> None:
    greedy, other = database.make_tenant("Greedy"), database.make_tenant("Other")
    output = {"count": "{{ response.body | length }}", "status": "{{ response.status }}"}
    import_workflow(db, other, dag("small", [{"id": "a", "config": {"output": {"n": "{{ input.n }}"}}}]))
    runner = start_runner(HTTP_STEP_TIMEOUT="300")
    pid = runner.process.pid
    # Quiet is a runner that has made a request, too: it has loaded what requests need.
    import_workflow(db, greedy, fetches(f"{peer.url}/fat?mb=0.01", output=output))
    start_many(database, greedy, 1)
    wait_for(lambda: unfinished(db, greedy) == 0)
    quiet = latencies(database, db, other, until=lambda: True)
    import_workflow(db, greedy, fetches(f"{peer.url}/fat?mb=5&shape={shape}", output=output))
    before = memory_of(pid)
    with MemoryWatch(pid) as watch:
        start_many(database, greedy, count)
        noisy = latencies(database, db, other, until=lambda: unfinished(db, greedy) == 0)
    ends = db.all(
        "select status, output from flowgres.step_executions where tenant_id = %s and (output ->> 'count')::int > 1000",
        greedy.tenant_id,
    )
    assert [end["status"] for end in ends] == ["completed"] * count
    assert_little_growth(watch, before)
    assert_little_delay(quiet, noisy)


def test_large_inputs_take_little_memory_and_delay_nobody_else(
    database: Database, db: Db, start_runner: Callable[..., Runner]
) -> None:
    greedy, other = database.make_tenant("Greedy"), database.make_tenant("Other")
    import_workflow(db, other, dag("small", [{"id": "a", "config": {"output": {"n": "{{ input.n }}"}}}]))
    steps = [{"id": f"s{n}", "config": {"output": {"n": "{{ input.text | length }}"}}} for n in range(3)]
    import_workflow(db, greedy, dag("large", steps))
    runner = start_runner()
    pid = runner.process.pid
    quiet = latencies(database, db, other, until=lambda: True)
    before = memory_of(pid)
    with MemoryWatch(pid) as watch:
        start_large(database, greedy, "large")
        noisy = latencies(database, db, other, until=lambda: unfinished(db, greedy) == 0)
    counts = "select output ->> 'n' as n, count(*) from flowgres.step_executions where tenant_id = %s group by 1"
    assert db.all(counts, greedy.tenant_id) == [{"n": "900000", "count": 300}]
    assert_little_growth(watch, before)
    assert_little_delay(quiet, noisy)


RUNS = 150
RESULTS: dict[str, list[dict[str, Any]]] = {
    "edits": [
        {
            "id": "s0",
            "config": {
                "source": {"rows": "{{ [[]] * 25000 }}"},
                "transforms": [{"op": "rename", "from": "rows", "to": "all"}],
            },
        }
    ],
    "texts": [
        {"id": f"s{n}", "depends_on": [f"s{n - 1}"] if n else [], "config": {"expression": "{{ 'x' * 120000 }}"}}
        for n in range(3)
    ],
    "just small enough": [
        {"id": f"s{n}", "depends_on": [f"s{n - 1}"] if n else [], "config": {"expression": "{{ 'x' * 60000 }}"}}
        for n in range(3)
    ],
}


@pytest.mark.parametrize("kind", RESULTS)
def test_large_results_take_little_memory_and_delay_nobody_else(
    database: Database, db: Db, start_runner: Callable[..., Runner], kind: str
) -> None:
    greedy, other = database.make_tenant("Greedy"), database.make_tenant("Other")
    import_workflow(db, other, dag("small", [{"id": "a", "config": {"output": {"n": "{{ input.n }}"}}}]))
    import_workflow(db, greedy, dag("fetch", RESULTS[kind]))
    runner = start_runner()
    pid = runner.process.pid
    # Quiet is a runner that has done it: it has the processes that this needs.
    start_many(database, greedy, 1)
    wait_for(lambda: unfinished(db, greedy) == 0)
    quiet = latencies(database, db, other, until=lambda: True)
    before = memory_of(pid)
    with MemoryWatch(pid) as watch:
        start_many(database, greedy, RUNS)
        noisy = latencies(database, db, other, until=lambda: unfinished(db, greedy) == 0)
    done = "select count(*) from flowgres.step_executions where tenant_id = %s and status = 'completed'"
    assert db.value(done, greedy.tenant_id) == (RUNS + 1) * len(RESULTS[kind])
    assert_little_growth(watch, before)
    assert_little_delay(quiet, noisy)


def test_large_inputs_of_steps_that_wait_are_not_kept(
    database: Database, db: Db, peer: Receiver, start_runner: Callable[..., Runner]
) -> None:
    tenant = database.make_tenant("Patient")
    output = {"n": "{{ input.text | length }}"}
    import_workflow(db, tenant, fetches(f"{peer.url}/delay?seconds=5", output=output))
    runner = start_runner()
    pid = runner.process.pid
    before = memory_of(pid)
    with MemoryWatch(pid) as watch:
        start_large(database, tenant, "fetch")
        wait_for(lambda: unfinished(db, tenant) == 0, timeout_seconds=120)
    counts = "select output ->> 'n' as n, count(*) from flowgres.step_executions where tenant_id = %s group by 1"
    assert db.all(counts, tenant.tenant_id) == [{"n": "900000", "count": 100}]
    assert_little_growth(watch, before)
