-- What came in by webhooks.

set local role flowgres_owner;

create or replace function flowgres.webhook_metrics(p_tenant_id uuid, p_since timestamptz, p_until timestamptz)
  returns jsonb language sql stable
as $$
  select '{}'::jsonb;
$$;
comment on function flowgres.webhook_metrics(uuid, timestamptz, timestamptz) is $$Deliveries of a span of time by their outcome.$$;
