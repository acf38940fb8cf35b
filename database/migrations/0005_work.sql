-- The work queue, the one hot table, and the runners that empty it.

set local role flowgres_owner;

create table flowgres.work_queue (
  tenant_id uuid not null,
  execution_id uuid not null,
  id bigint generated always as identity,
  version_id uuid not null,
  runner_id uuid,
  token bigint not null default 0,
  due_at timestamptz,
  ready_at timestamptz not null,
  claimed_at timestamptz,
  iteration integer not null default -1,
  step_index smallint not null,
  attempt smallint not null default 0,
  generation smallint not null default 1,
  priority smallint not null default 5,
  is_new boolean not null default false,
  is_announced boolean not null default false,
  capability text not null default 'core',
  resume jsonb,
  constraint work_queue_pkey primary key (tenant_id, execution_id, id),
  constraint work_queue_lease_is_not_due check (runner_id is null or due_at is null)
) with (
  -- Rows are re-pointed in place from step to step: leave room on the page, and sweep early. But gather no statistics: of a
  -- queue that fills and empties they are out of date at once, and each time every session plans its functions anew.
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_threshold = 2000000000
);
comment on table flowgres.work_queue is $$Steps that are ready, leased or due later

A row is ready when runner_id and due_at are null, leased when runner_id is set, and due when due_at is set (infinity: until woken).
When a step completes its row is re-pointed at the next step.$$;
comment on column flowgres.work_queue.token is $$The fence: grows with every lease, and a write must still hold it.$$;
comment on column flowgres.work_queue.attempt is $$Counted when the step is claimed, so that a step that kills its runner runs out too.$$;
comment on column flowgres.work_queue.is_new is $$The execution has not begun: started ones go first.$$;
comment on column flowgres.work_queue.is_announced is $$The event step_started of this attempt is already written.$$;
comment on column flowgres.work_queue.resume is $$What a suspended step was waiting for; null when it is tried from its beginning.$$;

create index work_queue_ready_idx on flowgres.work_queue (capability, tenant_id, priority, is_new, id)
where runner_id is null and due_at is null;
create index work_queue_due_idx on flowgres.work_queue (due_at) where due_at is not null;
create index work_queue_runner_idx on flowgres.work_queue (runner_id) where runner_id is not null;

create table flowgres.runners (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  id uuid not null,
  name text not null,
  version text not null,
  protocol integer not null,
  capabilities text[] not null default '{core}',
  labels text[] not null default '{}',
  concurrency integer not null default 100,
  is_idle boolean not null default false,
  started_at timestamptz not null,
  seen_at timestamptz not null,
  drained_at timestamptz,
  stopped_at timestamptz,
  stats jsonb,
  constraint runners_pkey primary key (tenant_id, id)
) with (fillfactor = 50, autovacuum_analyze_threshold = 2000000000);
comment on table flowgres.runners is $$Runner processes, alive or gone

One row a process; its heartbeat is the lease of everything it has claimed.$$;
create index runners_live_idx on flowgres.runners (seen_at) where stopped_at is null;

-- What travels between the statements of one advance. Not stored anywhere.

create type flowgres.step_report as (
  t uuid,
  x uuid,
  q bigint,
  k bigint,
  s smallint,
  o text,
  ms double precision,
  "out" jsonb,
  error jsonb,
  taken text[],
  detail jsonb,
  logs jsonb,
  seconds double precision,
  workflow text,
  version integer,
  input jsonb,
  ahead jsonb,
  child uuid
);
comment on type flowgres.step_report is $$What a runner says of one lease: its keys are the keys of the JSON it sends

t tenant, x execution, q queue row, k token, s step index, o outcome, ms elapsed milliseconds. ahead: steps that its runner ran
ahead under the same lease, one after the other, as an array of objects with s, o, ms, out, error, taken, detail, logs. child is
set by the engine.$$;

create type flowgres.step_outcome as (
  slot integer,
  tenant_id uuid,
  execution_id uuid,
  queue_id bigint,
  version_id uuid,
  step_index smallint,
  iteration integer,
  attempt smallint,
  generation smallint,
  outcome text,
  step text,
  step_type text,
  edge text,
  untaken smallint[],
  is_unhandled boolean,
  is_resumed boolean,
  is_recorded boolean,
  ready_at timestamptz,
  began_at timestamptz,
  due_at timestamptz,
  child_execution_id uuid,
  output jsonb,
  error jsonb,
  detail jsonb
);
comment on type flowgres.step_outcome is $$What the engine made of a report that is more than the end of a step at its first try.$$;

create type flowgres.resolved_step as (
  slot integer,
  tenant_id uuid,
  execution_id uuid,
  version_id uuid,
  queue_id bigint,
  step_index smallint,
  step text,
  children smallint[],
  untaken smallint[],
  edge text,
  outcome text
);
comment on type flowgres.resolved_step is $$A step that reached its end and whose children must now be looked at.$$;

create type flowgres.ready_step as (
  slot integer,
  tenant_id uuid,
  execution_id uuid,
  version_id uuid,
  queue_id bigint,
  step_index smallint,
  capability text,
  priority smallint
);
comment on type flowgres.ready_step is $$A step whose dependencies are met; queue_id is the row of the step that made it so.$$;

create type flowgres.claimed_step as (
  queue_id bigint,
  token bigint,
  tenant_id uuid,
  execution_id uuid,
  version_id uuid,
  step_index smallint,
  iteration integer,
  attempt smallint,
  generation smallint,
  handed boolean,
  context json,
  resume jsonb
);
comment on type flowgres.claimed_step is $$A leased step, as a runner receives it

context is null when the step was handed over to the runner that completed its parent. It is json, which is made in one go as
the text that leaves.$$;

create type flowgres.advance_state as (
  now timestamptz,
  runner_id uuid,
  capabilities text[],
  tenant_ids uuid[],
  execution_ids uuid[],
  event_seqs integer[],
  resolved_counts integer[],
  total_counts integer[],
  failing_flags boolean[],
  started_flags boolean[],
  running_flags boolean[],
  touched_slots integer[],
  last_seqs integer[],
  newly_resolved integer[],
  newly_completed integer[],
  began_at timestamptz[],
  moving_slots integer[],
  lease_count integer,
  done_slots integer[],
  done_queue_ids bigint[],
  outcomes flowgres.step_outcome[],
  frontier flowgres.resolved_step[],
  ended flowgres.resolved_step[],
  ready flowgres.ready_step[],
  failing_errors jsonb
);
comment on type flowgres.advance_state is $$One batch on its way through the advance

The executions of the batch are numbered by slot; what was read of them under the lock lies in arrays by slot, so that no
statement has to join the batch with itself. What the batch has done to them lies in arrays beside touched_slots. Most reports
are plain ends of steps: those are written as they are judged, and only the others travel on, as outcomes.$$;
