-- How deep workflows call each other, as far as it is known when one of them is imported.

set local role flowgres_owner;

create or replace function flowgres.list_callees(p_tenant_id uuid, p_workflow text, p_version integer)
  returns table (workflow text, version integer) language sql stable set search_path to pg_catalog, pg_temp
as $$
  select distinct s.config ->> 'workflow', (s.config ->> 'version')::numeric::integer
  from flowgres.workflows as w
  join flowgres.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = coalesce(p_version, w.active_version)
  join flowgres.workflow_steps as s on s.tenant_id = v.tenant_id and s.version_id = v.id
  where w.tenant_id = p_tenant_id and w.name = p_workflow and w.deleted_at is null
    and s.type = 'sub_workflow' and s.config ->> 'workflow' not like '%{{%'
    and coalesce(s.config ->> 'version', '1') not like '%{{%';
$$;
comment on function flowgres.list_callees(uuid, text, integer) is $$Workflows that a version calls by name; p_version null means the active one.$$;

create or replace function flowgres.list_callers(p_tenant_id uuid, p_workflow text)
  returns setof text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select distinct w.name
  from flowgres.workflow_steps as s
  join flowgres.workflow_versions as v on v.tenant_id = s.tenant_id and v.id = s.version_id
  join flowgres.workflows as w on w.tenant_id = v.tenant_id and w.id = v.workflow_id and w.active_version = v.version
  where s.tenant_id = p_tenant_id and s.type = 'sub_workflow' and s.config ->> 'workflow' = p_workflow
    and w.status = 'active' and w.deleted_at is null;
$$;
comment on function flowgres.list_callers(uuid, text) is $$Workflows whose active version calls this one.$$;

create or replace function flowgres.count_callers_levels(p_tenant_id uuid, p_workflow text, p_most integer)
  returns integer language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_names text[] := array[p_workflow];
  v_level integer := 0;
begin
  loop
    v_names := array(
      select distinct c.name
      from unnest(v_names) as n (name)
      cross join lateral flowgres.list_callers(p_tenant_id => p_tenant_id, p_workflow => n.name) as c (name)
      where c.name <> p_workflow);
    exit when cardinality(v_names) = 0 or v_level > p_most;
    v_level := v_level + 1;
  end loop;
  return v_level;
end;
$$;
comment on function flowgres.count_callers_levels(uuid, text, integer) is $$Levels of active workflows above this one; looks no higher than p_most + 1.$$;

create or replace function flowgres.warn_of_inputs(
  p_tenant_id uuid, p_path text, p_workflow text, p_version integer, p_input jsonb
)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(array_agg(flowgres.unknown_input(
    p_path => flowgres.join_path(p_path, k.name), p_name => k.name,
    p_known => array(select jsonb_object_keys(v.inputs)))), '{}')
  from flowgres.workflows as w
  join flowgres.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = coalesce(p_version, w.active_version)
  cross join lateral jsonb_object_keys(case when jsonb_typeof(p_input) = 'object' then p_input else '{}' end) as k (name)
  where w.tenant_id = p_tenant_id and w.name = p_workflow and w.deleted_at is null and not v.takes_additional_inputs
    and not v.inputs ? k.name;
$$;
comment on function flowgres.warn_of_inputs(uuid, text, text, integer, jsonb) is $$Inputs that a call gives and the called workflow does not declare now

Warnings: another version of it may, by the time the step runs, and then they are refused.$$;

create or replace function flowgres.warn_of_machine_steps(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select flowgres.problem(
      p_path => l.path || '.config.workflow', p_code => 'workflow_not_found',
      p_message => format('workflow "%s" does not exist yet', m.name), p_hint => 'Import it before this step runs.')
    from flowgres.list_sections(p_definition) as l
    cross join lateral (select l.step #>> '{config,workflow}' as name) as m
    where l.step ->> 'type' = 'transition' and m.name not like '%{{%' and not exists (
      select from flowgres.workflows as w
      where w.tenant_id = p_tenant_id and w.deleted_at is null and m.name in (w.name, w.id::text))
    order by l.place);
$$;
comment on function flowgres.warn_of_machine_steps(uuid, jsonb) is $$Steps that move instances of a state machine which is not there.$$;

create or replace function flowgres.check_nesting(
  p_tenant_id uuid, p_definition jsonb, out errors jsonb[], out warnings jsonb[]
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_name text := p_definition ->> 'name';
  v_most integer := (flowgres.setting(p_tenant_id, 'max_sub_workflow_depth'))::integer;
  v_above integer;
  v_call record;
  v_level integer;
  v_names jsonb;
begin
  errors := '{}';
  warnings := flowgres.warn_of_machine_steps(p_tenant_id => p_tenant_id, p_definition => p_definition);
  v_above := flowgres.count_callers_levels(p_tenant_id => p_tenant_id, p_workflow => v_name, p_most => v_most);
  if v_above > v_most then
    errors := errors || flowgres.problem(
      p_path => 'name', p_code => 'sub_workflow_too_deep',
      p_message => format('active workflows call "%s" at level %s; level %s is the deepest', v_name, v_above, v_most));
  end if;
  for v_call in
    select
      l.path || '.config.workflow' as path, l.step #>> '{config,workflow}' as workflow, l.step #> '{config,input}' as input,
      case when jsonb_typeof(l.step #> '{config,version}') = 'number' then (l.step #>> '{config,version}')::numeric::integer end as version
    from flowgres.list_sections(p_definition) as l
    where l.step ->> 'type' = 'sub_workflow' and l.step #>> '{config,workflow}' not like '%{{%'
    order by l.place
  loop
    if not exists (
      select from flowgres.workflows as w
      where w.tenant_id = p_tenant_id and w.deleted_at is null and (w.name = v_call.workflow or w.id::text = v_call.workflow)
    ) and v_call.workflow <> v_name then
      warnings := warnings || flowgres.problem(
        p_path => v_call.path, p_code => 'workflow_not_found',
        p_message => format('workflow "%s" does not exist yet', v_call.workflow), p_hint => 'Import it before this step runs.');
    end if;
    warnings := warnings || flowgres.warn_of_inputs(
      p_tenant_id => p_tenant_id, p_path => replace(v_call.path, '.workflow', '.input'), p_workflow => v_call.workflow,
      p_version => v_call.version, p_input => v_call.input);
    -- Level by level, each workflow once a level: what many steps call is not followed many times.
    v_names := jsonb_build_array(jsonb_build_array(v_call.workflow, v_call.version));
    v_level := 1;
    loop
      if jsonb_path_exists(v_names, '$[*] ? (@[0] == $name)', jsonb_build_object('name', v_name)) then
        errors := errors || flowgres.problem(
          p_path => v_call.path, p_code => 'sub_workflow_recursion',
          p_message => case v_level when 1 then format('"%s" calls itself', v_name)
            else format('"%s" calls "%s" again through "%s"', v_name, v_name, v_call.workflow) end,
          p_hint => 'A workflow cannot be nested in itself.');
        exit;
      end if;
      if v_above + v_level > v_most then
        errors := errors || flowgres.problem(
          p_path => v_call.path, p_code => 'sub_workflow_too_deep',
          p_message => format(
            'this call reaches "%s" at level %s; level %s is the deepest', v_names #>> '{0,0}', v_above + v_level, v_most),
          p_hint => 'Level 0 is the workflow that is started.');
        exit;
      end if;
      select coalesce(jsonb_agg(distinct jsonb_build_array(c.workflow, c.version)), '[]') into v_names
      from jsonb_array_elements(v_names) as n (value)
      cross join lateral flowgres.list_callees(
        p_tenant_id => p_tenant_id, p_workflow => n.value ->> 0, p_version => (n.value ->> 1)::numeric::integer) as c;
      exit when jsonb_array_length(v_names) = 0;
      v_level := v_level + 1;
    end loop;
  end loop;
end;
$$;
comment on function flowgres.check_nesting(uuid, jsonb) is $$Sub-workflows that would nest too deep or call themselves

Level 0 is what is started. Looks down through what this definition calls and up through the active workflows that call it;
what is not imported yet is checked when it is, and once more when it runs.$$;
