-- Signals: what was sent, and sending.

set local role flowgres_owner;

create or replace view flowgres_api.signals with (security_invoker = true) as
select
  s.tenant_id,
  s.id,
  s.name,
  s.key,
  s.execution_id,
  s.payload,
  s.sent_by,
  s.received_at,
  s.expires_at,
  s.consumed_at,
  s.consumed_by,
  s.consumed_by_step
from flowgres.signals as s
where s.kind = 'signal' and s.name <> '$callback';

comment on view flowgres_api.signals is $$Signals that were sent

One that no step has taken is kept for seven days, and one that was taken for seven days from then on.$$;
comment on column flowgres_api.signals.tenant_id is $$Tenant that owns it$$;
comment on column flowgres_api.signals.id is $$Identifier$$;
comment on column flowgres_api.signals.name is $$Its name$$;
comment on column flowgres_api.signals.key is $$Key that it was sent with$$;
comment on column flowgres_api.signals.execution_id is $$Execution that it was sent to$$;
comment on column flowgres_api.signals.payload is $$What it says$$;
comment on column flowgres_api.signals.sent_by is $$Who was authenticated when it was sent$$;
comment on column flowgres_api.signals.received_at is $$When it was sent$$;
comment on column flowgres_api.signals.expires_at is $$Until when it is kept$$;
comment on column flowgres_api.signals.consumed_at is $$When a step took it; null until then$$;
comment on column flowgres_api.signals.consumed_by is $$Execution whose step took it$$;
comment on column flowgres_api.signals.consumed_by_step is $$The step that took it$$;

create or replace function flowgres_api.send_signal(
  name text, payload jsonb default '{}', execution_id uuid default null, key text default null, idempotency_key text default null
)
  returns integer language sql
as $$
  select flowgres.send_signal(
    p_name => name, p_payload => payload, p_execution_id => execution_id, p_key => key,
    p_idempotency_key => flowgres.given_key('send_signal', idempotency_key));
$$;
comment on function flowgres_api.send_signal(text, jsonb, uuid, text, text) is $$Send a signal

To an execution, or with a key to whoever waits with it, or with neither. The step that has waited for it longest goes on, once the
transaction has committed; where none waits, the signal is kept for seven days until one does. Returns how many steps it found waiting:
1 or 0. With an idempotency_key it is sent once, and a repeated call has the same answer.$$;
