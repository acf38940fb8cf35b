"""W8: what a small tenant's list costs beside many executions of others, as PostgREST asks for it."""

from __future__ import annotations

import time

from tests.benchmarks.definitions import chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.history import add_executions
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context
from tests.support.database import Db

FOREIGN_TENANTS = 20
OWN_EXECUTIONS = 20
FAILED_EVERY = 5
LIMIT = 20
WARM_UP_LISTS = 10

# GET /executions?order=created_at.desc&limit=20, with a filter or without, in the words of PostgREST.
LIST = """
  with pgrst_source as (
    select "flowgres_api"."executions".* from "flowgres_api"."executions" {filter}
    order by "flowgres_api"."executions"."created_at" desc limit %s offset %s)
  select null::bigint as total_result_set, pg_catalog.count(_postgrest_t) as page_total,
    coalesce(json_agg(_postgrest_t), '[]') as body,
    nullif(current_setting('response.headers', true), '') as response_headers,
    nullif(current_setting('response.status', true), '') as response_status
  from (select * from pgrst_source) as _postgrest_t
"""


def measure(context: Context) -> None:
    """Few foreign rows and many, each in a database of its own, in turn."""
    scale = context.scale
    with context.site() as few, context.site() as many:
        for site, foreign in ((few, scale.few_foreign), (many, scale.many_foreign)):
            _fill(site, foreign)
        for _ in range(context.rounds):
            for site, key in ((few, "few"), (many, "many")):
                for name, milliseconds in _lists(site, scale.lists).items():
                    context.record(f"w8.{name}.{key}", percentile(milliseconds, 0.5))


def _fill(site: Site, foreign: int) -> None:
    """The tenant's own executions, some of which failed, lie before all those of the others."""
    tenants = [site.database.make_tenant(f"Foreign {number}").tenant_id for number in range(FOREIGN_TENANTS)]
    site.import_workflow(chain())
    for tenant_id in tenants:
        with site.database.as_role("admin", tenant_id=tenant_id) as db:
            db.call("flowgres_api.import_workflow", definition=chain())
    add_executions(site, OWN_EXECUTIONS, tenants=[site.tenant.tenant_id], failed_every=FAILED_EVERY, seconds_ago=60)
    add_executions(site, foreign // FOREIGN_TENANTS, tenants=tenants, failed_every=FAILED_EVERY)
    site.settle()


def _lists(site: Site, count: int) -> dict[str, list[float]]:
    """Milliseconds of each list, by a viewer of the tenant: the query alone, without what PostgREST sets before."""
    workflow_id = str(site.admin.value("select id from flowgres.workflows where tenant_id = %s", site.tenant.tenant_id))
    lists = {
        "recent": (None, OWN_EXECUTIONS),
        "failed": (("status", "failed"), OWN_EXECUTIONS // FAILED_EVERY),
        "name": (("workflow_name", "chain"), OWN_EXECUTIONS),
        "workflow": (("workflow_id", workflow_id), OWN_EXECUTIONS),
    }
    with site.database.as_role("viewer", tenant_id=site.tenant.tenant_id) as db:
        return {name: _time(db, by, rows, count) for name, (by, rows) in lists.items()}


def _time(db: Db, by: tuple[str, str] | None, rows: int, count: int) -> list[float]:
    column, values = ("", []) if by is None else (by[0], [by[1]])
    query = LIST.format(filter=f'where "flowgres_api"."executions"."{column}" = %s' if by else "")
    samples = []
    # The first ones make the connection's plan; PostgREST keeps its connections.
    for number in range(-WARM_UP_LISTS, count):
        began = time.perf_counter()
        answer = db.one(query, *values, LIMIT, 0)
        elapsed = (time.perf_counter() - began) * 1000
        if answer["page_total"] != rows:
            raise RuntimeError(f"a list of {rows} has {answer['page_total']} rows")
        if number >= 0:
            samples.append(elapsed)
    return samples
