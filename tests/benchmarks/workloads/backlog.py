"""W5: what a claim costs when much is waiting, much has been, or much will be due later."""

from __future__ import annotations

import asyncio

from tests.benchmarks.definitions import CHAIN_LENGTH, chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.hands import hands
from tests.benchmarks.history import add_executions, add_steps
from tests.benchmarks.lab import Site
from tests.benchmarks.parts import Context

WANT = 100
WARM_UP_CLAIMS = 10

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
    with context.site() as small, context.site() as timers, context.site() as large:
        for site in (small, timers, large):
            site.import_workflow(chain())
            site.start_many("chain", scale.backlog_small)
        timers.admin.run(IDLE_TENANTS, scale.idle_tenants)
        timers.admin.run(TIMERS, scale.timers // scale.idle_tenants)
        add_executions(large, scale.backlog_finished // CHAIN_LENGTH, tenants=[large.tenant.tenant_id])
        add_steps(large)
        large.start_many("chain", scale.backlog_ready - scale.backlog_small)
        for site in (small, timers, large):
            site.settle()
        for _ in range(context.rounds):
            for site, key in ((small, "small"), (large, "large"), (timers, "timers")):
                samples = _claims(site, scale.claims)
                context.record(f"w5.{key}.p50", percentile(samples, 0.5))
                context.record(f"w5.{key}.p99", percentile(samples, 0.99))


def _claims(site: Site, count: int) -> list[float]:
    """Milliseconds of claims, made with the runner's own code; what was taken is replaced."""
    samples = asyncio.run(_time_claims(site, count))
    site.start_many("chain", (count + WARM_UP_CLAIMS) * WANT)
    return samples


async def _time_claims(site: Site, count: int) -> list[float]:
    async with hands(site) as runner:
        # The first ones make the connection's plans; a runner keeps its connection for days.
        return [(await runner.claim(WANT))[0] for _ in range(WARM_UP_CLAIMS + count)][WARM_UP_CLAIMS:]
