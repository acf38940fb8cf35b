-- Executions and their history, partitioned by ranges of the execution id.
--
-- An id is a UUID v7, so a range of ids is a span of time, and the children of
-- an execution land in the same span as the execution itself. Retention drops
-- whole spans.
--
-- No foreign keys here: rows are written only by engine functions that hold
-- the lock of their execution, a key check per row would cost more than the
-- row, and its KEY SHARE locks would make every start of a workflow write to
-- the same version row. The invariant checker proves what keys would.

set local role flowgres_owner;

create table flowgres.executions (
  tenant_id uuid not null,
  id uuid not null,
  workflow_id uuid not null,
  version_id uuid not null,
  version integer not null,
  status text not null default 'queued',
  priority smallint not null default 5,
  generation smallint not null default 1,
  depth smallint not null default 0,
  event_seq integer not null default 0,
  step_count smallint not null,
  hidden_step_count smallint not null default 0,
  resolved_count smallint not null default 0,
  completed_count smallint not null default 0,
  max_retries smallint not null default 0,
  is_failing boolean not null default false,
  timeout_seconds double precision not null,
  active_seconds double precision not null default 0,
  active_since timestamptz,
  deadline_at timestamptz,
  scheduled_at timestamptz,
  created_at timestamptz not null,
  started_at timestamptz,
  finished_at timestamptz,
  parent_execution_id uuid,
  parent_step_index smallint,
  parent_queue_id bigint,
  replayed_from uuid,
  trigger_type text not null default 'api',
  correlation_id text,
  idempotency_key text,
  created_by text,
  input jsonb not null default '{}',
  trigger jsonb,
  metadata jsonb,
  output jsonb,
  error jsonb,
  constraint executions_pkey primary key (tenant_id, id),
  -- Evaluated at every write: so one expression for both rules, with the likeliest status first. A list ("in") costs four times
  -- as much.
  constraint executions_status_is_known check (
    case when finished_at is null
      then status = 'running' or status = 'queued' or status = 'waiting' or status = 'retrying' or status = 'paused'
      else status = 'completed' or status = 'failed' or status = 'cancelled' end
  ),
  constraint executions_priority_is_digit check (priority between 0 and 9)
) partition by range (id);
comment on table flowgres.executions is $$Runnings of workflow versions

The row is the lock of its execution: whoever advances it holds FOR NO KEY UPDATE on it.$$;
comment on column flowgres.executions.generation is $$Counts retries of the whole execution; a write from an earlier generation is refused.$$;
comment on column flowgres.executions.event_seq is $$Sequence of the last event: numbers have no gaps because they are taken under the lock.$$;
comment on column flowgres.executions.resolved_count is $$Steps, hidden ones included, that reached a terminal state.$$;
comment on column flowgres.executions.is_failing is $$A failure was not handled: only steps that join always still run.$$;
comment on column flowgres.executions.active_seconds is $$Time spent neither queued nor waiting, up to active_since.$$;
comment on column flowgres.executions.deadline_at is $$When the active time runs out; null while nothing runs.$$;
comment on column flowgres.executions.parent_queue_id is $$The queue row of the parent's step, which wakes when this execution ends.$$;

-- No other index may look as good as the primary key for (tenant_id, id): a plan made while a partition was empty would
-- then scan a tenant. So this one leads with the workflow, whose id is unique anyway, and the others are partial.
create index executions_workflow_idx on flowgres.executions (workflow_id, id);
-- Lists are read newest first, whole or by status; completed ones are so many that the first index serves them too.
create index executions_created_idx on flowgres.executions (created_at, tenant_id);
create index executions_status_idx on flowgres.executions (tenant_id, status, created_at)
where status <> 'completed';
create index executions_deadline_idx on flowgres.executions (deadline_at) where deadline_at is not null;
create index executions_correlation_idx on flowgres.executions (tenant_id, correlation_id)
where correlation_id is not null;
create index executions_parent_idx on flowgres.executions (tenant_id, parent_execution_id)
where parent_execution_id is not null;

create table flowgres.step_executions (
  tenant_id uuid not null,
  execution_id uuid not null,
  step_index smallint not null,
  iteration integer not null default -1,
  attempts smallint not null default 0,
  step text not null,
  type text not null,
  status text not null,
  edge text,
  untaken smallint[],
  runner_id uuid,
  child_execution_id uuid,
  ready_at timestamptz,
  started_at timestamptz,
  finished_at timestamptz,
  due_at timestamptz,
  output jsonb,
  error jsonb,
  constraint step_executions_pkey primary key (tenant_id, execution_id, step_index, iteration),
  constraint step_executions_status_is_known check (
    case when finished_at is not null
      then status = 'completed' or status = 'skipped' or status = 'failed' or status = 'cancelled'
      else status = 'running' or status = 'waiting' or status = 'retrying' or status = 'ready' or status = 'pending' end
  ),
  constraint step_executions_edge_is_known check (edge = 'taken' or edge = 'dead' or edge = 'failed')
) partition by range (execution_id);
comment on table flowgres.step_executions is $$Steps of executions, written when they start to matter

A step that is merely ready or leased lives in work_queue alone; the view shows both.$$;
comment on column flowgres.step_executions.iteration is $$-1 for the step itself, 0 and up for the iterations of a foreach.$$;
comment on column flowgres.step_executions.edge is $$What a terminal step means to its children: taken, dead or failed.$$;
comment on column flowgres.step_executions.untaken is $$Children on a branch that was not taken: their edge is dead.$$;

create table flowgres.attempts (
  tenant_id uuid not null,
  execution_id uuid not null,
  step_index smallint not null,
  iteration integer not null default -1,
  generation smallint not null default 1,
  attempt smallint not null,
  step text not null,
  status text not null,
  runner_id uuid,
  started_at timestamptz,
  finished_at timestamptz not null,
  error jsonb,
  detail jsonb,
  constraint attempts_pkey primary key (tenant_id, execution_id, step_index, iteration, generation, attempt),
  constraint attempts_status_is_known check (status in ('completed', 'failed', 'lost', 'discarded'))
) partition by range (execution_id);
comment on table flowgres.attempts is $$Tries of steps that say more than the step's own row

Failed and lost tries, and those with a detail such as a request line; the view adds the others from step_executions.$$;

create table flowgres.events (
  tenant_id uuid not null,
  execution_id uuid not null,
  seq integer not null,
  at timestamptz not null,
  began_at timestamptz,
  type text not null,
  level text not null default 'info',
  step text,
  message text,
  actor text,
  details jsonb,
  constraint events_pkey primary key (tenant_id, execution_id, seq),
  constraint events_level_is_known check (
    level = 'info' or level = 'warning' or level = 'error' or level = 'debug'
  )
) partition by range (execution_id);
comment on table flowgres.events is $$Appended facts of executions, numbered without gaps from 1

A row with began_at stands for two: the step_started of that moment under the number before its own, and itself. Most steps end
in the batch that reports them, and half as many rows is what makes events cheap. The view shows both.$$;
comment on column flowgres.events.began_at is $$When the step of this event started, if no event of its own says so.$$;

create table flowgres.idempotency_keys (
  tenant_id uuid not null,
  workflow_id uuid not null,
  key text not null,
  execution_id uuid not null,
  payload_hash bytea not null,
  expires_at timestamptz not null,
  constraint idempotency_keys_pkey primary key (tenant_id, workflow_id, key),
  constraint idempotency_keys_key_is_short check (length(key) between 1 and 255)
);
comment on table flowgres.idempotency_keys is $$Keys of starts and the execution that each stands for

Not partitioned: a key outlives no period and must be unique across them.$$;
create index idempotency_keys_expiry_idx on flowgres.idempotency_keys (expires_at);

create table flowgres.history_periods (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  starts_at timestamptz not null,
  ends_at timestamptz not null,
  suffix text not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint history_periods_pkey primary key (tenant_id, starts_at),
  constraint history_periods_end_after_start check (ends_at > starts_at)
);
comment on table flowgres.history_periods is $$Spans of time that have partitions of their own, each named by its suffix.$$;

create table flowgres.cancellations (
  tenant_id uuid not null,
  execution_id uuid not null,
  requested_at timestamptz not null,
  reason text,
  constraint cancellations_pkey primary key (tenant_id, execution_id)
);
comment on table flowgres.cancellations is $$Child executions that a parent's end has doomed

Whoever ends an execution holds its lock and must not reach for the locks of its children out of order, so it leaves a row here.$$;
