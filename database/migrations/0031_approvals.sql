-- Approvals: what steps ask people to decide, and what they have decided.

set local role flowgres_owner;

create table flowgres.approvals (
  tenant_id uuid not null,
  id uuid not null,
  execution_id uuid not null,
  workflow_id uuid not null,
  step_index smallint not null,
  iteration integer not null,
  number integer not null,
  step text not null,
  title text,
  message text,
  roles text[] not null,
  approvers text[] not null,
  not_starter boolean not null,
  starter text,
  form jsonb,
  quorum smallint not null,
  remind_seconds double precision,
  reminder_count integer not null default 0,
  status text not null default 'pending',
  decisions jsonb not null default '[]',
  requested_at timestamptz not null,
  due_at timestamptz,
  next_at timestamptz,
  ended_at timestamptz,
  expires_at timestamptz,
  constraint approvals_pkey primary key (tenant_id, id),
  constraint approvals_asked_key unique (tenant_id, execution_id, step_index, iteration, number),
  constraint approvals_quorum_is_some check (quorum between 1 and 100),
  constraint approvals_status_is_known check (status in ('pending', 'approved', 'rejected', 'timed_out', 'cancelled')),
  constraint approvals_ended_at_matches_status check ((ended_at is null) = (status = 'pending')),
  constraint approvals_expire_when_ended check ((expires_at is null) = (status = 'pending')),
  constraint approvals_pending_alone_is_timed check (next_at is null or status = 'pending')
) with (fillfactor = 80);
comment on table flowgres.approvals is $$What approval steps ask people to decide, one row for each time that a step asks

Whoever writes a row holds the lock of its execution. Rows that have ended go with the retention of history (expires_at).$$;
comment on column flowgres.approvals.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.approvals.id is $$Identifier$$;
comment on column flowgres.approvals.execution_id is $$The execution that waits$$;
comment on column flowgres.approvals.workflow_id is $$Its workflow$$;
comment on column flowgres.approvals.step_index is $$Place of the step in its definition$$;
comment on column flowgres.approvals.iteration is $$Iteration of a foreach, from 0; -1 for the step itself$$;
comment on column flowgres.approvals.number is $$How often this step has asked, this time included: it asks again when it is tried again or repeats$$;
comment on column flowgres.approvals.step is $$Id of the step in its definition$$;
comment on column flowgres.approvals.title is $$What is asked, in a line$$;
comment on column flowgres.approvals.message is $$What is asked, at length$$;
comment on column flowgres.approvals.roles is $$Business roles that may decide$$;
comment on column flowgres.approvals.approvers is $$Callers who may decide, as actor() names them; with neither roles nor approvers every member may$$;
comment on column flowgres.approvals.not_starter is $$Whether who started the execution may not decide$$;
comment on column flowgres.approvals.starter is $$Who that is: of a child who started the execution above all$$;
comment on column flowgres.approvals.form is $$What has to be sent along with a decision, declared as inputs are$$;
comment on column flowgres.approvals.quorum is $$How many people have to approve$$;
comment on column flowgres.approvals.remind_seconds is $$After how long without an end it is told again; null is never$$;
comment on column flowgres.approvals.reminder_count is $$How often it was told again$$;
comment on column flowgres.approvals.status is $$pending, or how it ended$$;
comment on column flowgres.approvals.decisions is $$What people have decided, in order: {decision, by, at, data, notes, key}$$;
comment on column flowgres.approvals.requested_at is $$Since when it waits$$;
comment on column flowgres.approvals.due_at is $$When the time for it is over; null is never$$;
comment on column flowgres.approvals.next_at is $$When a timer has to look: the next reminder, or the end of the time$$;
comment on column flowgres.approvals.ended_at is $$When it was decided, or ended otherwise$$;
comment on column flowgres.approvals.expires_at is $$When the row may be deleted; null while it is pending$$;

-- An inbox: what is pending of a tenant, the newest first, however much was decided before.
create index approvals_inbox_idx on flowgres.approvals (tenant_id, status, requested_at);
create index approvals_due_idx on flowgres.approvals (next_at) where next_at is not null;
create index approvals_turn_idx on flowgres.approvals (tenant_id, next_at) where next_at is not null;
create index approvals_expires_at_idx on flowgres.approvals (expires_at) where expires_at is not null;

comment on column flowgres.notifications.events is $$What it tells of: completed, failed, cancelled, waiting_for_approval, approval_reminder$$;
