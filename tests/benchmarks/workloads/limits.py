"""W16: what one tenant's backlog means for another one's starts, and what limits cost."""

from __future__ import annotations

import time

import psycopg
from psycopg.rows import dict_row

from tests.benchmarks.definitions import Definition, single
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import READY_SECONDS, Site
from tests.benchmarks.latency import one_at_a_time
from tests.benchmarks.parts import Context
from tests.support.database import Tenant, postgrest_request

PAUSE_SECONDS = 0.01
AT_ONCE = 5


def measure_neighbours(context: Context) -> None:
    """Starts of one tenant until their first step begins: alone, and while another tenant's backlog is worked off."""
    with context.site() as site, site.runners(1):
        neighbour = site.database.make_tenant("Neighbour")
        site.import_workflow(single())
        _import(site, neighbour, single())
        context.record("w16.alone.p95", percentile(_latencies(site, neighbour, context), 0.95))
        site.start_many("single", context.scale.neighbour_ready)
        samples = _latencies(site, neighbour, context)
        left = site.admin.value("select count(*) from flowgres.work_queue where tenant_id = %s", site.tenant.tenant_id)
        if not left:
            raise RuntimeError("the backlog was worked off before the other tenant's starts were")
        context.record("w16.beside.p95", percentile(samples, 0.95))


def measure_limits(context: Context) -> None:
    """One step alone, under a limit and at once; and so many of them under a limit that they wait for each other."""
    with context.site() as site, site.runners(1):
        site.service.call("flowgres_api.set_limit", name="few", capacity=AT_ONCE)
        site.import_workflow(single())
        site.import_workflow({**single(), "name": "keyed", "settings": {"concurrency": {"limit": 2, "key": "$.v"}}})
        steps = [{**step, "limit": "few"} for step in single()["steps"]]
        site.import_workflow({**single(), "name": "limited", "steps": steps})
        for name in ("keyed", "limited"):
            _wait_for(site, site.tenant, name)
        for name, key in (("single", "w16.plain.p50"), ("keyed", "w16.keyed.p50"), ("limited", "w16.limited.p50")):
            context.record(key, percentile(one_at_a_time(site, name, context.scale.idle_executions).seen, 0.5))
        count = context.scale.limited_executions
        context.record("w16.limited", count / site.run("limited", count))


def _latencies(site: Site, tenant: Tenant, context: Context) -> list[float]:
    """Milliseconds between start and first step, by the database's clock."""
    ids = []
    with psycopg.connect(site.database.dsn("authenticator"), row_factory=dict_row) as connection:
        for _ in range(context.scale.neighbour_starts):
            with postgrest_request(connection, "admin", tenant_id=tenant.tenant_id) as db:
                answer = db.call("flowgres_api.start_execution", workflow="single", input={"v": 1})
            ids.append(answer["execution_id"])
            time.sleep(PAUSE_SECONDS)
    array = "{" + ",".join(ids) + "}"
    site.wait_until(
        "not exists (select from flowgres.executions where id = any(%s::text[]::uuid[]) and finished_at is null)",
        array,
        timeout_seconds=READY_SECONDS,
    )
    return site.admin.column(
        "select extract(epoch from started_at - created_at)::float8 * 1000 from flowgres.executions"
        " where id = any(%s::text[]::uuid[])",
        array,
    )


def _import(site: Site, tenant: Tenant, definition: Definition) -> None:
    with site.database.as_role("admin", tenant_id=tenant.tenant_id) as db:
        db.call("flowgres_api.import_workflow", definition=definition)
    _wait_for(site, tenant, definition["name"])


def _wait_for(site: Site, tenant: Tenant, workflow: str) -> None:
    site.wait_until(
        "exists (select from flowgres.workflows as w where w.tenant_id = %s and w.name = %s and w.status = 'active')",
        tenant.tenant_id,
        workflow,
        timeout_seconds=READY_SECONDS,
    )
