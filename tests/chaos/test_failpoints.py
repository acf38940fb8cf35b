"""Runners that die at named points of their own work."""

from __future__ import annotations

import pytest

from tests.support.chaos import Crew, Load, Receiver, assert_nothing_lost, import_order, tell, wait_for_drain
from tests.support.database import Database, Db, Tenant
from tests.support.runner import wait_for

pytestmark = [pytest.mark.chaos, pytest.mark.slow]

PASSAGES = (1, 3, 8)
KILLED = 137


@pytest.mark.parametrize("point", ["after_claim", "before_http", "after_http", "before_commit", "after_commit"])
def test_runners_that_die_at_a_named_point_lose_and_double_nothing(
    database: Database, db: Db, tenant: Tenant, crew: Crew, receiver: Receiver, point: str
) -> None:
    workflow = import_order(db, tenant, seconds="0.02")
    with Load(database, tenant, workflow, count=25, per_second=25, input={"url": receiver.url}) as load:
        for passage in PASSAGES:
            victim = crew.start(FLOWGRES_FAILPOINT=f"{point}:{passage}")
            wait_for(lambda: victim.process.return_code is not None, what="the death")  # noqa: B023 - waited for here
            assert victim.process.return_code == KILLED
        crew.start()
        wait_for(lambda: load.is_over, what="the last start")
    wait_for_drain(db, timeout_seconds=30)
    repeats = assert_nothing_lost(db, load.accepted, receiver.keys())
    tell(f"{point}: {len(PASSAGES)} deaths, {len(load.accepted)} executions, {repeats} requests repeated")
    if point == "after_http":
        # What each victim died over had reached the receiver, and was sent again under the same key.
        assert repeats >= len(PASSAGES)
