-- Webhooks and their deliveries, as clients read and command them.

set local role flowgres_owner;

create or replace view flowgres_api.webhooks with (security_invoker = true) as
select
  h.id,
  h.tenant_id,
  h.workflow_id,
  w.name as workflow_name,
  flowgres.show_webhook_path(h.id) as path,
  flowgres.named_webhook_path(p_tenant_id => h.tenant_id, p_path => h.path) as named_path,
  h.scheme,
  h.secret_name,
  h.scheme = 'none' or exists (
    select from flowgres.secrets as s where s.tenant_id = h.tenant_id and s.name = h.secret_name
  ) as is_secret_stored,
  h.previous_secret_name,
  h.previous_until,
  w.status = 'active' as is_active,
  h.input,
  h.place,
  d.received_at as last_delivery_at,
  d.outcome as last_outcome,
  (
    select coalesce(sum(r.count), 0)
    from flowgres.webhook_rejections as r
    where r.tenant_id = h.tenant_id and r.webhook_id = h.id and r.minute > flowgres.now() - interval '24 hours'
  ) as rejected_last_day,
  h.created_at,
  h.updated_at
from flowgres.webhooks as h
join flowgres.workflows as w on w.tenant_id = h.tenant_id and w.id = h.workflow_id
left join lateral (
  select v.received_at, v.outcome
  from flowgres.webhook_deliveries as v
  where v.tenant_id = h.tenant_id and v.webhook_id = h.id
  order by v.id desc
  limit 1
) as d on true;

comment on view flowgres_api.webhooks is $$Webhooks

The webhook triggers of active versions, and the addresses at the front to which deliveries come.$$;
comment on column flowgres_api.webhooks.id is $$Identifier; it stays when the trigger is changed$$;
comment on column flowgres_api.webhooks.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.webhooks.workflow_id is $$The workflow that it starts$$;
comment on column flowgres_api.webhooks.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.webhooks.path is $$Its address at the front, /webhooks/wh_...; null for those who may not start workflows$$;
comment on column flowgres_api.webhooks.named_path is $$Its address below that of the tenant; null when the trigger has no path$$;
comment on column flowgres_api.webhooks.scheme is $$How deliveries are signed: github, standard, stripe, slack, token or none$$;
comment on column flowgres_api.webhooks.secret_name is $$Name of the secret that deliveries are checked with$$;
comment on column flowgres_api.webhooks.is_secret_stored is $$Whether there is that secret: without it every delivery is refused$$;
comment on column flowgres_api.webhooks.previous_secret_name is $$The secret of before the last rotation$$;
comment on column flowgres_api.webhooks.previous_until is $$Until when that one is good as well$$;
comment on column flowgres_api.webhooks.is_active is $$Whether deliveries start something: its workflow is active$$;
comment on column flowgres_api.webhooks.input is $$How the input is made of the payload$$;
comment on column flowgres_api.webhooks.place is $$Which of the triggers of the definition it is, from 0$$;
comment on column flowgres_api.webhooks.last_delivery_at is $$When the last delivery came that is logged$$;
comment on column flowgres_api.webhooks.last_outcome is $$What became of it$$;
comment on column flowgres_api.webhooks.rejected_last_day is $$Deliveries of the last 24 hours that were rejected, logged or only counted$$;
comment on column flowgres_api.webhooks.created_at is $$When it was first active$$;
comment on column flowgres_api.webhooks.updated_at is $$When it last changed$$;

create or replace view flowgres_api.webhook_deliveries with (security_invoker = true) as
select
  d.id,
  d.tenant_id,
  d.webhook_id,
  d.received_at,
  d.outcome,
  d.http_status,
  d.reason,
  d.message,
  d.key,
  d.execution_id,
  d.redelivery_of,
  d.content_type,
  d.byte_count,
  d.trigger
from flowgres.webhook_deliveries as d;

comment on view flowgres_api.webhook_deliveries is $$Deliveries to webhooks

Each with its outcome and the reason, rejected ones too, for delivery_retention_days. Of a flood of rejected ones twenty a minute are
here; webhooks.rejected_last_day has all.$$;
comment on column flowgres_api.webhook_deliveries.id is $$Identifier, by which it is delivered once more$$;
comment on column flowgres_api.webhook_deliveries.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.webhook_deliveries.webhook_id is $$The webhook, which may be gone$$;
comment on column flowgres_api.webhook_deliveries.received_at is $$When it was judged$$;
comment on column flowgres_api.webhook_deliveries.outcome is $$accepted, duplicate, answered (a question of the sender's), failed (authentic, and nothing could start) or rejected$$;
comment on column flowgres_api.webhook_deliveries.http_status is $$The status of the answer$$;
comment on column flowgres_api.webhook_deliveries.reason is $$Why it was not accepted, as a code$$;
comment on column flowgres_api.webhook_deliveries.message is $$The same in words$$;
comment on column flowgres_api.webhook_deliveries.key is $$What the sender calls it$$;
comment on column flowgres_api.webhook_deliveries.execution_id is $$What it started; of a duplicate, what the first one has started$$;
comment on column flowgres_api.webhook_deliveries.redelivery_of is $$The delivery that was delivered once more$$;
comment on column flowgres_api.webhook_deliveries.content_type is $$The media type that the sender gave$$;
comment on column flowgres_api.webhook_deliveries.byte_count is $$Bytes of the body$$;
comment on column flowgres_api.webhook_deliveries.trigger is $$What it brought, when it was authentic and started nothing; otherwise its execution has that$$;

create or replace function flowgres_api.webhooks(flowgres_api.webhook_deliveries)
  returns setof flowgres_api.webhooks language sql stable rows 1
as $$
  select x.* from flowgres_api.webhooks as x where x.tenant_id = $1.tenant_id and x.id = $1.webhook_id;
$$;
comment on function flowgres_api.webhooks(flowgres_api.webhook_deliveries) is $$The webhook of a delivery, for embedding; none when it is gone.$$;

create or replace function flowgres_api.executions(flowgres_api.webhook_deliveries)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.webhook_deliveries) is $$What a delivery started, for embedding; none when it started nothing.$$;

create or replace function flowgres_api.rotate_webhook(
  webhook text, secret text default null, keep_previous_seconds integer default 86400, new_address boolean default false
)
  returns jsonb language sql
as $$
  select flowgres.rotate_webhook(
    p_webhook => webhook, p_secret => secret, p_keep_previous_seconds => coalesce(keep_previous_seconds, 86400),
    p_new_address => new_address);
$$;
comment on function flowgres_api.rotate_webhook(text, text, integer, boolean) is $$Give a webhook another secret, or another address

webhook is an id, or the name of a workflow that has one. secret names another stored secret; the one of before is good for
keep_previous_seconds as well (a day; 0 is not at all). With new_address the address of before is gone at once. Returns
{id, workflow_id, workflow_name, path, named_path, scheme,
secret_name, previous_secret_name, previous_until, is_active}.$$;

create or replace function flowgres_api.redeliver_webhook(delivery uuid)
  returns jsonb language sql
as $$ select flowgres.redeliver_webhook(p_delivery => delivery); $$;
comment on function flowgres_api.redeliver_webhook(uuid) is $$Deliver once more what was delivered

Starts a new execution from what is stored of a delivery, by the version that is active now. Returns {execution_id, status, created,
delivery_id} with 201. 409 delivery_not_authentic for what was rejected.$$;
