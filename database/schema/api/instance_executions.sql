-- Executions that instances of state machines have started, as clients read them: from the instance and from the execution.

set local role flowgres_owner;

create or replace view flowgres_api.instance_executions with (security_invoker = true) as
select
  x.execution_id,
  x.tenant_id,
  x.instance_id,
  x.workflow_id,
  x.workflow_name,
  h.transition_name,
  h.from_state,
  h.to_state,
  coalesce(x.status, (
    select e.status from flowgres.executions as e where e.tenant_id = x.tenant_id and e.id = x.execution_id
  )) as status,
  h.executed_at as started_at,
  x.ended_at as finished_at,
  x.on_success,
  x.on_failure,
  x.moved_to,
  coalesce(x.refusal ->> 'code', case when x.due_at is not null then 'pending' end) as reason,
  x.refusal ->> 'message' as message,
  x.seq
from flowgres.instance_executions as x
join flowgres.instance_history as h on h.tenant_id = x.tenant_id and h.instance_id = x.instance_id and h.seq = x.seq;

comment on view flowgres_api.instance_executions is $$Executions that transitions of instances have started

One row for each, which outlives the execution. When it ends, the instance goes to on_success or on_failure: moved_to says that it did, reason
why it did not.$$;
comment on column flowgres_api.instance_executions.execution_id is $$Identifier of the execution$$;
comment on column flowgres_api.instance_executions.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.instance_executions.instance_id is $$The instance$$;
comment on column flowgres_api.instance_executions.workflow_id is $$The workflow that runs$$;
comment on column flowgres_api.instance_executions.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.instance_executions.transition_name is $$Name of the transition that started it$$;
comment on column flowgres_api.instance_executions.from_state is $$State before that transition$$;
comment on column flowgres_api.instance_executions.to_state is $$State after it$$;
comment on column flowgres_api.instance_executions.status is $$Status of the execution; how it ended, also after it was pruned$$;
comment on column flowgres_api.instance_executions.started_at is $$When the transition happened$$;
comment on column flowgres_api.instance_executions.finished_at is $$When the execution ended$$;
comment on column flowgres_api.instance_executions.on_success is $$State that the instance goes to when it has completed$$;
comment on column flowgres_api.instance_executions.on_failure is $$State that the instance goes to when it has failed or was cancelled$$;
comment on column flowgres_api.instance_executions.moved_to is $$State that its end has moved the instance to$$;
comment on column flowgres_api.instance_executions.reason is $$Why its end has not moved the instance: instance_moved_on, the code of a refusal, or pending, while somebody holds it$$;
comment on column flowgres_api.instance_executions.message is $$The same as a sentence$$;
comment on column flowgres_api.instance_executions.seq is $$Number of the transition in the history of the instance$$;

create or replace function flowgres_api.instance_executions(flowgres_api.entity_workflows)
  returns setof flowgres_api.instance_executions language sql stable rows 5
as $$
  select x.* from flowgres_api.instance_executions as x where x.tenant_id = $1.tenant_id and x.instance_id = $1.id;
$$;
comment on function flowgres_api.instance_executions(flowgres_api.entity_workflows) is $$The executions that transitions of an instance have started, for embedding.$$;

create or replace function flowgres_api.instance_executions(flowgres_api.executions)
  returns setof flowgres_api.instance_executions language sql stable rows 1
as $$
  select x.* from flowgres_api.instance_executions as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id;
$$;
comment on function flowgres_api.instance_executions(flowgres_api.executions) is $$What an execution is to the instance whose transition started it, for embedding.$$;

create or replace function flowgres_api.entity_workflows(flowgres_api.executions)
  returns setof flowgres_api.entity_workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.entity_workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.instance_id;
$$;
comment on function flowgres_api.entity_workflows(flowgres_api.executions) is $$The instance whose transition started an execution, for embedding.$$;

create or replace function flowgres_api.entity_workflows(flowgres_api.instance_executions)
  returns setof flowgres_api.entity_workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.entity_workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.instance_id;
$$;
comment on function flowgres_api.entity_workflows(flowgres_api.instance_executions) is $$The instance, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.instance_executions)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.instance_executions) is $$The execution, for embedding; none when it was pruned.$$;
