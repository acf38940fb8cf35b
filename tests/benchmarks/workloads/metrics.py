"""W14: the figures of a day of many executions, and what it costs to keep them."""

from __future__ import annotations

import time
from typing import Any

from tests.benchmarks.definitions import chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context
from tests.support.database import Clock

LOOKS = 20
MEASURE_LIMIT = 2000
FAILED_EVERY = 10
_DAY = """
  insert into flowgres.executions (
    tenant_id, id, workflow_id, version_id, version, status, step_count, resolved_count, completed_count, event_seq,
    timeout_seconds, created_at, started_at, finished_at, input, output, error)
  select v.tenant_id, flowgres.uuid_v7(t.at), v.workflow_id, v.id, v.version,
    case when g %% %(failed_every)s = 0 then 'failed' else 'completed' end, v.step_count, v.step_count, v.step_count,
    14, v.timeout_seconds, t.at, t.at + random() * interval '0.1 s', t.at + (0.1 + random()) * interval '1 s',
    '{"v": 1}', '{"s6": {"v": 7}}', case when g %% %(failed_every)s = 0 then '{"code": "lost", "step": "s6"}'::jsonb end
  from flowgres.workflow_versions as v
  cross join generate_series(1, %(count)s::integer) as g
  cross join lateral (
    select flowgres.now() - interval '1 day' * (1 - g / %(count)s::float8) - interval '1 minute' as at) as t
"""
_STEPS = """
  insert into flowgres.step_executions (
    tenant_id, execution_id, step_index, attempts, step, type, status, edge, ready_at, started_at, finished_at, output,
    error)
  select e.tenant_id, e.id, w.index, 1, w.id, w.type, f.status, 'taken', e.started_at, e.started_at,
    e.started_at + random() * interval '0.2 s', '{"v": 1}', case f.status when 'failed' then jsonb_build_object(
      'code', 'lost', 'class', 'internal',
      'message', format('order %%s of "%%s" is lost', (random() * 1e6)::integer, e.id)) end
  from flowgres.executions as e
  join flowgres.workflow_steps as w on w.tenant_id = e.tenant_id and w.version_id = e.version_id
  cross join lateral (
    select case when e.status = 'failed' and w.id = 's6' then 'failed' else 'completed' end as status) as f
"""
# What a start notes.
_STARTERS = """
  insert into flowgres.metric_starters (tenant_id, from_at, until_at)
  select t.tenant_id, '-infinity', flowgres.now() from flowgres.tenants as t
"""


def measure(context: Context) -> None:
    """Milliseconds of a day and of its error groups, as a viewer; microseconds to measure an execution."""
    count = context.scale.measured
    with context.site() as site:
        site.import_workflow(chain())
        site.admin.run(_DAY, count=count, failed_every=FAILED_EVERY)
        site.admin.run(_STEPS)
        site.admin.run(_STARTERS)
        site.settle()
        Clock(site.admin).advance(seconds=60)
        context.record("w14.measure", _measure_all(site) / count * 1e6)
        site.settle()
        for _ in range(context.rounds):
            with site.database.as_role("viewer", tenant_id=site.tenant.tenant_id) as viewer:
                figures = (
                    "select flowgres_api.execution_metrics(since => flowgres.now() - interval '25 hours 31 seconds')"
                    " -> 'executions' ->> 'total' as total"
                )
                context.record("w14.metrics", _times(viewer, figures, str(count)))
                groups = "select sum(count)::text as total from flowgres_api.error_groups"
                context.record("w14.errors", _times(viewer, groups, str(count // FAILED_EVERY)))


def _measure_all(site: Site) -> float:
    began = time.perf_counter()
    with site.database.connect("runner") as runner:
        # The first call notes the time, and nothing else.
        runner.call("flowgres.measure_history", p_limit=MEASURE_LIMIT)
        while runner.call("flowgres.measure_history", p_limit=MEASURE_LIMIT):
            pass
    return time.perf_counter() - began


def _times(viewer: Any, query: str, total: str) -> float:
    samples = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        found = viewer.one(query)["total"]
        samples.append((time.perf_counter() - began) * 1000)
        if found != total:
            raise RuntimeError(f"the figures tell of {found}, and not of {total}")
    return percentile(samples, 0.5)
