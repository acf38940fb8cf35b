-- What is counted where it happens: deliveries that came by webhooks, and those of notifications that ended.

set local role flowgres_owner;

create or replace function flowgres.delivery_reasons()
  returns text[] language sql immutable parallel safe
as $$
  select '{
    known_key, url_verification,
    signature_missing, signature_malformed, signature_wrong, token_missing, token_wrong, secret_missing, secret_unreadable,
    secret_unusable, timestamp_too_old, timestamp_too_new, webhook_gone, webhook_changing,
    body_too_large, body_incomplete, body_timeout, too_many_at_once, front_busy,
    invalid_json, invalid_text, invalid_form, invalid_cloud_event, object_expected, too_many_values, unsupported_charset,
    unsupported_encoding, unsupported_media_type, payload_too_large, payload_too_deep, number_too_long,
    input_invalid, unknown_input, workflow_not_active, version_not_ready, version_invalid, tenant_suspended, start_rate_exceeded,
    start_throttled, singleton_running, refused
  }'::text[];
$$;
comment on function flowgres.delivery_reasons() is $$Reasons of deliveries that a monitor is told: all others are "other", so that there are never more.$$;

create or replace function flowgres.count_deliveries(p_tenant_id uuid, p_outcome text, p_reason text, p_count bigint)
  returns void language plpgsql
as $$
begin
  insert into flowgres.metric_counts (tenant_id, measure, status, reason, total)
  values (
    p_tenant_id, 'webhook', p_outcome,
    case when p_reason is null then '' when p_reason = any(flowgres.delivery_reasons()) then p_reason else 'other' end, p_count);
end;
$$;
comment on function flowgres.count_deliveries(uuid, text, text, bigint) is $$Count deliveries that came to webhooks, by outcome and reason.$$;

create or replace function flowgres.add_counts(p_limit integer)
  returns integer language plpgsql
as $$
declare
  v_count integer;
begin
  with taken as (
    delete from flowgres.metric_counts as c
    where c.ctid = any(array(select o.ctid from flowgres.metric_counts as o limit p_limit for update skip locked))
    returning c.measure, c.status, c.reason, c.total
  ),
  added as (
    insert into flowgres.metric_rollups as r (tenant_id, span_seconds, starts_at, workflow_id, measure, type, status, total)
    select
      flowgres.system_tenant_id(), 0, '-infinity', flowgres.system_tenant_id(), t.measure, t.reason, t.status, sum(t.total)
    from taken as t
    group by t.measure, t.reason, t.status
    on conflict (tenant_id, span_seconds, starts_at, workflow_id, measure, step, type, status) do update
    set total = r.total + excluded.total
  )
  select count(*) into v_count from taken;
  return v_count;
end;
$$;
comment on function flowgres.add_counts(integer) is $$Add up to so many rows of metric_counts to the counters; returns how many. The caller holds the mark.$$;
