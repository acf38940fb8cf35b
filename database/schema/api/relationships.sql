-- Embedding for PostgREST where no foreign key tells the relation: history has none, for speed (migration 0004).
--
-- Written so that the planner can inline them: language sql, stable, no SET clause, names fully qualified.

set local role flowgres_owner;

create or replace function flowgres_api.step_executions(flowgres_api.executions)
  returns setof flowgres_api.step_executions language sql stable rows 10
as $$
  select s.* from flowgres_api.step_executions as s where s.tenant_id = $1.tenant_id and s.execution_id = $1.id;
$$;
comment on function flowgres_api.step_executions(flowgres_api.executions) is $$The steps of an execution, for embedding.$$;

create or replace function flowgres_api.attempts(flowgres_api.executions)
  returns setof flowgres_api.attempts language sql stable rows 10
as $$
  select a.* from flowgres_api.attempts as a where a.tenant_id = $1.tenant_id and a.execution_id = $1.id;
$$;
comment on function flowgres_api.attempts(flowgres_api.executions) is $$The attempts of an execution, for embedding.$$;

create or replace function flowgres_api.execution_events(flowgres_api.executions)
  returns setof flowgres_api.execution_events language sql stable rows 20
as $$
  select v.* from flowgres_api.execution_events as v where v.tenant_id = $1.tenant_id and v.execution_id = $1.id order by v.seq;
$$;
comment on function flowgres_api.execution_events(flowgres_api.executions) is $$The events of an execution, for embedding.$$;

create or replace function flowgres_api.workflow(flowgres_api.executions)
  returns setof flowgres_api.workflows language sql stable rows 1
as $$
  select w.* from flowgres_api.workflows as w where w.tenant_id = $1.tenant_id and w.id = $1.workflow_id;
$$;
comment on function flowgres_api.workflow(flowgres_api.executions) is $$The workflow of an execution, for embedding; none when it was deleted.$$;

create or replace function flowgres_api.parent(flowgres_api.executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select e.* from flowgres_api.executions as e where e.tenant_id = $1.tenant_id and e.id = $1.parent_execution_id;
$$;
comment on function flowgres_api.parent(flowgres_api.executions) is $$The execution that started this one, for embedding.$$;

create or replace function flowgres_api.children(flowgres_api.executions)
  returns setof flowgres_api.executions language sql stable rows 2
as $$
  select e.* from flowgres_api.executions as e where e.tenant_id = $1.tenant_id and e.parent_execution_id = $1.id;
$$;
comment on function flowgres_api.children(flowgres_api.executions) is $$The executions that this one's sub_workflow steps started, for embedding.$$;

create or replace function flowgres_api.execution(flowgres_api.step_executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select e.* from flowgres_api.executions as e where e.tenant_id = $1.tenant_id and e.id = $1.execution_id;
$$;
comment on function flowgres_api.execution(flowgres_api.step_executions) is $$The execution of a step, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.workflows)
  returns setof flowgres_api.executions language sql stable rows 100
as $$
  select e.* from flowgres_api.executions as e where e.tenant_id = $1.tenant_id and e.workflow_id = $1.id;
$$;
comment on function flowgres_api.executions(flowgres_api.workflows) is $$The executions of a workflow, for embedding; give executions.limit.$$;
