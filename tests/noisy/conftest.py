"""Two tenants on one runner with default settings: one is loud, and the other one's latency is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.support.chaos import percentile, tell
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, import_workflow, start
from tests.support.runner import Runner, wait_for

QUIET_COUNT = 25
LOUD_COUNT = 40
FLOOR_SECONDS = 1.0
"""Below that nothing is said: the machines that run this are busy with more than this."""
RATIO = 6


class Neighbour:
    """A tenant with a workflow of one step, started again and again."""

    def __init__(self, database: Database, db: Db) -> None:
        self.database = database
        self.db = db
        self.tenant = database.make_tenant("Quiet")
        step = {"id": "a", "config": {"expression": "{{ input.n + 1 }}"}}
        self.workflow = import_workflow(db, self.tenant, dag("quiet", [step]))

    def seconds(self, count: int) -> list[float]:
        """How long each of so many executions took, one started some time after the other has ended."""
        took: list[float] = []
        for n in range(count):
            execution_id = start(self.database, self.tenant, self.workflow, input={"n": n})
            took.append(self._finish(execution_id))
            time.sleep(0.03)
        return sorted(took)

    def _finish(self, execution_id: str) -> float:
        query = (
            "select finished_at - created_at as took from flowgres.executions where id = %s and finished_at is not null"
        )
        wait_for(lambda: self.db.all(query, execution_id), timeout_seconds=120, what="the neighbour's step")
        took: timedelta = self.db.value(query, execution_id)
        return took.total_seconds()


class Neighbourhood:
    """The quiet tenant, the loud one, and their runner."""

    def __init__(self, database: Database, db: Db, runner: Callable[..., Runner]) -> None:
        self.database = database
        self.db = db
        self.loud = database.make_tenant("Loud")
        self.neighbour = Neighbour(database, db)
        self.runner = runner(SHUTDOWN_GRACE_SECONDS="1")
        self.neighbour.seconds(3)
        self._quiet = self.neighbour.seconds(QUIET_COUNT)

    def start_many(self, workflow: str, count: int, *, tenant: Tenant | None = None, size: int = 1) -> None:
        """Start a workflow of the loud tenant so many times, in one transaction."""
        tenant = tenant or self.loud
        with self.database.as_role("member", tenant_id=tenant.tenant_id) as member:
            member.all(
                "select flowgres_api.start_execution(workflow => %s, input => jsonb_build_object("
                "'n', n, 'text', repeat('x', %s))) from generate_series(1, %s) as n",
                workflow,
                size,
                count,
            )

    def open_count(self) -> int:
        """How many executions of the loud tenant have not ended."""
        query = "select count(*) from flowgres.executions where tenant_id = %s and finished_at is null"
        return int(self.db.value(query, self.loud.tenant_id))

    def assert_undisturbed(self, *, count: int = LOUD_COUNT, while_busy: bool = True) -> None:
        """The neighbour's executions take about as long as when it was quiet, while the loud tenant keeps on."""
        loud = self.neighbour.seconds(count)
        open_count = self.open_count()
        for name, took in (("quiet", self._quiet), ("loud", loud)):
            tell(f"{name}: median {percentile(took, 0.5) * 1000:.0f} ms, p99 {percentile(took, 0.99) * 1000:.0f} ms")
        tell(f"{open_count} executions of the loud tenant were open")
        assert not while_busy or open_count, "the loud tenant was done before the neighbour was"
        assert percentile(loud, 0.99) <= max(FLOOR_SECONDS, RATIO * percentile(self._quiet, 0.99))


@pytest.fixture
def neighbourhood(database: Database, db: Db, start_runner: Callable[..., Runner]) -> Neighbourhood:
    """Ready, and measured while it was quiet."""
    return Neighbourhood(database, db, start_runner)
