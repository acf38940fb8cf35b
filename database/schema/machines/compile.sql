-- From the canonical definition of a state machine to the rows that its instances move by.

set local role flowgres_owner;

create or replace function flowgres.workflow_kind(p_definition jsonb)
  returns text language sql immutable parallel safe
as $$
  select case when flowgres.is_machine(p_definition) then 'state_machine' else 'dag' end;
$$;
comment on function flowgres.workflow_kind(jsonb) is $$What a definition describes: a state_machine when it has states, otherwise a dag.$$;

create or replace function flowgres.required_fields(p_transition jsonb)
  returns text[] language sql immutable parallel safe
as $$
  select array(
    select f.name
    from (
      select r.name, r.place from jsonb_array_elements_text(p_transition -> 'required') with ordinality as r (name, place)
      union all
      -- The words of before count only where the author says so: they were never enforced.
      select c.name, 1000 + c.place
      from jsonb_array_elements_text(case jsonb_typeof(p_transition #> '{conditions,field_required}')
        when 'array' then p_transition #> '{conditions,field_required}'
        when 'string' then jsonb_build_array(p_transition #> '{conditions,field_required}') end) with ordinality as c (name, place)
      where p_transition -> 'enforce' = 'true'
    ) as f
    group by f.name
    order by min(f.place));
$$;
comment on function flowgres.required_fields(jsonb) is $$Fields that a transition needs: required, and with enforce also conditions.field_required.$$;

create or replace function flowgres.compile_machine(p_tenant_id uuid, p_version_id uuid, p_definition jsonb)
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  insert into flowgres.machine_states (
    tenant_id, version_id, name, id, place, is_initial, is_final, metadata, sla_seconds, sla_to, sla_event)
  select
    p_tenant_id, p_version_id, s.value ->> 'name', flowgres.uuid_v7(flowgres.now()), (s.place - 1)::smallint,
    coalesce((s.value -> 'initial')::boolean, false), coalesce((s.value -> 'final')::boolean, false),
    coalesce(s.value -> 'metadata', '{}'), (s.value #>> '{sla,after}')::double precision, s.value #>> '{sla,to}',
    s.value #>> '{sla,event}'
  from jsonb_array_elements(p_definition -> 'states') with ordinality as s (value, place);

  insert into flowgres.machine_transitions (
    tenant_id, version_id, place, id, name, from_state, to_state, conditions, context, metadata, guard, roles, required, start)
  select
    p_tenant_id, p_version_id, (t.place - 1)::integer, flowgres.uuid_v7(flowgres.now()), t.value ->> 'name',
    nullif(t.value ->> 'from', '*'), t.value ->> 'to',
    coalesce(t.value -> 'conditions', '{}'), coalesce(t.value -> 'context', '{}'), coalesce(t.value -> 'metadata', '{}'),
    (t.value ->> 'guard')::jsonpath, array(select jsonb_array_elements_text(t.value -> 'roles')),
    flowgres.required_fields(t.value), t.value -> 'start'
  from jsonb_array_elements(p_definition -> 'transitions') with ordinality as t (value, place)
  union all
  -- Whoever draws no ways means all of them.
  select
    p_tenant_id, p_version_id, (row_number() over (order by f.place, s.place) - 1)::integer, flowgres.uuid_v7(flowgres.now()),
    'transition_to_' || s.name, f.name, s.name, '{}', '{}', '{}', null, '{}', '{}', null
  from flowgres.machine_states as f
  join flowgres.machine_states as s on s.tenant_id = f.tenant_id and s.version_id = f.version_id and s.name <> f.name
  where f.tenant_id = p_tenant_id and f.version_id = p_version_id and not f.is_final
    and coalesce(p_definition -> 'transitions', '[]') = '[]';
$$;
comment on function flowgres.compile_machine(uuid, uuid, jsonb) is $$Write the states and transitions of a version

The definition is canonical and was checked. Without transitions every state that is not final leads to every other.$$;
