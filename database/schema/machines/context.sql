-- What the expressions of a step see of the instance whose transition started the execution. Only steps that name it ask, when they begin.

set local role flowgres_owner;

create or replace function flowgres.instance_of(p_execution flowgres.executions)
  returns uuid language sql immutable parallel safe
as $$
  select case
    when (p_execution).trigger_type = 'transition'
      or (p_execution).trigger_type = 'replay' and (p_execution).trigger ->> 'type' = 'transition'
      then ((p_execution).trigger ->> 'instance_id')::uuid
  end;
$$;
comment on function flowgres.instance_of(flowgres.executions) is $$The instance whose transition started an execution, or the one that it repeats; null when none did.$$;

set local role flowgres_engine;

create or replace function flowgres.get_instances(p_runner_id uuid, p_rows jsonb)
  returns table (queue_id bigint, instance json) language plpgsql stable rows 10 security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
  set plan_cache_mode to force_generic_plan
as $$
begin
  return query
  select
    l.id, json_build_object(
      'id', i.id, 'workflow', i.workflow_name, 'entity_table', i.entity_table, 'entity_id', i.entity_id, 'state', i.state,
      'metadata', i.metadata)
  from jsonb_array_elements(p_rows) as r (value)
  cross join lateral (
    select q.id, q.tenant_id, q.execution_id
    from flowgres.work_queue as q
    where q.tenant_id = (r.value ->> 0)::uuid and q.execution_id = (r.value ->> 1)::uuid and q.id = (r.value ->> 2)::bigint
      and q.runner_id is not distinct from p_runner_id
    offset 0
  ) as l
  cross join lateral (
    select flowgres.instance_of(e) as instance_id
    from flowgres.executions as e
    where e.tenant_id = l.tenant_id and e.id = l.execution_id
    offset 0
  ) as e
  join flowgres.instances as i on i.tenant_id = l.tenant_id and i.id = e.instance_id;
end;
$$;
comment on function flowgres.get_instances(uuid, jsonb) is $$Instances of the executions of leased steps, given as [[tenant, execution, queue row, token], ...], as they are now

{id, workflow, entity_table, entity_id, state, metadata}. A step of an execution that no transition started has no row.$$;
