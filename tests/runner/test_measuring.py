"""A real runner measures what has ended, and tells what it counted itself."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.support.api import Api
from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, dag, import_workflow, start
from tests.support.runner import Runner, wait_for
from tests.support.server import ROLE_PASSWORD

DEAF = "select (stats ->> 'deaf_seconds')::float8 from flowgres.runners where stopped_at is null"
COUNTER = "select coalesce(sum(total), 0) from flowgres.runner_counters() where name = %s"


@contextmanager
def login(database: Database, db: Db) -> Iterator[tuple[str, str]]:
    """A login that may nothing but connect, and its URL."""
    name = f"listening_{secrets.token_hex(4)}"
    db.run(f"create role {name} login password '{ROLE_PASSWORD}'")
    db.run(f"grant connect on database {database.name} to {name}")
    try:
        yield name, database.server.url(database.name, user=name)
    finally:
        db.run(f"drop owned by {name}")
        db.run(f"drop role {name}")


def test_runner_measures_what_it_ran_and_tells_what_it_counted(
    api: Api, database: Database, tenant: Tenant, db: Db, clock: Clock, start_runner: Callable[..., Runner]
) -> None:
    flow = import_workflow(db, tenant, dag("flow", [{"id": "a"}, {"id": "b", "depends_on": ["a"]}]))
    start_runner()
    start(database, tenant, flow)
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'"))
    wait_for(lambda: db.value(COUNTER, "steps_reported") == 2, what="a heartbeat")
    measured = "select sum(total) from flowgres.metric_rollups where measure = 'step' and span_seconds = 60"
    wait_for(lambda: db.value(measured) == 2, timeout_seconds=40, what="the mark")
    figures = api.as_key(tenant.key).rpc("execution_metrics").json()
    assert figures["executions"]["by_status"] == {"completed": 1}
    assert {step["step"]: step["total"] for step in figures["steps"]} == {"a": 1, "b": 1}


def test_runner_that_takes_over_counts_what_it_took(
    database: Database, tenant: Tenant, db: Db, start_runner: Callable[..., Runner]
) -> None:
    start(database, tenant, import_workflow(db, tenant, dag("left", [{"id": "a"}])))
    with database.connect("runner") as service:
        assert len(Hands(service).claim()) == 1
    start_runner()
    wait_for(lambda: db.value(COUNTER, "leases_rescued") == 1, timeout_seconds=60, what="a rescue")
    wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'"))


def test_runner_applies_retentions_and_counts_what_went(
    database: Database, tenant: Tenant, db: Db, clock: Clock, start_runner: Callable[..., Runner]
) -> None:
    flow = import_workflow(db, tenant, dag("flow", [{"id": "a"}], settings={"retention": "2d"}))
    start(database, tenant, flow)
    with database.connect("runner") as service:
        Hands(service).work()
        clock.advance(seconds=3 * 86400)
        for _ in range(50):
            service.call("flowgres.measure_history", p_limit=1000)
    start_runner()
    wait_for(lambda: db.value(COUNTER, "executions_forgotten") == 1, timeout_seconds=60, what="a heartbeat")
    assert db.value("select count(*) from flowgres.executions") == 0


def test_runner_tells_that_it_hears_nothing(
    database: Database, db: Db, tenant: Tenant, start_runner: Callable[..., Runner]
) -> None:
    with login(database, db) as (name, url):
        start_runner(DATABASE_DIRECT_URL=url)
        wait_for(lambda: db.value(DEAF) == 0, what="a heartbeat of a runner that listens")
        db.run(f"alter role {name} nologin")
        db.run("select pg_terminate_backend(pid) from pg_stat_activity where usename = %s", name)
        wait_for(lambda: db.value(DEAF) > 0, what="a heartbeat of a runner that is deaf")
        # It is told of nothing, and finds its work all the same.
        start(database, tenant, import_workflow(db, tenant, dag("unheard", [{"id": "a"}])))
        wait_for(lambda: db.value("select count(*) from flowgres.executions where status = 'completed'"))
        db.run(f"alter role {name} login")
        wait_for(lambda: db.value(DEAF) == 0, timeout_seconds=30, what="a heartbeat of a runner that listens anew")
