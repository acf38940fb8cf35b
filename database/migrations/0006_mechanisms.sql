-- Mechanisms that many features share: rows that are held back, what a parked row waits for, the number of a step's end, the
-- phase of an execution; and chains of computing steps, compiled.
--
-- On a large history the new index takes a while to build, and starts wait for it: upgrade at a quiet hour. What is dropped here
-- is the engine's own, and nobody else's.
-- squawk-ignore-file ban-drop-column, ban-drop-constraint, ban-drop-type, require-concurrent-index-creation, require-concurrent-index-deletion

set local role flowgres_owner;

alter table flowgres.work_queue
add column held boolean not null default false,
add column waits_for text;
comment on column flowgres.work_queue.held is $$Not to be claimed until it is let go; its timer runs on.$$;
comment on column flowgres.work_queue.waits_for is $$What a parked row waits for, a word with its key: start, retry, timer, child:<execution>.$$;

-- What waits in a line, and nothing else. Of a row that is held the claim sees nothing.
drop index flowgres.work_queue_ready_idx;
create index work_queue_ready_idx on flowgres.work_queue (capability, tenant_id, priority, is_new, id)
where runner_id is null and due_at is null and not held;

alter table flowgres.step_executions
add column seq integer,
add column is_logged boolean;
comment on column flowgres.step_executions.seq is $$Number of the event of its end: the order in which the steps of an execution ended

Null while it goes on, for the hidden outputs step, and for steps that ended before this column was there.$$;
comment on column flowgres.step_executions.is_logged is $$True when rows of events tell of this step; else this row alone says when it began and ended, and the view of events reads it.$$;

alter table flowgres.executions
add column phase text not null default 'run';
update flowgres.executions as e
set phase = 'always'
from (select distinct q.tenant_id, q.execution_id from flowgres.work_queue as q) as q
where e.tenant_id = q.tenant_id and e.id = q.execution_id and e.is_failing;
alter table flowgres.executions
drop column is_failing,
add constraint executions_phase_is_known check (
  phase = 'run' or phase = 'always' or phase = 'compensate' or phase = 'on_failure'
) not valid;
comment on column flowgres.executions.phase is $$run, or what follows an unhandled failure: always (only steps that join always still run), compensate, on_failure.$$;

-- A tenant's newest executions. The predicate holds for every row and is named by the view alone: so no statement of the engine
-- can take this index for one that finds a row by its key, as it would on a young table.
drop index flowgres.executions_created_idx;
create index executions_list_idx on flowgres.executions (tenant_id, created_at)
where created_at > '-infinity';

alter table flowgres.attempts drop constraint attempts_status_is_known;
alter table flowgres.attempts add constraint attempts_status_is_known check (
  status in ('completed', 'failed', 'lost', 'cancelled', 'discarded')
) not valid;

-- Workflows that were deleted lately, few: a start that had looked before may commit after.
create index workflows_deleted_idx on flowgres.workflows (deleted_at) where deleted_at is not null;

create table flowgres.chains (
  tenant_id uuid not null,
  version_id uuid not null,
  head smallint not null,
  indexes smallint[] not null,
  steps text[] not null,
  types text[] not null,
  event_count smallint not null,
  is_whole boolean not null,
  constraint chains_pkey primary key (tenant_id, version_id, head),
  constraint chains_version_fkey foreign key (tenant_id, version_id)
  references flowgres.workflow_versions (tenant_id, id) on delete cascade,
  constraint chains_are_parallel check (
    cardinality(indexes) between 1 and 16 and cardinality(steps) = cardinality(indexes) and cardinality(types) = cardinality(indexes)
  )
);
comment on table flowgres.chains is $$Chains of plain steps, compiled from each step that may begin one

A step, and those that hang one after the other on the one before alone and only compute. A lease whose chain completed as a
whole is recorded in one go.$$;
comment on column flowgres.chains.tenant_id is $$Tenant that owns the row.$$;
comment on column flowgres.chains.version_id is $$The version that the steps are of.$$;
comment on column flowgres.chains.head is $$Index of the first step: the one that is leased.$$;
comment on column flowgres.chains.indexes is $$Indexes of the steps, the head first.$$;
comment on column flowgres.chains.steps is $$Their ids.$$;
comment on column flowgres.chains.types is $$Their types.$$;
comment on column flowgres.chains.event_count is $$Events of their starts and ends: two a step, none of the hidden outputs step.$$;
comment on column flowgres.chains.is_whole is $$The last one is the only step of the version without children: its output is the execution's.$$;

create table flowgres.pending_wakes (
  tenant_id uuid not null,
  execution_id uuid not null,
  requested_at timestamptz not null,
  constraint pending_wakes_pkey primary key (tenant_id, execution_id)
);
comment on table flowgres.pending_wakes is $$Ended child executions whose parent's row somebody else held

Whoever ends an execution waits for no lock of its parent, so it leaves a row here for the next sweep.$$;
comment on column flowgres.pending_wakes.tenant_id is $$Tenant that owns the row.$$;
comment on column flowgres.pending_wakes.execution_id is $$The child execution that has ended.$$;
comment on column flowgres.pending_wakes.requested_at is $$When it ended.$$;

-- The parts of the advance take and give these; all of them are written anew by the schema files.
drop type flowgres.advance_state cascade;
drop type flowgres.step_outcome cascade;
drop type flowgres.resolved_step cascade;
drop type flowgres.ready_step cascade;
alter type flowgres.claimed_step add attribute is_passed_over boolean;

create type flowgres.step_outcome as (
  slot integer,
  tenant_id uuid,
  execution_id uuid,
  queue_id bigint,
  step_index smallint,
  iteration integer,
  attempt smallint,
  generation smallint,
  outcome text,
  step text,
  step_type text,
  join_rule text,
  edge text,
  untaken smallint[],
  is_unhandled boolean,
  is_resumed boolean,
  is_recorded boolean,
  seq integer,
  ready_at timestamptz,
  began_at timestamptz,
  due_at timestamptz,
  waits_for text,
  child_execution_id uuid,
  output jsonb,
  error jsonb,
  detail jsonb
);
comment on type flowgres.step_outcome is $$What the engine made of a report that is more than the end of a step at its first try.$$;

create type flowgres.resolved_step as (
  slot integer,
  queue_id bigint,
  step_index smallint,
  step text,
  join_rule text,
  children smallint[],
  untaken smallint[],
  edge text,
  outcome text
);
comment on type flowgres.resolved_step is $$A step that reached its end and whose children must now be looked at; queue_id is the row that is free for one of them.$$;

create type flowgres.ready_step as (
  slot integer,
  queue_id bigint,
  step_index smallint,
  capability text
);
comment on type flowgres.ready_step is $$A step whose dependencies are met; queue_id is the row of the step that made it so.$$;

create type flowgres.advance_state as (
  now timestamptz,
  runner_id uuid,
  capabilities text[],
  room integer,
  tenant_ids uuid[],
  execution_ids uuid[],
  version_ids uuid[],
  passed_over_ids uuid[],
  event_seqs integer[],
  resolved_counts integer[],
  total_counts integer[],
  priorities smallint[],
  generations smallint[],
  failing_flags boolean[],
  started_flags boolean[],
  running_flags boolean[],
  touched_slots integer[],
  last_seqs integer[],
  newly_resolved integer[],
  newly_completed integer[],
  began_at timestamptz[],
  moving_slots integer[],
  held_queue_ids bigint[],
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
statement has to join the batch with itself. last_seqs are by slot, too; what else the batch has done lies beside touched_slots.
Most reports are plain ends of steps: those are written as they are judged, and only the others travel on, as outcomes.$$;

update flowgres.work_queue as q
set waits_for = 'child:' || c.id
from flowgres.executions as c
where q.due_at = 'infinity' and c.tenant_id = q.tenant_id and c.parent_execution_id = q.execution_id and c.parent_queue_id = q.id
  and c.parent_step_index = q.step_index and c.finished_at is null;
