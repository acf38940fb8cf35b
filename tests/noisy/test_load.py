"""Calls that hang, and large definitions."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.noisy.conftest import Neighbourhood
from tests.support.engine import dag, import_workflow
from tests.support.peers import blackhole
from tests.support.runner import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.alone]


def test_calls_that_hang(neighbourhood: Neighbourhood) -> None:
    with blackhole() as port:
        step = {"id": "a", "type": "http", "config": {"url": f"http://127.0.0.1:{port}/"}, "timeout": 60}
        name = import_workflow(neighbourhood.db, neighbourhood.loud, dag("hang", [step]))
        neighbourhood.start_many(name, 300)
        held = "select count(*) from flowgres.work_queue where tenant_id = %s and runner_id is not null"
        wait_for(lambda: neighbourhood.db.value(held, neighbourhood.loud.tenant_id) >= 100, what="every slot is taken")

        neighbourhood.assert_undisturbed()
        neighbourhood.runner.kill()


@pytest.mark.parametrize(("length", "count"), [(1, 30_000), (6, 10_000)], ids=["single steps", "chains"])
def test_floods_of_quick_steps(neighbourhood: Neighbourhood, length: int, count: int) -> None:
    steps = [
        {"id": f"s{n}", "depends_on": [f"s{n - 1}"] if n else [], "config": {"expression": "{{ input.n }}"}}
        for n in range(length)
    ]
    name = import_workflow(neighbourhood.db, neighbourhood.loud, dag("flood", steps))
    neighbourhood.start_many(name, count)

    # Some seconds, and no more: it is quick.
    neighbourhood.assert_undisturbed(count=10, while_busy=False)


def test_large_definitions_that_come_in_by_sql(neighbourhood: Neighbourhood) -> None:
    expression = " ~ ".join(["(input.x | default([1]) | map('string') | join(','))"] * 60)
    steps = [{"id": f"s{i}", "config": {"expression": f"{{{{ {expression} }}}}"}} for i in range(50)]
    is_over = threading.Event()

    def bring_in() -> int:
        count = 0
        with neighbourhood.database.connect() as db:
            while not is_over.is_set():
                db.call(
                    "flowgres.import_definition",
                    p_tenant_id=neighbourhood.loud.tenant_id,
                    p_definition=dag(f"large{count}", steps),
                    p_activate=True,
                )
                count += 1
        return count

    with ThreadPoolExecutor(1) as pool:
        bringing = pool.submit(bring_in)
        try:
            neighbourhood.assert_undisturbed(while_busy=False)
        finally:
            is_over.set()
        assert bringing.result() > 1
