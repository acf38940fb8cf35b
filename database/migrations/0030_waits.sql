-- breaking
-- Steps that wait until somebody wakes them; signals and events that do. Runners before this know no such step: they finish what they have.

set local role flowgres_owner;

alter type flowgres.step_report add attribute waits text;

alter table flowgres.workflow_steps add column on_timeout jsonb;
comment on column flowgres.workflow_steps.on_timeout is $$Of a step that waits: {output}, with which it completes when its time is over; null when it fails then$$;

create table flowgres.signals (
  tenant_id uuid not null,
  id uuid not null,
  kind text not null,
  name text not null,
  address text not null,
  key text,
  execution_id uuid,
  payload jsonb not null,
  sent_by text,
  idempotency_key text,
  woken smallint,
  received_at timestamptz not null,
  expires_at timestamptz not null,
  consumed_at timestamptz,
  consumed_by uuid,
  consumed_by_step text,
  constraint signals_pkey primary key (tenant_id, id),
  constraint signals_kind_is_known check (kind = 'signal' or kind = 'event'),
  constraint signals_consumption_is_whole check ((consumed_at is null) = (consumed_by is null))
);
comment on table flowgres.signals is $$Signals that were sent, and events that steps were waiting for$$;
comment on column flowgres.signals.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.signals.id is $$Identifier$$;
comment on column flowgres.signals.kind is $$signal, which one wait takes, or event, which all that wait for it are told of$$;
comment on column flowgres.signals.name is $$Its name$$;
comment on column flowgres.signals.address is $$Whom it is for: x:<execution>, k:<key>, c:<step and round of an execution> of a callback, or nothing when it has no key$$;
comment on column flowgres.signals.key is $$Key that it was sent with$$;
comment on column flowgres.signals.execution_id is $$Execution that it was sent to$$;
comment on column flowgres.signals.payload is $$What it says$$;
comment on column flowgres.signals.sent_by is $$Who was authenticated when it was sent$$;
comment on column flowgres.signals.idempotency_key is $$Key under which it was sent once$$;
comment on column flowgres.signals.woken is $$What its sender was told: how many steps were waiting for it$$;
comment on column flowgres.signals.received_at is $$When it was sent$$;
comment on column flowgres.signals.expires_at is $$Until when it is kept$$;
comment on column flowgres.signals.consumed_at is $$When a step took it; null until then$$;
comment on column flowgres.signals.consumed_by is $$Execution whose step took it$$;
comment on column flowgres.signals.consumed_by_step is $$The step, with the number of its iteration$$;

-- What is left to be taken, in the order in which it came: of one mailbox, and of a tenant.
create index signals_mailbox_idx on flowgres.signals (tenant_id, name, address, received_at, id)
where consumed_at is null and kind = 'signal';
create index signals_expires_idx on flowgres.signals (expires_at);
create index signals_list_idx on flowgres.signals (tenant_id, received_at);
create unique index signals_idempotency_idx on flowgres.signals (tenant_id, name, idempotency_key) where idempotency_key is not null;

create table flowgres.waits (
  tenant_id uuid not null,
  execution_id uuid not null,
  queue_id bigint not null,
  place smallint not null,
  token bigint not null,
  kind text not null,
  name text not null,
  address text not null,
  takes_earlier boolean not null,
  filter jsonpath,
  match jsonb,
  index smallint,
  registered_at timestamptz not null,
  constraint waits_pkey primary key (tenant_id, execution_id, queue_id, place),
  constraint waits_kind_is_known check (kind = 'signal' or kind = 'event')
);
comment on table flowgres.waits is $$What parked steps wait for: signals and events

One row for each that may wake a step. Whoever has the lock of the step's row of the queue may delete them, and nobody else does.$$;
comment on column flowgres.waits.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.waits.execution_id is $$Execution of the step$$;
comment on column flowgres.waits.queue_id is $$Its row of the queue$$;
comment on column flowgres.waits.place is $$Number among those that the step waits for$$;
comment on column flowgres.waits.token is $$The token under which the step was parked: a row whose step went on means nothing$$;
comment on column flowgres.waits.kind is $$signal or event$$;
comment on column flowgres.waits.name is $$Name of the signal or event$$;
comment on column flowgres.waits.address is $$k:<key>, or nothing: of a signal one without a key, of an event any$$;
comment on column flowgres.waits.takes_earlier is $$Whether a signal counts that came before$$;
comment on column flowgres.waits.filter is $$What has to hold of the payload of an event; null when nothing has to$$;
comment on column flowgres.waits.match is $$What the payload of an event has to contain; null when that is nothing$$;
comment on column flowgres.waits.index is $$Its place in first_of; null when it is the only one$$;
comment on column flowgres.waits.registered_at is $$When the step began to wait$$;

-- Who waits for a name, the first that came first.
create index waits_mailbox_idx on flowgres.waits (tenant_id, name, address, registered_at);

-- Notes about a parked row itself, and about signals that were sent, beside those about children that have ended.
alter table flowgres.pending_wakes
-- squawk-ignore ban-drop-not-null
alter column execution_id drop not null,
add column queue_id bigint,
add column token bigint,
add column resume jsonb,
add column name text,
add column address text,
add constraint pending_wakes_is_one_of_three check (
  (name is null) = (address is null) and (queue_id is null) = (token is null) and (resume is null or queue_id is not null)
  and (name is null) = (execution_id is not null) and (name is null or queue_id is null)
) not valid;
comment on table flowgres.pending_wakes is $$Notes for the next claim: whom it wakes

Of children that have ended while somebody else held the row of their parent, of parked rows that are to be woken, and of signals that were
sent. No unique key: whoever leaves a note waits for nobody.$$;
comment on column flowgres.pending_wakes.execution_id is $$The child execution that has ended, or that of the parked row; null in a note about a signal$$;
comment on column flowgres.pending_wakes.requested_at is $$When it was left$$;
comment on column flowgres.pending_wakes.queue_id is $$The parked row of the queue that is to be woken; null in a note about a child that has ended, or a signal$$;
comment on column flowgres.pending_wakes.token is $$The token under which it was parked: a row that went on since then is left alone$$;
comment on column flowgres.pending_wakes.resume is $$What the step goes on with; null when it has begun to wait, and a signal may have come meanwhile$$;
comment on column flowgres.pending_wakes.name is $$Name of a signal that was sent$$;
comment on column flowgres.pending_wakes.address is $$Whom it is for$$;
