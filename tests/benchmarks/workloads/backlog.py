"""W5: what a claim costs when much is waiting, much has been, or much will be due later."""

from __future__ import annotations

import asyncio
import time
import uuid

from flowgres_runner import queries
from flowgres_runner.connection import Link
from flowgres_runner.runner import PROTOCOL
from tests.benchmarks.definitions import CHAIN_LENGTH, chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import MAX_BULK, Site
from tests.benchmarks.parts import Context

WANT = 100
SMALL_BACKLOG = 10_000
WARM_UP_CLAIMS = 10

# History as the engine writes it, but set by set: a million executions one after the other would take an hour.
FINISHED_EXECUTIONS = """
  insert into flowgres.executions (
    tenant_id, id, workflow_id, version_id, version, status, step_count, resolved_count, completed_count, event_seq,
    timeout_seconds, created_at, started_at, finished_at, input, output)
  select v.tenant_id, flowgres.uuid_v7(flowgres.now()), v.workflow_id, v.id, v.version, 'completed', v.step_count,
    v.step_count, v.step_count, 14, v.timeout_seconds, now(), now(), now(), '{"v": 1}', '{"s6": {"v": 7}}'
  from flowgres.workflow_versions as v, generate_series(1, %s::integer)
"""
FINISHED_STEPS = """
  insert into flowgres.step_executions (
    tenant_id, execution_id, step_index, attempts, step, type, status, edge, ready_at, started_at, finished_at, output)
  select e.tenant_id, e.id, w.index, 1, w.id, w.type, 'completed', 'taken', now(), now(), now(), '{"v": 1}'
  from flowgres.executions as e
  join flowgres.workflow_steps as w on w.tenant_id = e.tenant_id and w.version_id = e.version_id
  where e.status = 'completed'
"""
IDLE_TENANTS = """
  insert into flowgres.tenants (tenant_id, slug, name)
  select gen_random_uuid(), 'idle-' || g, 'Idle' from generate_series(1, %s::integer) as g
"""
# A timer each: an execution whose first step is scheduled for some day of the coming month.
TIMERS = """
  with started as (
    insert into flowgres.executions (
      tenant_id, id, workflow_id, version_id, version, step_count, timeout_seconds, created_at, scheduled_at, input)
    select t.tenant_id, flowgres.uuid_v7(flowgres.now()), v.workflow_id, v.id, v.version, v.step_count,
      v.timeout_seconds, now(), now() + interval '1 hour' + random() * interval '30 days', '{"v": 1}'
    from flowgres.tenants as t, flowgres.workflow_versions as v, generate_series(1, %s::integer)
    where t.slug like 'idle-%%'
    returning tenant_id, id, version_id, scheduled_at
  )
  insert into flowgres.work_queue (
    tenant_id, execution_id, version_id, due_at, ready_at, step_index, priority, is_new, capability)
  select s.tenant_id, s.id, s.version_id, s.scheduled_at, s.scheduled_at, 0, 5, true, 'core' from started as s
"""


def measure(context: Context) -> None:
    """The three backlogs, each in a database of its own, in turn: a small one, a large one, timers."""
    scale = context.scale
    with context.lab.site() as small, context.lab.site() as timers, context.lab.site() as large:
        for site in (small, timers, large):
            site.import_workflow(chain())
            site.start_many("chain", SMALL_BACKLOG)
        timers.admin.run(IDLE_TENANTS, scale.idle_tenants)
        timers.admin.run(TIMERS, scale.timers // scale.idle_tenants)
        large.admin.run(FINISHED_EXECUTIONS, scale.backlog_finished // CHAIN_LENGTH)
        large.admin.run(FINISHED_STEPS)
        for _ in range(SMALL_BACKLOG, scale.backlog_ready, MAX_BULK):
            large.start_many("chain", MAX_BULK)
        for site in (small, timers, large):
            site.settle()
        for _ in range(context.rounds):
            for site, key in ((small, "small"), (large, "large"), (timers, "timers")):
                samples = _claims(site, scale.claims)
                context.record(f"w5.{key}.p50", percentile(samples, 0.5))
                context.record(f"w5.{key}.p99", percentile(samples, 0.99))


def _claims(site: Site, count: int) -> list[float]:
    """Milliseconds of claims, made with the runner's own code; what was taken is replaced."""
    samples = asyncio.run(_time_claims(site.database.url("runner"), count))
    site.start_many("chain", (count + WARM_UP_CLAIMS) * WANT)
    return samples


async def _time_claims(url: str, count: int) -> list[float]:
    samples = []
    runner_id = str(uuid.uuid4())
    link = Link(url, application_name="flowgres-bench")
    try:
        info = {"name": "bench", "version": "0", "protocol": PROTOCOL, "environment": "development"}
        await queries.register_runner(link, runner_id=runner_id, info=info)
        # The first ones make the connection's plans; a runner keeps its connection for days.
        for number in range(-WARM_UP_CLAIMS, count):
            began = time.perf_counter()
            rows = await queries.claim(link, runner_id=runner_id, want=WANT, after_tenant_id=None)
            elapsed = (time.perf_counter() - began) * 1000
            if len(rows) != WANT:
                raise RuntimeError(f"a claim of {WANT} got {len(rows)}")
            if number >= 0:
                samples.append(elapsed)
    finally:
        await link.close()
    return samples
