-- Entity state machines, as clients read and command them.

set local role flowgres_owner;

create or replace view flowgres_api.workflow_states with (security_invoker = true) as
select
  s.id,
  s.tenant_id,
  w.id as workflow_id,
  w.name as workflow_name,
  v.version,
  s.name,
  s.is_initial,
  s.is_final,
  s.metadata,
  s.place,
  s.sla_seconds,
  s.sla_to,
  v.created_at
from flowgres.workflows as w
join flowgres.workflow_versions as v
  on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = coalesce(w.active_version, w.latest_version)
join flowgres.machine_states as s on s.tenant_id = v.tenant_id and s.version_id = v.id
where w.deleted_at is null;

comment on view flowgres_api.workflow_states is $$States of state machines

Those of the active version of each machine; of one that has none, of its latest.$$;
comment on column flowgres_api.workflow_states.id is $$Identifier of the state$$;
comment on column flowgres_api.workflow_states.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.workflow_states.workflow_id is $$The machine$$;
comment on column flowgres_api.workflow_states.workflow_name is $$Name of the machine$$;
comment on column flowgres_api.workflow_states.version is $$Number of the version$$;
comment on column flowgres_api.workflow_states.name is $$Name of the state, unique within the version$$;
comment on column flowgres_api.workflow_states.is_initial is $$Whether instances begin in it$$;
comment on column flowgres_api.workflow_states.is_final is $$Whether an instance in it is completed$$;
comment on column flowgres_api.workflow_states.metadata is $$The author's metadata$$;
comment on column flowgres_api.workflow_states.place is $$Place in the definition, from 0$$;
comment on column flowgres_api.workflow_states.sla_seconds is $$How long an instance should stay in it at most; null is any time$$;
comment on column flowgres_api.workflow_states.sla_to is $$The state that comes after that time$$;
comment on column flowgres_api.workflow_states.created_at is $$When the version was imported$$;

create or replace view flowgres_api.workflow_transitions with (security_invoker = true) as
select
  t.id,
  t.tenant_id,
  w.id as workflow_id,
  w.name as workflow_name,
  v.version,
  t.from_state,
  t.to_state,
  t.name as transition_name,
  t.conditions,
  t.context,
  t.metadata,
  t.place,
  t.guard::text as guard,
  t.roles,
  t.required,
  t.start,
  v.created_at
from flowgres.workflows as w
join flowgres.workflow_versions as v
  on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = coalesce(w.active_version, w.latest_version)
join flowgres.machine_transitions as t on t.tenant_id = v.tenant_id and t.version_id = v.id
where w.deleted_at is null;

comment on view flowgres_api.workflow_transitions is $$Transitions of state machines

Those of the active version of each machine; of one that has none, of its latest.$$;
comment on column flowgres_api.workflow_transitions.id is $$Identifier of the transition$$;
comment on column flowgres_api.workflow_transitions.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.workflow_transitions.workflow_id is $$The machine$$;
comment on column flowgres_api.workflow_transitions.workflow_name is $$Name of the machine$$;
comment on column flowgres_api.workflow_transitions.version is $$Number of the version$$;
comment on column flowgres_api.workflow_transitions.from_state is $$State that it leaves; null is every state that is not final$$;
comment on column flowgres_api.workflow_transitions.to_state is $$State that it leads to$$;
comment on column flowgres_api.workflow_transitions.transition_name is $$Its name$$;
comment on column flowgres_api.workflow_transitions.conditions is $$The author's conditions: told; what they demand with enforce is in required$$;
comment on column flowgres_api.workflow_transitions.context is $$The author's context: told, and not evaluated$$;
comment on column flowgres_api.workflow_transitions.metadata is $$The author's metadata$$;
comment on column flowgres_api.workflow_transitions.place is $$Place in the definition, from 0; of those from one state to another the first counts$$;
comment on column flowgres_api.workflow_transitions.guard is $$jsonpath that has to hold; null when none has to$$;
comment on column flowgres_api.workflow_transitions.roles is $$Business roles of which the caller needs one; none when empty$$;
comment on column flowgres_api.workflow_transitions.required is $$Fields that have to be there$$;
comment on column flowgres_api.workflow_transitions.start is $$The execution that it starts: {workflow, input, on_success, on_failure}$$;
comment on column flowgres_api.workflow_transitions.created_at is $$When the version was imported$$;

-- What is looked up stands in the list and not in the joins: nobody who counts or filters pays for it.
create or replace view flowgres_api.entity_workflows with (security_invoker = true) as
select
  i.id,
  i.tenant_id,
  i.entity_table,
  i.entity_id,
  i.workflow_id,
  i.workflow_name,
  (
    select coalesce(v.version_label, v.version::text)
    from flowgres.workflow_versions as v
    where v.tenant_id = i.tenant_id and v.id = i.version_id
  ) as workflow_version,
  i.state as current_state,
  (
    select s.metadata from flowgres.machine_states as s
    where s.tenant_id = i.tenant_id and s.version_id = i.version_id and s.name = i.state
  ) as current_state_metadata,
  i.started_at,
  i.updated_at,
  i.completed_at,
  case when i.completed_at is null then 'active' else 'completed' end as status,
  i.metadata,
  i.started_by,
  i.version_id,
  i.due_at
from flowgres.instances as i;

comment on view flowgres_api.entity_workflows is $$Instances of state machines

Each is one business record on its way. An entity has one active instance of a machine, and any number of completed ones.$$;
comment on column flowgres_api.entity_workflows.id is $$Identifier of the instance$$;
comment on column flowgres_api.entity_workflows.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.entity_workflows.entity_table is $$Where the record lives$$;
comment on column flowgres_api.entity_workflows.entity_id is $$Which record it is$$;
comment on column flowgres_api.entity_workflows.workflow_id is $$The machine$$;
comment on column flowgres_api.entity_workflows.workflow_name is $$Name of the machine$$;
comment on column flowgres_api.entity_workflows.workflow_version is $$The author's text for the version that it moves by, else its number$$;
comment on column flowgres_api.entity_workflows.current_state is $$The state that it is in$$;
comment on column flowgres_api.entity_workflows.current_state_metadata is $$The author's metadata of that state$$;
comment on column flowgres_api.entity_workflows.started_at is $$When it started$$;
comment on column flowgres_api.entity_workflows.updated_at is $$When it last moved$$;
comment on column flowgres_api.entity_workflows.completed_at is $$When it came into the final state that it is in; null in any other$$;
comment on column flowgres_api.entity_workflows.status is $$active, or completed in a final state$$;
comment on column flowgres_api.entity_workflows.metadata is $$What was said when it started$$;
comment on column flowgres_api.entity_workflows.started_by is $$Who was authenticated when it started$$;
comment on column flowgres_api.entity_workflows.version_id is $$The version that it moves by$$;
comment on column flowgres_api.entity_workflows.due_at is $$When the sla of its state moves it on; null when it has none, or when that was refused$$;

create or replace view flowgres_api.workflow_history with (security_invoker = true) as
select
  h.id,
  h.tenant_id,
  h.instance_id as entity_workflow_instance_id,
  h.seq,
  i.entity_table,
  i.entity_id,
  i.workflow_name,
  h.from_state,
  h.to_state,
  h.transition_name,
  h.executed_by,
  h.actor,
  h.executed_at,
  h.metadata,
  h.context,
  h.notes,
  h.transition_id,
  encode(h.hash, 'hex') as hash
from flowgres.instance_history as h
join flowgres.instances as i on i.tenant_id = h.tenant_id and i.id = h.instance_id;

comment on view flowgres_api.workflow_history is $$What instances have gone through

One row for the start and one for each transition. Rows are only ever added; verify_history says whether they are as they were written.$$;
comment on column flowgres_api.workflow_history.id is $$Identifier of the row$$;
comment on column flowgres_api.workflow_history.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.workflow_history.entity_workflow_instance_id is $$The instance$$;
comment on column flowgres_api.workflow_history.seq is $$Number within the instance, from 1$$;
comment on column flowgres_api.workflow_history.entity_table is $$Where the record lives$$;
comment on column flowgres_api.workflow_history.entity_id is $$Which record it is$$;
comment on column flowgres_api.workflow_history.workflow_name is $$Name of the machine$$;
comment on column flowgres_api.workflow_history.from_state is $$State before; null at the start$$;
comment on column flowgres_api.workflow_history.to_state is $$State after$$;
comment on column flowgres_api.workflow_history.transition_name is $$Name of the transition; null at the start, migrated of a migration$$;
comment on column flowgres_api.workflow_history.executed_by is $$Who did it, as the caller says$$;
comment on column flowgres_api.workflow_history.actor is $$Who was authenticated: the subject of a token, key:<prefix>, login:<name>$$;
comment on column flowgres_api.workflow_history.executed_at is $$When it happened$$;
comment on column flowgres_api.workflow_history.metadata is $$What was sent along$$;
comment on column flowgres_api.workflow_history.context is $$The context that was sent along$$;
comment on column flowgres_api.workflow_history.notes is $$Free text$$;
comment on column flowgres_api.workflow_history.transition_id is $$The transition; null at the start and of a migration$$;
comment on column flowgres_api.workflow_history.hash is $$SHA-256 over the hash of the row before and this row, in hexadecimal$$;

create or replace function flowgres_api.start_workflow(
  workflow_name text, entity_table text, entity_id text, metadata jsonb default '{}'
)
  returns uuid language sql
as $$
  select flowgres.start_workflow(
    p_workflow => workflow_name, p_entity_table => entity_table, p_entity_id => entity_id, p_metadata => metadata);
$$;
comment on function flowgres_api.start_workflow(text, text, text, jsonb) is $$Start an instance of a state machine for an entity

workflow_name is a name or an id. Returns the id of the instance. 409 instance_exists when the entity has an active one; details
{instance_id} says which.$$;

create or replace function flowgres_api.start_workflow_by_id(
  workflow_definition_id uuid, entity_table text, entity_id text, metadata jsonb default '{}'
)
  returns uuid language sql
as $$
  select flowgres.start_workflow(
    p_workflow => workflow_definition_id::text, p_entity_table => entity_table, p_entity_id => entity_id, p_metadata => metadata);
$$;
comment on function flowgres_api.start_workflow_by_id(uuid, text, text, jsonb) is $$Start an instance of a state machine, by the machine's id

Otherwise the same as start_workflow.$$;

create or replace function flowgres_api.start_workflows(workflow text, entities jsonb, on_error text default 'fail')
  returns jsonb language sql
as $$ select flowgres.start_workflows(p_workflow => workflow, p_entities => entities, p_on_error => on_error); $$;
comment on function flowgres_api.start_workflows(text, jsonb, text) is $$Start instances of a state machine for many entities

entities is [{entity_table, entity_id, metadata}], as many as the setting max_bulk_starts. on_error is fail (all or none) or report.
Returns {started, refused, results: [{entity_table, entity_id, instance_id, ...}]} in their order; where none began, error: {code,
message} is there too, and instance_id is the active one.$$;

create or replace function flowgres_api.execute_transition(
  instance_id uuid, to_state text, executed_by text default 'api_user', metadata jsonb default '{}', context jsonb default '{}',
  notes text default null, idempotency_key text default null
)
  returns jsonb language sql
as $$
  select flowgres.execute_transition(
    p_instance_id => instance_id, p_to => to_state, p_executed_by => executed_by, p_metadata => metadata, p_context => context,
    p_notes => notes, p_idempotency_key => flowgres.given_key('execute_transition', idempotency_key));
$$;
comment on function flowgres_api.execute_transition(uuid, text, text, jsonb, jsonb, text, text) is $$Move an instance to a state

Returns true. metadata, context and notes go into the history, executed_by too, beside who was authenticated. With an idempotency_key, or
the header Idempotency-Key, it happens once, and a repeated call is answered as the first one was; another payload is 422. Refused transitions are in
the audit log: 403 transition_forbidden (roles), 409 transition_not_allowed (details {current_state, possible_transitions}), 422
transition_fields_missing, transition_guard_refused or state_unknown; and what start_execution refuses, when the transition starts one.
details are JSON, as text.$$;

create or replace function flowgres_api.execute_transitions(
  instances uuid[], to_state text, executed_by text default 'api_user', metadata jsonb default '{}', context jsonb default '{}',
  notes text default null, on_error text default 'fail'
)
  returns jsonb language sql
as $$
  select flowgres.execute_transitions(
    p_instances => instances, p_to => to_state, p_executed_by => executed_by, p_metadata => metadata, p_context => context,
    p_notes => notes, p_on_error => on_error);
$$;
comment on function flowgres_api.execute_transitions(uuid[], text, text, jsonb, jsonb, text, text) is $$Move many instances to a state

As many as the setting max_bulk_starts. on_error is fail (all or none) or report. Returns {moved, refused, results: [{instance_id, ...}]}
in their order; where one did not move, error: {code, message, details, hint} is there too.$$;

create or replace function flowgres_api.get_transitions(instance_id uuid)
  returns setof flowgres.possible_transition language sql stable rows 5
as $$ select flowgres.get_transitions(p_instance_id => instance_id); $$;
comment on function flowgres_api.get_transitions(uuid) is $$List where an instance may go

Returns [{transition_id, transition_name, to_state_name, to_state_metadata, transition_context, transition_conditions, is_allowed, needs}],
one for each state that it may go to. is_allowed: whether the caller may take it, as far as that is known before anything is sent along;
needs: {roles, fields, guard}, where fields are those to be sent in metadata or context.$$;

create or replace function flowgres_api.verify_history(
  instance_id uuid default null, after uuid default null, "limit" integer default 1000
)
  returns jsonb language sql stable
as $$ select flowgres.verify_history(p_instance_id => instance_id, p_after => after, p_limit => "limit"); $$;
comment on function flowgres_api.verify_history(uuid, uuid, integer) is $$Check that history is as it was written

Of one instance, or of all of them in pages of limit (10,000 at most): go on with after = next until that is null. Returns {valid,
instances, rows, problems: [{instance_id, seq, problem}], next}; problem is row_changed, row_removed, row_inserted, head_changed,
state_changed or instance_removed.$$;

create or replace function flowgres_api.export_history(
  workflow text default null, since timestamptz default null, after text default null, "limit" integer default 1000
)
  returns jsonb language sql stable
as $$ select flowgres.export_history(p_workflow => workflow, p_since => since, p_after => after, p_limit => "limit"); $$;
comment on function flowgres_api.export_history(text, timestamptz, text, integer) is $$Export history as lines of JSON

Of one machine or of all, in pages of limit (10,000 at most, fewer where they are large): go on with after = next until that is null; a
page may have no line. Returns {lines: [text], next}. Lines hold a row with its hash and previous_hash, instance by instance in the order
of the chain; the first of an instance also what previous_hash is made of there.$$;

create or replace function flowgres_api.migrate_instances(
  workflow text, to_version integer, map jsonb default '{}', from_version integer default null, completed boolean default false,
  dry_run boolean default false, "limit" integer default 10000
)
  returns jsonb language sql
as $$
  select flowgres.migrate_instances(
    p_workflow => workflow, p_to_version => to_version, p_map => map, p_from_version => from_version, p_completed => completed,
    p_dry_run => dry_run, p_limit => "limit");
$$;
comment on function flowgres_api.migrate_instances(text, integer, jsonb, integer, boolean, boolean, integer) is $$Move instances to another version of their machine

For administrators. All that are not completed, and with completed those too, of all other versions or of from_version; limit (10,000 at
most) in a call: call again until remaining is 0. map is {old state: new state}; states of the same name need no entry, and one without
counterpart that an instance is in refuses the call (422 state_unmapped). dry_run changes nothing and looks at all. Returns {workflow,
to_version, dry_run, migrated, remaining, moves: [{from_version, from_state, to_state, instances}], problems: [{code, from_version,
from_state, to_state, instances, message}], examples: [{instance_id, entity_table, entity_id, from_version, from_state, to_state}]}.$$;

create or replace function flowgres_api.workflows(flowgres_api.entity_workflows)
  returns setof flowgres_api.workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.workflow_id;
$$;
comment on function flowgres_api.workflows(flowgres_api.entity_workflows) is $$The machine of an instance, for embedding.$$;

create or replace function flowgres_api.workflow_history(flowgres_api.entity_workflows)
  returns setof flowgres_api.workflow_history language sql stable rows 5
as $$
  select x.* from flowgres_api.workflow_history as x where x.tenant_id = $1.tenant_id and x.entity_workflow_instance_id = $1.id;
$$;
comment on function flowgres_api.workflow_history(flowgres_api.entity_workflows) is $$What an instance has gone through, for embedding.$$;

create or replace function flowgres_api.entity_workflows(flowgres_api.workflow_history)
  returns setof flowgres_api.entity_workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.entity_workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.entity_workflow_instance_id;
$$;
comment on function flowgres_api.entity_workflows(flowgres_api.workflow_history) is $$The instance of a row of history, for embedding.$$;

create or replace function flowgres_api.entity_workflows(flowgres_api.workflows)
  returns setof flowgres_api.entity_workflows language sql stable rows 100
as $$
  select x.* from flowgres_api.entity_workflows as x
  where x.tenant_id = $1.tenant_id and x.workflow_name = $1.name and x.workflow_id = $1.id;
$$;
comment on function flowgres_api.entity_workflows(flowgres_api.workflows) is $$The instances of a machine, for embedding.$$;

create or replace function flowgres_api.workflow_states(flowgres_api.workflows)
  returns setof flowgres_api.workflow_states language sql stable rows 5
as $$
  select x.* from flowgres_api.workflow_states as x where x.tenant_id = $1.tenant_id and x.workflow_id = $1.id;
$$;
comment on function flowgres_api.workflow_states(flowgres_api.workflows) is $$The states of a machine, for embedding.$$;

create or replace function flowgres_api.workflow_transitions(flowgres_api.workflows)
  returns setof flowgres_api.workflow_transitions language sql stable rows 10
as $$
  select x.* from flowgres_api.workflow_transitions as x where x.tenant_id = $1.tenant_id and x.workflow_id = $1.id;
$$;
comment on function flowgres_api.workflow_transitions(flowgres_api.workflows) is $$The transitions of a machine, for embedding.$$;
