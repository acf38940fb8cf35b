"""PostgreSQL that is away for longer than a lease: whoever ran then still runs, and nobody is held to have died."""

from __future__ import annotations

import time
from typing import Any

import pytest

from flowgres_cli.stack.postgres import Cluster
from tests.support.chaos import Crew, Receiver, call, set_lease, tell, wait_for_drain
from tests.support.database import Database, Tenant
from tests.support.engine import import_workflow, start
from tests.support.runner import wait_for
from tests.support.scale import IS_LONG

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

LEASE_SECONDS, HEARTBEAT_SECONDS, AWAY_SECONDS = (10, 2, 20) if IS_LONG else (5, 1, 7)
SHORT_STEP, LONG_STEP = ("12", "60") if IS_LONG else ("4", "10")
"""One ends while the database is away, one after it has come back."""
TIMES = 2
EACH = 5


def test_steps_outlive_a_database_that_is_away_for_longer_than_a_lease(
    cluster: Cluster, database: Database, tenant: Tenant, crew: Crew, receiver: Receiver
) -> None:
    def http(step_id: str, seconds: str) -> dict[str, Any]:
        return {**call(step_id, seconds=seconds), "retry": {"attempts": 1}, "timeout": 120}

    nap = {"id": "nap", "type": "delay", "config": {"seconds": int(LONG_STEP) - 1}}
    steps = [http("short", SHORT_STEP), http("long", LONG_STEP), nap, call("next", "short", "long", "nap")]
    with database.connect() as db:
        set_lease(db, lease_seconds=LEASE_SECONDS, heartbeat_seconds=HEARTBEAT_SECONDS)
        workflow = import_workflow(db, tenant, {"name": "slow", "steps": steps})
    runners = [crew.start(), crew.start()]
    for number in range(TIMES):
        for n in range(EACH):
            start(database, tenant, workflow, input={"url": receiver.url, "n": n})
        held = (number + 1) * EACH * 2 + number * EACH
        wait_for(lambda: receiver.keys().total() == held, what="their requests")  # noqa: B023 - waited for here
        address = cluster.running()
        assert address is not None
        cluster.stop(mode="immediate")
        up_at = time.monotonic() + AWAY_SECONDS
        wait_for(lambda: time.monotonic() >= up_at, timeout_seconds=AWAY_SECONDS + 5)  # noqa: B023 - waited for here
        cluster.start(port=address.port)
        with database.connect() as db:
            wait_for_drain(db, timeout_seconds=int(LONG_STEP) + 15)
    with database.connect() as db:
        assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
        assert db.column("select distinct status from flowgres.executions") == ["completed"]
        assert db.column("select distinct attempts from flowgres.step_executions where type = 'http'") == [1]
        assert db.all("select * from flowgres.events where type = 'step_lost'") == []
        # Both under the ids that they began with.
        assert db.column("select stopped_at from flowgres.runners") == [None, None]
    received = receiver.keys()
    tell(f"{TIMES} times {AWAY_SECONDS} s away, lease {LEASE_SECONDS} s: {received.total()} requests, none repeated")
    assert set(received.values()) == {1}
    assert all(runner.process.is_running for runner in runners)
