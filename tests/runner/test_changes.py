"""A real runner starts what changes of a table start, soon after the application's commit, each once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.database import Database, Db
from tests.support.definitions import Author, workflow
from tests.support.runner import Runner, wait_for
from tests.support.tables import Shop, table

SEEN = "select count(*) from flowgres.executions where status = 'completed'"


@pytest.fixture
def shop(database: Database, db: Db) -> Shop:
    shop = Shop(Author(database, db))
    step = {"id": "a", "type": "transform", "config": {"expression": "{{ trigger.payload.new.customer }}"}}
    definition = workflow(step, triggers=[table(input={"id": "$.new.id"})], outputs={"who": "{{ steps.a.output }}"})
    shop.author.import_(definition)
    shop.install()
    return shop


def test_runner_starts_and_runs_what_a_change_starts(shop: Shop, start_runner: Callable[..., Runner]) -> None:
    start_runner()
    shop.add([7])
    wait_for(lambda: shop.db.value(SEEN) == 1)
    assert shop.db.one("select input, output from flowgres.executions") == {"input": {"id": 7}, "output": {"who": "c7"}}


@pytest.mark.slow
@pytest.mark.chaos
def test_runners_that_are_killed_lose_and_double_no_row(shop: Shop, start_runner: Callable[..., Runner]) -> None:
    runners = [start_runner() for _ in range(3)]
    for turn in range(6):
        shop.add(range(turn * 3000, turn * 3000 + 3000))
        runners[turn % 3].kill()
        runners[turn % 3] = start_runner()
    count = "select count(*) as all, count(distinct input ->> 'id') as each from flowgres.executions"
    wait_for(lambda: shop.db.one(count)["all"] >= 18_000, timeout_seconds=60, what="every row")
    wait_for(lambda: shop.db.value("select count(*) from flowgres.table_changes") == 0)
    assert shop.db.one(count) == {"all": 18_000, "each": 18_000}
