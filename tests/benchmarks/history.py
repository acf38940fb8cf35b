"""History as the engine writes it, but set by set: a million executions one after the other would take an hour."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from tests.benchmarks.lab import Site

_EXECUTIONS = """
  insert into flowgres.executions (
    tenant_id, id, workflow_id, version_id, version, status, step_count, resolved_count, completed_count, event_seq,
    timeout_seconds, created_at, started_at, finished_at, input, output)
  select v.tenant_id, flowgres.uuid_v7(t.at), v.workflow_id, v.id, v.version,
    case when g %% %(failed_every)s::integer = 0 then 'failed' else 'completed' end, v.step_count,
    v.step_count, v.step_count, 14, v.timeout_seconds, t.at, t.at, t.at, '{"v": 1}', '{"s6": {"v": 7}}'
  from flowgres.workflow_versions as v
  cross join generate_series(1, %(count)s::integer) as g
  cross join lateral (
    select flowgres.now() - make_interval(secs => %(seconds_ago)s) + g * interval '10 microseconds' as at) as t
  where v.tenant_id = any(%(tenants)s::uuid[])
"""
_STEPS = """
  insert into flowgres.step_executions (
    tenant_id, execution_id, step_index, attempts, step, type, status, edge, ready_at, started_at, finished_at, output)
  select e.tenant_id, e.id, w.index, 1, w.id, w.type, 'completed', 'taken', now(), now(), now(), '{"v": 1}'
  from flowgres.executions as e
  join flowgres.workflow_steps as w on w.tenant_id = e.tenant_id and w.version_id = e.version_id
  where e.status = 'completed'
"""
_NEVER = 2_000_000_000
_BOUNDS = """
  select p.oid::regclass::text as parent, c.oid::regclass::text as name, pg_get_expr(c.relpartbound, c.oid) as bounds
  from pg_catalog.pg_class as p
  join pg_catalog.pg_partitioned_table as t on t.partrelid = p.oid and t.partstrat = 'r'
  join pg_catalog.pg_inherits as i on i.inhparent = p.oid
  join pg_catalog.pg_class as c on c.oid = i.inhrelid
  where p.relnamespace = 'flowgres'::regnamespace
"""
_SPAN = 7 * 86_400_000 << 80
"""Seven days in the time of a UUID v7, whose first 48 bits are milliseconds."""


def add_executions(
    site: Site, count: int, *, tenants: Sequence[str], failed_every: int = _NEVER, seconds_ago: float = 0
) -> None:
    """Write ended executions, `count` for each of the tenants' workflow versions, close to each other in time."""
    site.admin.run(
        _EXECUTIONS,
        count=count,
        tenants="{" + ",".join(tenants) + "}",
        failed_every=failed_every,
        seconds_ago=seconds_ago,
    )


def add_steps(site: Site) -> None:
    """Write the steps of all completed executions."""
    site.admin.run(_STEPS)


def set_periods(site: Site, count: int) -> None:
    """Give each table of history that many partitions, besides the one by default: add later ones, or drop the latest.

    No runner may be at work in the database: the engine has not been told.
    """
    upper_bounds: dict[str, dict[uuid.UUID, str]] = {}
    for row in site.admin.all(_BOUNDS):
        found = re.search(r" TO \('([0-9a-f-]{36})'\)", row["bounds"])
        if found:
            upper_bounds.setdefault(row["parent"], {})[uuid.UUID(found[1])] = row["name"]
    if "flowgres.executions" not in upper_bounds:
        raise RuntimeError("executions have no partitions by ranges of ids")
    for parent, partitions in upper_bounds.items():
        for bound in sorted(partitions)[count:]:
            site.admin.run(f"drop table {partitions[bound]}")
        bound = max(partitions)
        for number in range(len(partitions), count):
            later = uuid.UUID(int=bound.int + _SPAN)
            site.admin.run(
                f"create table {parent}_bench_{number} partition of {parent} for values from ('{bound}') to ('{later}')"
            )
            bound = later
