-- What came in by webhooks.

set local role flowgres_owner;

create or replace function flowgres.webhook_metrics(p_tenant_id uuid, p_since timestamptz, p_until timestamptz)
  returns jsonb language sql stable
as $$
  -- Of rejections only the first ones of a minute are logged, and all are counted.
  with counted (outcome, total) as (
    select d.outcome, count(*)
    from flowgres.webhook_deliveries as d
    where d.tenant_id = p_tenant_id and d.id >= flowgres.uuid_v7_floor(p_since) and d.id < flowgres.uuid_v7_floor(p_until)
      and d.outcome <> 'rejected'
    group by d.outcome
    union all
    select 'rejected', sum(r.count)
    from flowgres.webhook_rejections as r
    where r.tenant_id = p_tenant_id and r.minute >= date_trunc('minute', p_since) and r.minute < p_until
    having count(*) > 0
  )
  select jsonb_build_object(
    'total', coalesce(sum(c.total), 0), 'by_outcome', coalesce(jsonb_object_agg(c.outcome, c.total), '{}'))
  from counted as c;
$$;
comment on function flowgres.webhook_metrics(uuid, timestamptz, timestamptz) is $$Deliveries of a span of time: {total, by_outcome}; rejections by whole minutes.$$;
