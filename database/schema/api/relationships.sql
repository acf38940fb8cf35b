-- Embedding for PostgREST where no foreign key tells the relation: history has none, for speed (migration 0004).
--
-- Each function has the name of the resource that it brings, as an embedding by foreign key would. Written so that the planner
-- can inline them: language sql, stable, no SET clause, names fully qualified.

set local role flowgres_owner;

-- Of an execution.

create or replace function flowgres_api.workflows(flowgres_api.executions)
  returns setof flowgres_api.workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.workflow_id;
$$;
comment on function flowgres_api.workflows(flowgres_api.executions) is $$The workflow of an execution, for embedding; none when it was deleted.$$;

create or replace function flowgres_api.workflow_versions(flowgres_api.executions)
  returns setof flowgres_api.workflow_versions language sql stable rows 1
as $$
  select x.* from flowgres_api.workflow_versions as x where x.tenant_id = $1.tenant_id and x.id = $1.version_id;
$$;
comment on function flowgres_api.workflow_versions(flowgres_api.executions) is $$The version that an execution runs, for embedding; none when its workflow was deleted.$$;

create or replace function flowgres_api.step_executions(flowgres_api.executions)
  returns setof flowgres_api.step_executions language sql stable rows 10
as $$
  select x.* from flowgres_api.step_executions as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id;
$$;
comment on function flowgres_api.step_executions(flowgres_api.executions) is $$The steps of an execution, for embedding.$$;

create or replace function flowgres_api.attempts(flowgres_api.executions)
  returns setof flowgres_api.attempts language sql stable rows 10
as $$
  select x.* from flowgres_api.attempts as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id;
$$;
comment on function flowgres_api.attempts(flowgres_api.executions) is $$The attempts of an execution, for embedding.$$;

create or replace function flowgres_api.execution_events(flowgres_api.executions)
  returns setof flowgres_api.execution_events language sql stable rows 20
as $$
  select x.* from flowgres_api.execution_events as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id order by x.seq;
$$;
comment on function flowgres_api.execution_events(flowgres_api.executions) is $$The events of an execution, for embedding.$$;

create or replace function flowgres_api.tasks(flowgres_api.executions)
  returns setof flowgres_api.tasks language sql stable rows 10
as $$
  select x.* from flowgres_api.tasks as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id;
$$;
comment on function flowgres_api.tasks(flowgres_api.executions) is $$The tasks of an execution, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.tasks)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.tasks) is $$The execution of a task, for embedding.$$;

-- Of a workflow and its versions; these three have foreign keys among each other, where nobody has to say more.

create or replace function flowgres_api.executions(flowgres_api.workflows)
  returns setof flowgres_api.executions language sql stable rows 100
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.workflow_id = $1.id;
$$;
comment on function flowgres_api.executions(flowgres_api.workflows) is $$The executions of a workflow, for embedding; give executions.limit.$$;

create or replace function flowgres_api.executions(flowgres_api.workflow_versions)
  returns setof flowgres_api.executions language sql stable rows 100
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.workflow_id = $1.workflow_id and x.version_id = $1.id;
$$;
comment on function flowgres_api.executions(flowgres_api.workflow_versions) is $$The executions of a version, for embedding; give executions.limit.$$;

create or replace function flowgres_api.workflow_steps(flowgres_api.workflows)
  returns setof flowgres_api.workflow_steps language sql stable rows 10
as $$
  select x.* from flowgres_api.workflow_steps as x where x.tenant_id = $1.tenant_id and x.workflow_id = $1.id;
$$;
comment on function flowgres_api.workflow_steps(flowgres_api.workflows) is $$The steps of all versions of a workflow, for embedding; give workflow_steps.version.$$;

create or replace function flowgres_api.workflows(flowgres_api.workflow_steps)
  returns setof flowgres_api.workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.workflow_id;
$$;
comment on function flowgres_api.workflows(flowgres_api.workflow_steps) is $$The workflow of a step, for embedding.$$;

-- Of a step, an attempt, an event.

create or replace function flowgres_api.executions(flowgres_api.step_executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.step_executions) is $$The execution of a step, for embedding.$$;

create or replace function flowgres_api.attempts(flowgres_api.step_executions)
  returns setof flowgres_api.attempts language sql stable rows 2
as $$
  select x.* from flowgres_api.attempts as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.execution_id and x.step = $1.step
    and x.iteration is not distinct from $1.iteration;
$$;
comment on function flowgres_api.attempts(flowgres_api.step_executions) is $$The attempts of a step, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.attempts)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.attempts) is $$The execution of an attempt, for embedding.$$;

create or replace function flowgres_api.step_executions(flowgres_api.attempts)
  returns setof flowgres_api.step_executions language sql stable rows 1
as $$
  select x.* from flowgres_api.step_executions as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.execution_id and x.step = $1.step
    and x.iteration is not distinct from $1.iteration;
$$;
comment on function flowgres_api.step_executions(flowgres_api.attempts) is $$The step of an attempt, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.execution_events)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.execution_events) is $$The execution of an event, for embedding.$$;

-- Relations that no resource's name tells apart, and names of before.

create or replace function flowgres_api.parent(flowgres_api.executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.parent_execution_id;
$$;
comment on function flowgres_api.parent(flowgres_api.executions) is $$The execution that started this one, for embedding.$$;

create or replace function flowgres_api.children(flowgres_api.executions)
  returns setof flowgres_api.executions language sql stable rows 2
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.parent_execution_id = $1.id;
$$;
comment on function flowgres_api.children(flowgres_api.executions) is $$The executions that this one's sub_workflow steps started, for embedding.$$;

create or replace function flowgres_api.original(flowgres_api.executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.replayed_from;
$$;
comment on function flowgres_api.original(flowgres_api.executions) is $$The execution that this one repeats, for embedding.$$;

create or replace function flowgres_api.replays(flowgres_api.executions)
  returns setof flowgres_api.executions language sql stable rows 2
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.replayed_from = $1.id;
$$;
comment on function flowgres_api.replays(flowgres_api.executions) is $$The executions that repeat this one, for embedding.$$;

create or replace function flowgres_api.workflow(flowgres_api.executions)
  returns setof flowgres_api.workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.workflow_id;
$$;
comment on function flowgres_api.workflow(flowgres_api.executions) is $$The same as workflows.$$;

create or replace function flowgres_api.execution(flowgres_api.step_executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.execution(flowgres_api.step_executions) is $$The same as executions.$$;
