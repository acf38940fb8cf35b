"""PostgreSQL that crashes under load and comes back: whoever was answered is served, and nobody has to help."""

from __future__ import annotations

import time

import pytest

from flowgres_cli.stack.postgres import Cluster
from tests.support.chaos import (
    Crew,
    Load,
    Receiver,
    assert_nothing_lost,
    chaos_random,
    import_order,
    tell,
    wait_for_drain,
)
from tests.support.database import Database, Tenant
from tests.support.runner import wait_for
from tests.support.scale import IS_LONG

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

CRASHES = 30 if IS_LONG else 4
PER_CRASH = 15
LONGEST_DOWN_SECONDS = 2.0
ENDED = "select count(*) from flowgres.step_executions where finished_at is not null"


def test_crashes_of_postgres_lose_no_acknowledged_start(
    cluster: Cluster, database: Database, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    chance = chaos_random()
    with database.connect() as db:
        # Long enough to be announced: then starts and ends pile up in the outbox while the database is away.
        workflow = import_order(db, tenant, seconds="0.4")
    runners = [crew.start(), crew.start()]
    count = CRASHES * PER_CRASH
    resumed: list[float] = []
    with Load(database, tenant, workflow, count=count, per_second=8, input={"url": receiver.url}) as load:
        for number in range(CRASHES):
            least = number * PER_CRASH + chance.randrange(PER_CRASH)
            wait_for(lambda: len(load.accepted) > least, timeout_seconds=30, what="more work")  # noqa: B023
            address = cluster.running()
            assert address is not None
            cluster.stop(mode="immediate")
            up_at = time.monotonic() + chance.uniform(0, LONGEST_DOWN_SECONDS)
            wait_for(lambda: time.monotonic() >= up_at)  # noqa: B023 - waited for here
            cluster.start(port=address.port)
            accepting = time.monotonic()
            with database.connect() as db:
                before = db.value(ENDED)
                wait_for(lambda: db.value(ENDED) > before, what="progress")  # noqa: B023 - waited for here
            resumed.append(time.monotonic() - accepting)
        wait_for(lambda: load.is_over, timeout_seconds=60, what="the last start")
    with database.connect() as db:
        wait_for_drain(db, timeout_seconds=40)
        repeats = assert_nothing_lost(db, load.accepted, receiver.keys())
        resumed.sort()
    tell(
        f"{CRASHES} crashes, {count} executions, {load.repeats} starts repeated by the client, {repeats} requests"
        f" repeated; work went on after {resumed[len(resumed) // 2]:.2f} s (median), {resumed[-1]:.2f} s (longest)"
    )
    assert all(runner.process.is_running for runner in runners), "a runner did not survive the database"
    assert resumed[-1] <= 5
