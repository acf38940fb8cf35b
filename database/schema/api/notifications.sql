-- Notifications and their deliveries, as clients read and command them.

set local role flowgres_owner;

create or replace view flowgres_api.notifications with (security_invoker = true) as
select
  n.id,
  n.tenant_id,
  flowgres.notification_name(p_name => n.name, p_workflow_name => w.name, p_place => n.place) as name,
  n.workflow_id,
  w.name as workflow_name,
  n.place is not null as is_defined,
  n.url,
  n.secret_name as secret,
  n.events,
  case when n.disabled_at is null then 'active' else 'disabled' end as status,
  n.disabled_reason,
  n.disabled_at,
  n.failed_count,
  n.created_by,
  n.created_at,
  n.updated_at
from flowgres.notifications as n
left join flowgres.workflows as w on w.tenant_id = n.tenant_id and w.id = n.workflow_id;

comment on view flowgres_api.notifications is $$Notifications

Who is told how executions end, and that people are asked, by signed webhooks.$$;
comment on column flowgres_api.notifications.id is $$Identifier$$;
comment on column flowgres_api.notifications.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.notifications.name is $$Its name; of one in a definition WORKFLOW.PLACE, from 1$$;
comment on column flowgres_api.notifications.workflow_id is $$The workflow whose executions it tells of; null for all$$;
comment on column flowgres_api.notifications.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.notifications.is_defined is $$Whether it stands in the definition of its workflow, and changes with it$$;
comment on column flowgres_api.notifications.url is $$Where it is sent$$;
comment on column flowgres_api.notifications.secret is $$Name of the secret that it is signed with$$;
comment on column flowgres_api.notifications.events is $$What it tells of: completed, failed, cancelled, waiting_for_approval, approval_reminder$$;
comment on column flowgres_api.notifications.status is $$active or disabled$$;
comment on column flowgres_api.notifications.disabled_reason is $$gone (its receiver answered 410) or failing (ten deliveries in a row were given up)$$;
comment on column flowgres_api.notifications.disabled_at is $$Since when nothing is sent$$;
comment on column flowgres_api.notifications.failed_count is $$How many deliveries in a row were given up$$;
comment on column flowgres_api.notifications.created_by is $$Who made it$$;
comment on column flowgres_api.notifications.created_at is $$When it was made$$;
comment on column flowgres_api.notifications.updated_at is $$When it last changed$$;

create or replace view flowgres_api.notification_deliveries with (security_invoker = true) as
select
  e.id,
  e.tenant_id,
  (e.trigger ->> 'notification')::uuid as notification_id,
  flowgres.notification_name(p_name => n.name, p_workflow_name => o.name, p_place => n.place) as notification,
  (e.input ->> 'id')::uuid as message_id,
  e.trigger ->> 'event' as event,
  e.parent_execution_id as execution_id,
  e.trigger ->> 'url' as url,
  case e.status when 'completed' then 'delivered' when 'failed' then 'given_up' when 'cancelled' then 'cancelled' else 'pending' end as status,
  coalesce(q.attempt, s.attempts, 0) as attempts,
  coalesce(s.error, e.error) as last_error,
  case when q.runner_id is null then coalesce(q.due_at, q.ready_at) end as next_attempt_at,
  e.replayed_from as redelivers,
  e.created_at,
  e.finished_at
from flowgres.workflows as w
join flowgres.executions as e on e.tenant_id = w.tenant_id and e.workflow_id = w.id
left join flowgres.step_executions as s on s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = 0 and s.iteration = -1
left join flowgres.work_queue as q on q.tenant_id = e.tenant_id and q.execution_id = e.id and e.finished_at is null
left join flowgres.notifications as n on n.tenant_id = e.tenant_id and n.id = (e.trigger ->> 'notification')::uuid
left join flowgres.workflows as o on o.tenant_id = n.tenant_id and o.id = n.workflow_id
where w.id = flowgres.hidden_id(w.tenant_id);

comment on view flowgres_api.notification_deliveries is $$Deliveries of notifications

Each is tried for about two days, and kept as long as an execution.$$;
comment on column flowgres_api.notification_deliveries.id is $$Identifier; sorting by it sorts by age$$;
comment on column flowgres_api.notification_deliveries.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.notification_deliveries.notification_id is $$The notification$$;
comment on column flowgres_api.notification_deliveries.notification is $$Its name; null when it was deleted$$;
comment on column flowgres_api.notification_deliveries.message_id is $$webhook-id of the message: the same for every attempt, and when it is sent again$$;
comment on column flowgres_api.notification_deliveries.event is $$What it tells of: completed, failed, cancelled, waiting_for_approval, approval_reminder$$;
comment on column flowgres_api.notification_deliveries.execution_id is $$The execution that it tells of$$;
comment on column flowgres_api.notification_deliveries.url is $$Where it is sent$$;
comment on column flowgres_api.notification_deliveries.status is $$pending, delivered, given_up or cancelled$$;
comment on column flowgres_api.notification_deliveries.attempts is $$How often it was tried$$;
comment on column flowgres_api.notification_deliveries.last_error is $$Why the last attempt failed$$;
comment on column flowgres_api.notification_deliveries.next_attempt_at is $$When it is tried next; null while it is, and when it has ended$$;
comment on column flowgres_api.notification_deliveries.redelivers is $$The delivery whose message it sends once more$$;
comment on column flowgres_api.notification_deliveries.created_at is $$When it began$$;
comment on column flowgres_api.notification_deliveries.finished_at is $$When it was heard, or given up$$;

create or replace function flowgres_api.set_notification(
  name text, url text, secret text, events jsonb default null, workflow text default null
)
  returns jsonb language sql
as $$
  select flowgres.set_notification(
    p_name => name, p_url => url, p_secret => secret, p_events => events, p_workflow => workflow);
$$;
comment on function flowgres_api.set_notification(text, text, text, jsonb, text) is $$Tell a webhook what becomes of executions

secret names a stored secret, by which each request is signed (Standard Webhooks). events is a list of completed, failed, cancelled,
waiting_for_approval, approval_reminder; the first two unless told. Of all workflows, unless one is named. Replaces the notification of
that name. Returns {id, name, workflow_name, url, secret, events, status}.$$;

create or replace function flowgres_api.delete_notification(name text)
  returns jsonb language sql
as $$ select flowgres.delete_notification(p_name => name); $$;
comment on function flowgres_api.delete_notification(text) is $$Delete a notification

Deliveries that have not ended are cancelled. Returns {name, deleted}.$$;

create or replace function flowgres_api.redeliver_notification(delivery_id uuid)
  returns jsonb language sql
as $$ select flowgres.redeliver_notification(p_delivery_id => delivery_id); $$;
comment on function flowgres_api.redeliver_notification(uuid) is $$Send the message of an ended delivery once more

Under the same webhook-id, to where its notification sends now. Returns {delivery_id, message_id, redelivers} with 201.$$;
