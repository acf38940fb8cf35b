"""W8: what a small tenant's list costs beside many executions of others, as PostgREST asks for it."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.benchmarks.definitions import chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.history import add_executions
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context

FOREIGN_TENANTS = 10
OWN_EXECUTIONS = 20
FAILED_EVERY = 5
LIMIT = 20
WARM_UP_LISTS = 10
# By what each list is filtered, and how many rows it has.
LISTS = {
    "recent": ("", OWN_EXECUTIONS),
    "failed": ("status", OWN_EXECUTIONS // FAILED_EVERY),
    "name": ("workflow_name", OWN_EXECUTIONS),
    "workflow": ("workflow_id", OWN_EXECUTIONS),
}

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
    """Few foreign rows and many, each in a database of its own; asked in turn, so that both see the same noise."""
    scale = context.scale
    with context.site() as few, context.site() as many:
        _fill(few, scale.few_foreign)
        _fill(many, scale.many_foreign)
        for _ in range(context.rounds):
            for name, (column, rows) in LISTS.items():
                samples = _times({"few": few, "many": many}, column, rows, scale.lists)
                for key, milliseconds in samples.items():
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


def _times(sites: dict[str, Site], column: str, rows: int, count: int) -> dict[str, list[float]]:
    """Milliseconds of one list in each site, by a viewer of its tenant: the query alone, not what is set before it."""
    query = LIST.format(filter=f'where "flowgres_api"."executions"."{column}" = %s' if column else "")
    samples: dict[str, list[float]] = {key: [] for key in sites}
    with ExitStack() as stack:
        viewers = {
            key: stack.enter_context(site.database.as_role("viewer", tenant_id=site.tenant.tenant_id))
            for key, site in sites.items()
        }
        values = {key: _values(site, column) for key, site in sites.items()}
        # The first ones make the connection's plan; PostgREST keeps its connections.
        for number in range(-WARM_UP_LISTS, count):
            for key, viewer in viewers.items():
                began = time.perf_counter()
                answer = viewer.one(query, *values[key], LIMIT, 0)
                elapsed = (time.perf_counter() - began) * 1000
                if answer["page_total"] != rows:
                    raise RuntimeError(f"a list of {rows} has {answer['page_total']} rows")
                if number >= 0:
                    samples[key].append(elapsed)
    return samples


def _values(site: Site, column: str) -> list[str]:
    """What a list is filtered by."""
    if column == "workflow_id":
        return site.admin.column("select id::text from flowgres.workflows where tenant_id = %s", site.tenant.tenant_id)
    return {"": [], "status": ["failed"], "workflow_name": [chain()["name"]]}[column]
