-- What clients read of workflows. Every view runs with the caller's rights and policies (security_invoker) and exposes tenant_id.

set local role flowgres_owner;

create or replace view flowgres_api.workflows with (security_invoker = true) as
select
  w.id,
  w.tenant_id,
  w.name,
  w.title,
  w.kind,
  w.status,
  w.description,
  w.metadata,
  w.active_version,
  w.status = 'active' as is_active,
  coalesce(w.active_version, nullif(w.latest_version, 0)) as version,
  case when w.kind = 'state_machine' then (
    select jsonb_agg(jsonb_build_object(
      'id', s.id, 'name', s.name, 'is_initial', s.is_initial, 'is_final', s.is_final, 'metadata', s.metadata) order by s.place)
    from flowgres.workflow_versions as v
    join flowgres.machine_states as s on s.tenant_id = v.tenant_id and s.version_id = v.id
    where v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = coalesce(w.active_version, w.latest_version)
  ) end as states,
  nullif(w.latest_version, 0) as latest_version,
  w.created_by,
  w.created_at,
  w.updated_at,
  w.pending_versions[cardinality(w.pending_versions)] as pending_version,
  p.paused_at is not null as is_paused,
  p.paused_at,
  p.paused_by
from flowgres.workflows as w
left join flowgres.pauses as p on p.tenant_id = w.tenant_id and p.workflow_id = w.id and p.resumed_at is null
where w.deleted_at is null;

comment on view flowgres_api.workflows is $$Workflows

Named definitions of both kinds; what they say is in workflow_versions.$$;
comment on column flowgres_api.workflows.id is $$Identifier of the workflow; stays the same over versions$$;
comment on column flowgres_api.workflows.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.workflows.name is $$Name by which calls refer to it, unique within the tenant$$;
comment on column flowgres_api.workflows.title is $$Display name, when the definition gave one that is no identifier$$;
comment on column flowgres_api.workflows.kind is $$dag or state_machine$$;
comment on column flowgres_api.workflows.status is $$draft, active, inactive or archived; only an active one starts executions$$;
comment on column flowgres_api.workflows.description is $$The author's description$$;
comment on column flowgres_api.workflows.metadata is $$The author's metadata$$;
comment on column flowgres_api.workflows.active_version is $$Version that new executions take; null when none ever was active$$;
comment on column flowgres_api.workflows.is_active is $$Whether status is active$$;
comment on column flowgres_api.workflows.version is $$The active version, else the latest$$;
comment on column flowgres_api.workflows.states is $$States of a state machine: [{id, name, is_initial, is_final, metadata}]; null for a dag$$;
comment on column flowgres_api.workflows.latest_version is $$Number of the newest version, active or not$$;
comment on column flowgres_api.workflows.created_by is $$Who imported it first$$;
comment on column flowgres_api.workflows.created_at is $$When it was imported first$$;
comment on column flowgres_api.workflows.updated_at is $$When the workflow or its active version last changed$$;
comment on column flowgres_api.workflows.is_paused is $$Whether none of its executions goes on until resume_workflow$$;
comment on column flowgres_api.workflows.paused_at is $$Since when it is paused$$;
comment on column flowgres_api.workflows.paused_by is $$Who paused it$$;
comment on column flowgres_api.workflows.pending_version is $$Version that becomes active when a runner has confirmed its expressions; null when none waits$$;

create or replace view flowgres_api.workflow_versions with (security_invoker = true) as
select
  v.id,
  v.tenant_id,
  v.workflow_id,
  w.name as workflow_name,
  v.version,
  v.version_label,
  v.state,
  w.status = 'active' and w.active_version = v.version as is_active,
  v.checksum,
  v.definition,
  v.source,
  v.inputs,
  v.step_count,
  v.timeout_seconds,
  v.priority,
  v.errors,
  v.created_by,
  v.created_at,
  v.version = any(w.pending_versions) as is_pending,
  flowgres.describe_start_rule(v.start_rule) as starts,
  flowgres.describe_concurrency(v.concurrency) as concurrency
from flowgres.workflow_versions as v
join flowgres.workflows as w on w.tenant_id = v.tenant_id and w.id = v.workflow_id
where w.deleted_at is null;

comment on view flowgres_api.workflow_versions is $$Versions of workflows

Immutable texts; an execution stays on the version that it started with.$$;
comment on column flowgres_api.workflow_versions.id is $$Identifier of the version$$;
comment on column flowgres_api.workflow_versions.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.workflow_versions.workflow_id is $$The workflow it is a version of$$;
comment on column flowgres_api.workflow_versions.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.workflow_versions.version is $$The engine's number, counted from 1$$;
comment on column flowgres_api.workflow_versions.version_label is $$The author's own text for the version$$;
comment on column flowgres_api.workflow_versions.state is $$draft, checking (a runner has yet to confirm its expressions), ready or invalid$$;
comment on column flowgres_api.workflow_versions.is_active is $$Whether new executions take it$$;
comment on column flowgres_api.workflow_versions.checksum is $$Fingerprint of the content: importing the same again makes no new version$$;
comment on column flowgres_api.workflow_versions.definition is $$The definition in its canonical form$$;
comment on column flowgres_api.workflow_versions.source is $$The definition as it was given$$;
comment on column flowgres_api.workflow_versions.inputs is $$Declared inputs, by name$$;
comment on column flowgres_api.workflow_versions.step_count is $$Number of steps$$;
comment on column flowgres_api.workflow_versions.timeout_seconds is $$Active time that one execution may take; waits do not count$$;
comment on column flowgres_api.workflow_versions.priority is $$Priority of its executions: 0 first, 9 last$$;
comment on column flowgres_api.workflow_versions.errors is $$What is wrong with it when its state is invalid$$;
comment on column flowgres_api.workflow_versions.created_by is $$Who imported it$$;
comment on column flowgres_api.workflow_versions.created_at is $$When it was imported$$;
comment on column flowgres_api.workflow_versions.is_pending is $$Whether it becomes active when a runner has confirmed its expressions$$;
comment on column flowgres_api.workflow_versions.concurrency is $$How many executions run at once, in words; null: any number$$;
comment on column flowgres_api.workflow_versions.starts is $$What becomes of starts that come close together, in words; null: each is an execution$$;

create or replace view flowgres_api.workflow_steps with (security_invoker = true) as
select
  s.tenant_id,
  s.version_id,
  v.workflow_id,
  v.version,
  s.index,
  s.id,
  s.id as step,
  s.type,
  s.description,
  (
    select coalesce(jsonb_agg(d.id order by d.index), '[]')
    from flowgres.workflow_steps as d
    where d.tenant_id = s.tenant_id and d.version_id = s.version_id and d.index = any(s.dependencies)
  ) as depends_on,
  nullif(s.join_rule, 'default') as join_rule,
  s.when_expression,
  s.config,
  s.output_template as output,
  s.on_error,
  s.max_attempts,
  s.timeout_seconds,
  s.secret_names,
  case when s.capability like 'limit:%' then flowgres.capability_of(s.type) else s.capability end as capability,
  s.section,
  s.join_count,
  (
    select jsonb_agg(c.id order by c.index)
    from flowgres.workflow_steps as c
    where c.tenant_id = s.tenant_id and c.version_id = s.version_id and c.index = any(s.cancel_indexes)
  ) as cancels,
  (
    select c.id from flowgres.workflow_steps as c
    where c.tenant_id = s.tenant_id and c.version_id = s.version_id and c.index = s.compensates
  ) as compensates,
  s.iterates as foreach,
  s.repeats as repeat,
  case when s.capability like 'limit:%' then substr(s.capability, 7) end as "limit"
from flowgres.workflow_steps as s
join flowgres.workflow_versions as v on v.tenant_id = s.tenant_id and v.id = s.version_id
where s.type <> 'outputs' and not flowgres.is_hidden(v.workflow_id);

comment on view flowgres_api.workflow_steps is $$Steps of workflow versions

As compiled: list order and branches have become explicit dependencies.$$;
comment on column flowgres_api.workflow_steps.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.workflow_steps.version_id is $$The version that the step belongs to$$;
comment on column flowgres_api.workflow_steps.workflow_id is $$The workflow of that version$$;
comment on column flowgres_api.workflow_steps.version is $$Number of that version$$;
comment on column flowgres_api.workflow_steps.index is $$Place of the step in its definition, from 0$$;
comment on column flowgres_api.workflow_steps.id is $$The step's id, unique within its version$$;
comment on column flowgres_api.workflow_steps.step is $$The same id, under the name that executions use$$;
comment on column flowgres_api.workflow_steps.type is $$Step type, such as http or transform$$;
comment on column flowgres_api.workflow_steps.description is $$The author's description$$;
comment on column flowgres_api.workflow_steps.depends_on is $$Ids of the steps that come before it$$;
comment on column flowgres_api.workflow_steps.join_rule is $$When to run after its dependencies: all, any, at_least, always or failed; null is the default rule$$;
comment on column flowgres_api.workflow_steps.when_expression is $$Condition under which the step runs$$;
comment on column flowgres_api.workflow_steps.config is $$What the step does, in canonical form$$;
comment on column flowgres_api.workflow_steps.output is $$Reshaping of the output$$;
comment on column flowgres_api.workflow_steps.on_error is $$What a failure means: fail, continue or skip$$;
comment on column flowgres_api.workflow_steps.max_attempts is $$Attempts in all$$;
comment on column flowgres_api.workflow_steps.timeout_seconds is $$Time of one attempt; null is the default of its type$$;
comment on column flowgres_api.workflow_steps.secret_names is $$Secrets that its configuration names$$;
comment on column flowgres_api.workflow_steps.capability is $$What a runner must serve to run it$$;
comment on column flowgres_api.workflow_steps.section is $$steps, or what runs one by one after a failure: compensate, on_failure$$;
comment on column flowgres_api.workflow_steps.join_count is $$Of the join rule at_least: how many of its dependencies must lead on$$;
comment on column flowgres_api.workflow_steps.cancels is $$Ids of the steps that are cancelled when it completes$$;
comment on column flowgres_api.workflow_steps.foreach is $$Runs once for each item of a list: items, max_parallel, tolerate, at_least, rest$$;
comment on column flowgres_api.workflow_steps.repeat is $$Runs round after round: until, max_times, delay in seconds$$;
comment on column flowgres_api.workflow_steps."limit" is $$Limit that it waits for: see the view limits$$;
comment on column flowgres_api.workflow_steps.compensates is $$Id of the step that it undoes, if it is a compensation$$;
