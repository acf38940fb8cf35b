-- Entity state machines: states and transitions of versions, the instances that move through them, and what they have gone through.

set local role flowgres_owner;

create table flowgres.machine_states (
  tenant_id uuid not null,
  version_id uuid not null,
  name text not null,
  id uuid not null,
  place smallint not null,
  is_initial boolean not null,
  is_final boolean not null,
  metadata jsonb not null,
  sla_seconds double precision,
  sla_to text,
  constraint machine_states_pkey primary key (tenant_id, version_id, name),
  constraint machine_states_version_fkey foreign key (tenant_id, version_id)
  references flowgres.workflow_versions (tenant_id, id) on delete cascade,
  constraint machine_states_final_has_no_sla check (not is_final or sla_to is null),
  constraint machine_states_sla_is_whole check ((sla_seconds is null) = (sla_to is null))
);
comment on table flowgres.machine_states is $$States of the versions of state machines, compiled at import$$;
comment on column flowgres.machine_states.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.machine_states.version_id is $$The version that it belongs to$$;
comment on column flowgres.machine_states.name is $$Its name, unique within the version$$;
comment on column flowgres.machine_states.id is $$Identifier$$;
comment on column flowgres.machine_states.place is $$Place in the definition, from 0$$;
comment on column flowgres.machine_states.is_initial is $$Whether instances begin in it: one state of a version$$;
comment on column flowgres.machine_states.is_final is $$Whether an instance in it is completed$$;
comment on column flowgres.machine_states.metadata is $$The author's metadata$$;
comment on column flowgres.machine_states.sla_seconds is $$How long an instance should stay in it at most; null is any time$$;
comment on column flowgres.machine_states.sla_to is $$The state that comes after that time$$;

create unique index machine_states_initial_idx on flowgres.machine_states (tenant_id, version_id) where is_initial;

create table flowgres.machine_transitions (
  tenant_id uuid not null,
  version_id uuid not null,
  place integer not null,
  id uuid not null,
  name text not null,
  from_state text,
  to_state text not null,
  conditions jsonb not null,
  context jsonb not null,
  metadata jsonb not null,
  guard jsonpath,
  roles text[] not null,
  required text[] not null,
  start jsonb,
  constraint machine_transitions_pkey primary key (tenant_id, version_id, place),
  constraint machine_transitions_version_fkey foreign key (tenant_id, version_id)
  references flowgres.workflow_versions (tenant_id, id) on delete cascade
);
comment on table flowgres.machine_transitions is $$Transitions of the versions of state machines, compiled at import

A definition without transitions has those from every state that is not final to every other.$$;
comment on column flowgres.machine_transitions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.machine_transitions.version_id is $$The version that it belongs to$$;
comment on column flowgres.machine_transitions.place is $$Place in the definition, from 0; of those that lead from one state to another the first counts$$;
comment on column flowgres.machine_transitions.id is $$Identifier, as the history names it$$;
comment on column flowgres.machine_transitions.name is $$Its name$$;
comment on column flowgres.machine_transitions.from_state is $$State that it leaves; null is every state that is not final$$;
comment on column flowgres.machine_transitions.to_state is $$State that it leads to$$;
comment on column flowgres.machine_transitions.conditions is $$The author's conditions: returned; evaluated where the author says enforce, as required$$;
comment on column flowgres.machine_transitions.context is $$The author's context: returned, never evaluated$$;
comment on column flowgres.machine_transitions.metadata is $$The author's metadata$$;
comment on column flowgres.machine_transitions.guard is $$What has to hold of the instance and of what is sent along; null when nothing has to$$;
comment on column flowgres.machine_transitions.roles is $$Business roles of which the caller needs one; none is needed when empty$$;
comment on column flowgres.machine_transitions.required is $$Fields that have to be there, in what is sent along or in the instance's metadata$$;
comment on column flowgres.machine_transitions.start is $$The execution that it starts: {workflow, input, on_success, on_failure}$$;

create index machine_transitions_to_idx on flowgres.machine_transitions (tenant_id, version_id, to_state, from_state, place);

create table flowgres.instances (
  tenant_id uuid not null,
  id uuid not null,
  workflow_id uuid not null,
  workflow_name text not null,
  version_id uuid not null,
  entity_table text not null,
  entity_id text not null,
  state text not null,
  metadata jsonb not null,
  started_by text not null,
  started_at timestamptz not null,
  updated_at timestamptz not null,
  completed_at timestamptz,
  history_count integer not null,
  history_head bytea not null,
  constraint instances_pkey primary key (tenant_id, id)
) with (fillfactor = 80);
comment on table flowgres.instances is $$Business records on their way through state machines

An instance stays on the version that it started with until it is migrated. Rows are never deleted: their history needs them.$$;
comment on column flowgres.instances.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.instances.id is $$Identifier$$;
comment on column flowgres.instances.workflow_id is $$The state machine$$;
comment on column flowgres.instances.workflow_name is $$Its name, which never changes: so that lists by machine and state are ranges of one index$$;
comment on column flowgres.instances.version_id is $$The version that it moves by$$;
comment on column flowgres.instances.entity_table is $$Where the record lives, in its owner's words$$;
comment on column flowgres.instances.entity_id is $$Which record it is, in its owner's words$$;
comment on column flowgres.instances.state is $$The state that it is in$$;
comment on column flowgres.instances.metadata is $$What was said when it started; never changed$$;
comment on column flowgres.instances.started_by is $$Who was authenticated when it started$$;
comment on column flowgres.instances.started_at is $$When it started$$;
comment on column flowgres.instances.updated_at is $$When it last moved$$;
comment on column flowgres.instances.completed_at is $$When it came into the final state that it is in; null in any other$$;
comment on column flowgres.instances.history_count is $$Rows of its history$$;
comment on column flowgres.instances.history_head is $$Hash of the last row of its history$$;

-- Two starts of one entity at once meet here.
create unique index instances_active_idx on flowgres.instances (tenant_id, entity_table, entity_id, workflow_id) where completed_at is null;
create index instances_entity_idx on flowgres.instances (tenant_id, entity_id, entity_table);
create index instances_state_idx on flowgres.instances (tenant_id, workflow_name, state, updated_at);
create index instances_updated_idx on flowgres.instances (tenant_id, updated_at);

create table flowgres.instance_history (
  tenant_id uuid not null,
  instance_id uuid not null,
  seq integer not null,
  id uuid not null,
  from_state text,
  to_state text not null,
  transition_id uuid,
  transition_name text,
  executed_by text not null,
  actor text not null,
  executed_at timestamptz not null,
  metadata jsonb not null,
  context jsonb not null,
  notes text,
  hash bytea not null,
  constraint instance_history_pkey primary key (tenant_id, instance_id, seq)
);
comment on table flowgres.instance_history is $$What instances have gone through: one row for the start and one for each transition

Rows are only ever added: no role but the owner may change or delete them, and the hash of each row covers the one before.$$;
comment on column flowgres.instance_history.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.instance_history.instance_id is $$The instance$$;
comment on column flowgres.instance_history.seq is $$Number within the instance, from 1$$;
comment on column flowgres.instance_history.id is $$Identifier$$;
comment on column flowgres.instance_history.from_state is $$State before; null at the start$$;
comment on column flowgres.instance_history.to_state is $$State after$$;
comment on column flowgres.instance_history.transition_id is $$The transition; null at the start and of a migration$$;
comment on column flowgres.instance_history.transition_name is $$Its name; null at the start, migrated of a migration$$;
comment on column flowgres.instance_history.executed_by is $$Who did it, as the caller says$$;
comment on column flowgres.instance_history.actor is $$Who was authenticated$$;
comment on column flowgres.instance_history.executed_at is $$When it happened$$;
comment on column flowgres.instance_history.metadata is $$What was sent along$$;
comment on column flowgres.instance_history.context is $$The context that was sent along$$;
comment on column flowgres.instance_history.notes is $$Free text$$;
comment on column flowgres.instance_history.hash is $$SHA-256 over the hash before and this row$$;

create index instance_history_time_idx on flowgres.instance_history (tenant_id, executed_at);

create type flowgres.possible_transition as (
  transition_id uuid,
  transition_name text,
  to_state_name text,
  to_state_metadata jsonb,
  transition_context jsonb,
  transition_conditions jsonb,
  is_allowed boolean,
  needs jsonb
);
comment on type flowgres.possible_transition is $$Where an instance may go: a row of get_transitions

is_allowed says whether the caller may take it, as far as that is known before anything is sent along; needs is {roles, fields, guard}.$$;

-- Executions that transitions start, and how their ends move the instance on.

create table flowgres.instance_executions (
  tenant_id uuid not null,
  instance_id uuid not null,
  seq integer not null,
  execution_id uuid not null,
  workflow_id uuid not null,
  workflow_name text not null,
  on_success text,
  on_failure text,
  status text,
  ended_at timestamptz,
  due_at timestamptz,
  moved_to text,
  refusal jsonb,
  constraint instance_executions_pkey primary key (tenant_id, instance_id, seq),
  constraint instance_executions_ended_at_matches_status check ((ended_at is not null) = (status is not null)),
  constraint instance_executions_follow_the_end check (
    status is not null or (due_at is null and moved_to is null and refusal is null))
) with (fillfactor = 80);
comment on table flowgres.instance_executions is $$Executions that transitions of instances have started

One row for each, written with the transition and brought up to date when the execution ends. It outlives the execution.$$;
comment on column flowgres.instance_executions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.instance_executions.instance_id is $$The instance$$;
comment on column flowgres.instance_executions.seq is $$Number of the transition in the history of the instance$$;
comment on column flowgres.instance_executions.execution_id is $$The execution$$;
comment on column flowgres.instance_executions.workflow_id is $$Its workflow$$;
comment on column flowgres.instance_executions.workflow_name is $$Name of that workflow$$;
comment on column flowgres.instance_executions.on_success is $$State that the instance goes to when it has completed$$;
comment on column flowgres.instance_executions.on_failure is $$State that the instance goes to when it has failed or was cancelled$$;
comment on column flowgres.instance_executions.status is $$How it ended; null until then$$;
comment on column flowgres.instance_executions.ended_at is $$When it ended$$;
comment on column flowgres.instance_executions.due_at is $$When the instance is to be moved on, as somebody held it at the end; null otherwise$$;
comment on column flowgres.instance_executions.moved_to is $$State that its end has moved the instance to$$;
comment on column flowgres.instance_executions.refusal is $$Why its end has not moved the instance: {code, message}$$;

-- The end of an execution finds its instance by this one.
create unique index instance_executions_execution_idx on flowgres.instance_executions (tenant_id, execution_id);
create index instance_executions_due_idx on flowgres.instance_executions (due_at) where due_at is not null;
-- Mostly a transition starts nothing, and that is one look at a small index.
create index machine_transitions_start_idx on flowgres.machine_transitions (tenant_id, version_id, to_state) where start is not null;

create type flowgres.transition_start as (
  instance_id uuid,
  version_place integer,
  input jsonb,
  trigger jsonb,
  on_success text,
  on_failure text
);
comment on type flowgres.transition_start is $$An execution that a transition is about to start

version_place is the place of its version in a list that goes along.$$;
-- Moving instances to another version.

-- A batch of those that are not completed is one range, however many were moved or have ended. Without the id: with it the index would
-- look as good as the key to a planner that thinks there are few.
create index instances_version_idx on flowgres.instances (tenant_id, version_id, completed_at);
-- Refused transitions are counted for each actor, and those of the engine together, so that nobody fills the audit log. It holds administrative acts, which are few.
-- squawk-ignore require-concurrent-index-creation
create index audit_log_refused_idx
on flowgres.audit_log (tenant_id, (case when actor ~ '^(execution|sla):' then 'engine' else actor end), at)
where action = 'transition_refused';
-- How long an instance may stay in a state.

-- On the instance itself: whatever moves it writes this row, so a timer is always that of the visit which goes on.
alter table flowgres.instances add column due_at timestamptz;
comment on column flowgres.instances.due_at is $$When the sla of the state that it is in moves it on; null when that has none, or when it was refused$$;

create index instances_due_idx on flowgres.instances (due_at) where due_at is not null;
