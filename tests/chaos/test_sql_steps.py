"""Sql steps are done once, however often their runner is killed: what was done is counted in the user's own table."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.support.chaos import Crew, chaos_random
from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, import_workflow, start
from tests.support.functions import calling, make_shop, sql_environment
from tests.support.runner import wait_for

KILLS = 60 if os.environ.get("FLOWGRES_LONG_TESTS") else 12
LOSSES = {"attempts": 20}
"""A step that is lost thrice fails otherwise."""
NAP = "shop.nap(step text) returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp as $$"
NAP += " begin insert into shop.effects (step) values (step); perform pg_sleep(random() * 0.05);"
NAP += " return to_jsonb(step); end $$"


def nap(step: str, *, after: list[str], text: str, **members: Any) -> dict[str, Any]:
    args = {"step": f"{{{{ execution.id }}}}/{text}"}
    return calling("shop.nap", step=step, args=args, depends_on=after, retry=LOSSES, **members)


@pytest.fixture
def tenant(database: Database, db: Db) -> Tenant:
    tenant = database.make_tenant()
    make_shop(db, NAP)
    chain = [nap(f"s{n}", after=[f"s{n - 1}"] if n else [], text=f"s{n}") for n in range(3)]
    each = nap("each", after=["s2"], text="{{ item }}", foreach={"items": ["a", "b", "c"], "max_parallel": 2})
    import_workflow(db, tenant, dag("sells", [*chain, each], settings={"timeout": "1h"}))
    return tenant


def begin(database: Database, tenant: Tenant, count: int) -> list[str]:
    return [start(database, tenant, "sells") for _ in range(count)]


def assert_each_done_once(db: Db, ids: list[str]) -> None:
    open_ids = "select count(*) from flowgres.executions where finished_at is null"
    wait_for(lambda: db.value(open_ids) == 0, timeout_seconds=120, what="the end of all")
    done = Counter(db.column("select step from shop.effects"))
    assert done == Counter(f"{one}/{step}" for one in ids for step in ("s0", "s1", "s2", "a", "b", "c"))
    assert set(db.column("select status from flowgres.executions")) == {"completed"}
    assert_invariants(db)


POINTS = ("after_claim", "before_http", "in_call", "after_call", "before_commit:2")


def test_runners_that_die_one_after_the_other_repeat_nothing(
    database: Database, db: Db, tenant: Tenant, crew: Crew
) -> None:
    ids = begin(database, tenant, 3)
    for point in POINTS:
        runner = crew.start(FLOWGRES_FAILPOINT=point, **sql_environment(database))
        wait_for(lambda runner=runner: not runner.process.is_running, what=f"its death at {point}")  # type: ignore[misc]
    crew.start(**sql_environment(database))
    assert_each_done_once(db, ids)


@pytest.fixture
def chance() -> random.Random:
    return chaos_random()


@pytest.mark.slow
def test_runners_that_are_killed_all_the_time_repeat_nothing(
    database: Database, db: Db, tenant: Tenant, crew: Crew, chance: random.Random
) -> None:
    ids: list[str] = []
    for _ in range(KILLS):
        ids += begin(database, tenant, 6)
        runner = crew.start(**sql_environment(database))
        time.sleep(chance.uniform(0.0, 0.5))
        crew.kill(runner)
    crew.start(**sql_environment(database))
    assert_each_done_once(db, ids)
