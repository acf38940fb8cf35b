"""Measured history, and the same figures counted by hand."""

from __future__ import annotations

from typing import Any

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.runner import wait_for

MARGIN_SECONDS = 11
"""The mark stays ten seconds behind."""

_PARTS = """
select p.measure, w.name as workflow, p.step, p.type, p.status,
  sum(p.total)::bigint as total, sum(p.retried)::bigint as retried,
  round(sum(p.seconds)::numeric, 6) as seconds,
  (select coalesce(jsonb_object_agg(h.place, h.count), '{}') from (
    select h.place, sum(h.count) as count
    from unnest(array_agg(p.places::text), array_agg(p.counts::text)) as t (places, counts)
    cross join lateral unnest(t.places::smallint[], t.counts::bigint[]) as h (place, count)
    group by h.place) as h) as places
from flowgres.metric_parts(
  p_tenant_id => %(tenant)s, p_since => %(since)s, p_until => %(until)s, p_workflow_id => null) as p
join flowgres.workflows as w on w.id = p.workflow_id
group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
"""
_BY_HAND = """
select s.measure, w.name as workflow, s.step, s.type, s.status,
  sum(s.total)::bigint as total, sum(s.retried)::bigint as retried,
  round(sum(s.seconds)::numeric, 6) as seconds,
  coalesce(jsonb_object_agg(s.place, s.total) filter (where s.place is not null), '{}') as places
from (
  select s.workflow_id, s.measure, s.step, s.type, s.status, flowgres.duration_place(s.seconds) as place,
    count(*) as total, sum(s.retried) as retried, coalesce(sum(s.seconds), 0) as seconds
  from flowgres.metric_samples(
    p_tenant_id => %(tenant)s,
    p_from => flowgres.uuid_v7_floor(%(since)s), p_to => flowgres.uuid_v7_floor(%(until)s)) as s
  group by 1, 2, 3, 4, 5, 6
) as s
join flowgres.workflows as w on w.id = s.workflow_id
group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
"""


def measure(database: Database, *, limit: int = 1000) -> int:
    """Measure what may be measured now, in as many calls as it takes; returns how many executions were looked at."""
    looked_at = 0
    with database.connect("runner") as runner, database.connect() as db:
        asked_at = db.value("select flowgres.now()")

        def is_measured() -> bool:
            nonlocal looked_at
            looked_at += runner.call("flowgres.measure_history", p_limit=limit)
            return bool(
                db.value("select measured_until >= %s - interval '10.001 s' from flowgres.metric_marks", asked_at)
            )

        wait_for(is_measured, what="the mark")
    return looked_at


def measure_all(database: Database, clock: Clock) -> int:
    """Let time pass, so that the mark may pass all there is, and measure it."""
    clock.advance(seconds=MARGIN_SECONDS)
    return measure(database)


def assert_exact(db: Db, tenant: Tenant, since: Any, until: Any) -> list[dict[str, Any]]:
    """Fail when the figures are not those that history itself gives, in one snapshot; returns them."""
    span = {"tenant": tenant.tenant_id, "since": since, "until": until}
    db.run("begin isolation level repeatable read")
    try:
        parts = db.all(_PARTS, **span)
        assert parts == db.all(_BY_HAND, **span)
    finally:
        db.run("commit")
    return [dict(part) for part in parts]
