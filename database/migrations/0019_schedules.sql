-- Schedules: cron triggers that start executions, each slot once.

set local role flowgres_owner;

create type flowgres.cron_fields as (
  minutes smallint[],
  hours smallint[],
  days smallint[],
  months smallint[],
  weekdays smallint[],
  nth_weekdays smallint[],
  has_last_day boolean,
  counts_days boolean,
  counts_weekdays boolean
);
comment on type flowgres.cron_fields is $$A cron expression that was read: the values of each field

nth_weekdays are ten times a weekday and which one of the month, 9 for the last. A day has to be right by its number and by its weekday;
where both count, by one of them.$$;

create table flowgres.schedules (
  tenant_id uuid not null,
  id uuid not null,
  workflow_id uuid not null,
  place smallint not null,
  cron text not null,
  timezone text not null,
  fields flowgres.cron_fields,
  in_words text,
  catch_up text not null,
  input jsonb not null,
  jitter_seconds double precision not null,
  ends_at timestamptz,
  next_at timestamptz,
  paused_at timestamptz,
  last_slot timestamptz,
  last_execution_id uuid,
  last_error jsonb,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint schedules_pkey primary key (tenant_id, id),
  constraint schedules_workflow_fkey foreign key (tenant_id, workflow_id) references flowgres.workflows (tenant_id, id),
  constraint schedules_catch_up_is_known check (catch_up in ('none', 'latest', 'all')),
  constraint schedules_jitter_is_not_negative check (jitter_seconds >= 0),
  constraint schedules_paused_fires_nothing check (paused_at is null or next_at is null)
);
comment on table flowgres.schedules is $$Cron triggers of active versions, each with the slot that it fires next

They follow the workflow: another version changes them, an archived workflow has none.$$;
comment on column flowgres.schedules.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.schedules.id is $$Identifier; it stays when the trigger is changed$$;
comment on column flowgres.schedules.workflow_id is $$The workflow that it starts$$;
comment on column flowgres.schedules.place is $$Which of the triggers of the definition it is, from 0$$;
comment on column flowgres.schedules.cron is $$The expression, as the author wrote it$$;
comment on column flowgres.schedules.timezone is $$Time zone whose clocks it goes by$$;
comment on column flowgres.schedules.fields is $$The expression as it was read$$;
comment on column flowgres.schedules.in_words is $$When it fires, for people$$;
comment on column flowgres.schedules.catch_up is $$What becomes of slots that were missed: none, latest or all (ten at most)$$;
comment on column flowgres.schedules.input is $$Input of its executions$$;
comment on column flowgres.schedules.jitter_seconds is $$Within how many seconds after their slot executions begin$$;
comment on column flowgres.schedules.ends_at is $$The last moment at which it may fire; null is never$$;
comment on column flowgres.schedules.next_at is $$The slot that is next; null while it is paused, when it has ended, and while its workflow is inactive$$;
comment on column flowgres.schedules.paused_at is $$Since when it is paused$$;
comment on column flowgres.schedules.last_slot is $$The slot that it fired last$$;
comment on column flowgres.schedules.last_execution_id is $$What that slot started$$;
comment on column flowgres.schedules.last_error is $$Why a slot started nothing: {code, message, slot, at}; null when the last one did$$;
comment on column flowgres.schedules.created_at is $$When it was first active$$;
comment on column flowgres.schedules.updated_at is $$When it last changed or fired$$;

create index schedules_workflow_idx on flowgres.schedules (tenant_id, workflow_id);
create index schedules_due_idx on flowgres.schedules (next_at) where next_at is not null;

create table flowgres.schedule_slots (
  tenant_id uuid not null,
  schedule_id uuid not null,
  slot timestamptz not null,
  execution_id uuid not null,
  expires_at timestamptz not null,
  constraint schedule_slots_pkey primary key (tenant_id, schedule_id, slot)
);
comment on table flowgres.schedule_slots is $$Slots that have started an execution: the key is what makes each start once

Kept as long as keys of starts are.$$;
comment on column flowgres.schedule_slots.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.schedule_slots.schedule_id is $$The schedule, which may be gone$$;
comment on column flowgres.schedule_slots.slot is $$The moment that the schedule stood for$$;
comment on column flowgres.schedule_slots.execution_id is $$What it started$$;
comment on column flowgres.schedule_slots.expires_at is $$When the row may be deleted$$;

create index schedule_slots_expiry_idx on flowgres.schedule_slots (expires_at);
