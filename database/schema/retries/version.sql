-- Retrying on another version: what stays must be the same there.

set local role flowgres_owner;

create or replace function flowgres.find_differences(p_tenant_id uuid, p_execution_ids uuid[], p_version_id uuid)
  returns table (execution_id uuid, step text, what text) language plpgsql stable rows 100 set search_path to pg_catalog, pg_temp
as $$
begin
  return query
  with reset as materialized (
    select r.execution_id, r.step_index, r.is_list
    from flowgres.steps_to_reset(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids) as r
  )
  select distinct on (s.execution_id) s.execution_id, w.id, d.what
  from unnest(p_execution_ids) as x (id)
  cross join lateral (
    select e.version_id from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = x.id offset 0
  ) as e
  cross join lateral (
    select s.execution_id, s.step_index, s.untaken, s.child_execution_id
    from flowgres.step_executions as s
    where s.tenant_id = p_tenant_id and s.execution_id = x.id and s.iteration = -1
    offset 0
  ) as s
  join flowgres.workflow_steps as w
    on w.tenant_id = p_tenant_id and w.version_id = e.version_id and w.index = s.step_index and w.section = 'steps'
  left join flowgres.workflow_steps as n
    on n.tenant_id = p_tenant_id and n.version_id = p_version_id and n.index = s.step_index and n.section = 'steps'
  left join reset as r on r.execution_id = s.execution_id and r.step_index = s.step_index
  cross join lateral (
    select case
      when r.step_index is null or r.is_list or s.child_execution_id is not null then case
        when n.id is distinct from w.id then 'has another place'
        when n.type <> w.type or (n.iterates is null) <> (w.iterates is null) then 'has another type'
        when r.step_index is null and (
          row(n.config, n.when_expression, n.output_template, n.join_rule, n.join_count, n.iterates, n.repeats, n.on_error)
          is distinct from row(w.config, w.when_expression, w.output_template, w.join_rule, w.join_count, w.iterates, w.repeats, w.on_error)
          or flowgres.step_ids(p_tenant_id => p_tenant_id, p_version_id => p_version_id, p_indexes => n.dependencies)
          <> flowgres.step_ids(p_tenant_id => p_tenant_id, p_version_id => e.version_id, p_indexes => w.dependencies)
          or flowgres.step_ids(p_tenant_id => p_tenant_id, p_version_id => p_version_id, p_indexes => s.untaken)
          <> flowgres.step_ids(p_tenant_id => p_tenant_id, p_version_id => e.version_id, p_indexes => s.untaken))
          then 'is not the same'
      end
    end as what
  ) as d
  where d.what is not null
  order by s.execution_id, s.step_index;
end;
$$;
comment on function flowgres.find_differences(uuid, uuid[], uuid) is $$The first step of each execution that keeps it from going on with a version: what stays is not the same there

What runs again may differ, but for its place if it has iterations or a child that stay.$$;

create or replace function flowgres.step_ids(p_tenant_id uuid, p_version_id uuid, p_indexes smallint[])
  returns text[] language plpgsql stable
as $$
begin
  return array(
    select w.id from flowgres.workflow_steps as w
    where w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = any(p_indexes)
    order by w.id);
end;
$$;
comment on function flowgres.step_ids(uuid, uuid, smallint[]) is $$What the steps with these numbers are called, sorted.$$;

create or replace function flowgres.retry_on_version(
  p_tenant_id uuid, p_workflow_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_version integer, p_waits boolean,
  p_now timestamptz
)
  returns jsonb language plpgsql
as $$
declare
  v_version flowgres.workflow_versions;
  v_refused jsonb;
  v_ids uuid[];
begin
  select v.* into v_version
  from flowgres.workflow_versions as v
  where v.tenant_id = p_tenant_id and v.workflow_id = p_workflow_id and v.version = p_version;
  if v_version.id is null or v_version.state in ('draft', 'invalid', 'checking') then
    return (
      select jsonb_agg(jsonb_build_object(
        'execution_id', x.id,
        'status', case when v_version.id is null then 404 else 409 end,
        'code', case when v_version.id is null then 'version_not_found' else 'version_not_ready' end,
        'message', case when v_version.id is null then format('its workflow has no version %s', p_version)
          else format('version %s of its workflow is %s', p_version, v_version.state) end,
        'hint', 'List /workflow_versions.'))
      from unnest(p_execution_ids) as x (id));
  end if;
  select jsonb_agg(jsonb_build_object(
    'execution_id', d.execution_id, 'status', 409, 'code', 'version_differs', 'details', d.step,
    'message', format('the step "%s" of execution %s %s in version %s', d.step, d.execution_id, d.what, p_version),
    'hint', 'What has completed cannot change. Change only steps that run again, or replay the execution on that version.'))
  into v_refused
  from flowgres.find_differences(
    p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids, p_version_id => v_version.id) as d;
  v_ids := array(
    select x.id from unnest(p_execution_ids) as x (id)
    where x.id::text not in (select r.value ->> 'execution_id' from jsonb_array_elements(v_refused) as r (value)));
  if v_ids <> '{}' then
    perform flowgres.reset_executions(
      p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_actor => p_actor, p_reason => p_reason, p_waits => p_waits,
      p_now => p_now, p_version => v_version);
  end if;
  return coalesce(v_refused, '[]');
end;
$$;
comment on function flowgres.retry_on_version is $$Retry executions of one workflow on another version of it; answers as retry_held.$$;
