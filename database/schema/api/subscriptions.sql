-- Subscriptions, and events, as clients see and tell them.

set local role flowgres_owner;

create or replace view flowgres_api.subscriptions with (security_invoker = true) as
select
  s.id,
  s.tenant_id,
  s.workflow_id,
  w.name as workflow_name,
  s.kind,
  s.name,
  s.changes,
  s.filter::text as filter,
  s.input,
  case when s.is_active then 'active' else 'inactive' end as status,
  s.last_error,
  s.place,
  s.created_at,
  s.updated_at,
  case s.kind when 'table' then s.changes <@ coalesce(i.changes, '{}') end as is_installed
from flowgres.subscriptions as s
join flowgres.workflows as w on w.tenant_id = s.tenant_id and w.id = s.workflow_id
left join flowgres.installed_changes() as i on i.tenant_id = s.tenant_id and i.name = s.name;

comment on view flowgres_api.subscriptions is $$Subscriptions

The event and table triggers of active versions.$$;
comment on column flowgres_api.subscriptions.id is $$Identifier; it stays when the trigger is changed$$;
comment on column flowgres_api.subscriptions.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.subscriptions.workflow_id is $$The workflow that it starts$$;
comment on column flowgres_api.subscriptions.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.subscriptions.kind is $$event or table$$;
comment on column flowgres_api.subscriptions.name is $$Name of the event, or of the table with its schema$$;
comment on column flowgres_api.subscriptions.changes is $$Of a table: insert, update, delete; null for an event$$;
comment on column flowgres_api.subscriptions.filter is $$What must hold for the payload; null is always$$;
comment on column flowgres_api.subscriptions.input is $$Mapping of the payload to the input; null is the payload itself$$;
comment on column flowgres_api.subscriptions.status is $$active or inactive, as its workflow is$$;
comment on column flowgres_api.subscriptions.last_error is $$Why something that it was meant for started nothing: {code, message, at, count}; null when nothing was refused$$;
comment on column flowgres_api.subscriptions.place is $$Which of the triggers of the definition it is, from 0$$;
comment on column flowgres_api.subscriptions.created_at is $$When it was first active$$;
comment on column flowgres_api.subscriptions.updated_at is $$When it last changed$$;
comment on column flowgres_api.subscriptions.is_installed is $$Of a table: whether an operator has installed triggers for all its changes, without which it starts nothing; null for an event$$;

create or replace function flowgres_api.emit_event(name text, payload jsonb default '{}', key text default null)
  returns jsonb language sql
as $$ select flowgres.emit_event(p_name => name, p_payload => payload, p_key => key); $$;
comment on function flowgres_api.emit_event(text, jsonb, text) is $$Tell of an event

Starts the active workflows with a trigger of this name whose filter holds, in the caller's transaction. With a key it is told once:
the same name and key start nothing again while keys are kept. Returns {started, woken, more, refused, executions, created}: more says that
woken does not count all, because more than a thousand wait; they are woken a little later. A workflow whose
inputs the payload does not fit is counted as refused, and says why in /subscriptions.$$;
