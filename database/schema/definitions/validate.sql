-- The whole definition: steps, graph, references, nesting, warnings. Of a state machine: machines.sql.

set local role flowgres_owner;

create or replace function flowgres.check_branches(p_path text, p_step jsonb, p_ids text[])
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_branches integer := (select count(*) from flowgres.list_branches(p_step));
  v_target record;
begin
  for v_target in
    select
      format('%s.%s[%s]', p_path, b.path, t.place - 1) as path, t.id,
      -- In the last branch that has it.
      row_number() over (partition by t.id order by b.place, t.place) as count, b.place as branch
    from flowgres.list_branches(p_step) with ordinality as b (name, path, ids, place)
    cross join lateral unnest(b.ids) with ordinality as t (id, place)
    where t.id is not null
    order by b.place, t.place
  loop
    if v_target.id = p_step ->> 'id' then
      v_errors := v_errors || flowgres.problem(
        p_path => v_target.path, p_code => 'self_dependency',
        p_message => format('the %s "%s" lists itself', p_step ->> 'type', left(v_target.id, 60)));
    elsif v_target.id <> all(array_remove(p_ids, null)) then
      v_errors := v_errors || flowgres.problem(
        p_path => v_target.path, p_code => 'unknown_step',
        p_message => format('no step has the id "%s"', left(v_target.id, 60)),
        p_hint => flowgres.did_you_mean(p_word => v_target.id, p_known => p_ids));
    elsif v_target.count = v_branches and v_target.branch = v_branches then
      v_errors := v_errors || flowgres.problem(
        p_path => v_target.path, p_code => 'ambiguous_branch',
        p_message => format('"%s" is listed in every branch', left(v_target.id, 60)),
        p_hint => format('A step that always runs needs no branch: name the %s in its depends_on.', p_step ->> 'type'));
    end if;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_branches(text, jsonb, text[]) is $$Branch targets that do not exist, are the step itself, or are in every branch.$$;

create or replace function flowgres.check_step(p_path text, p_section text, p_step jsonb, p_ids text[], p_types jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_type text := p_step ->> 'type';
begin
  if jsonb_typeof(p_step) <> 'object' then
    return v_errors;
  end if;
  if p_section = 'steps' and p_step -> 'depends_on' = '[]'
    and (p_step ->> 'join' in ('all', 'any', 'failed') or p_step #> '{join,at_least}' is not null)
  then
    v_errors := v_errors || flowgres.problem(
      p_path => p_path || '.join', p_code => 'join_without_dependencies',
      p_message => format('"%s" waits for nothing, so it has nothing to join', left(p_step ->> 'id', 60)),
      p_hint => 'Name the steps in depends_on.');
  end if;
  if v_type in ('condition', 'switch') then
    -- Elsewhere there is nothing that they could lead to.
    return v_errors
    || case when p_section = 'steps' then flowgres.check_branches(p_path => p_path, p_step => p_step, p_ids => p_ids) end;
  elsif jsonb_typeof(p_step -> 'type') = 'string' and not p_types ? v_type then
    return v_errors || flowgres.unknown_type(p_path => p_path || '.type', p_type => v_type, p_types => p_types);
  elsif jsonb_typeof(p_types -> v_type) = 'object' and jsonb_typeof(p_step -> 'config') = 'object' then
    -- A type of a package brings a schema of its own.
    return v_errors || (flowgres.check_value(
      p_path || '.config', p_step -> 'config', p_types -> v_type, p_types -> v_type, p_is_open => true))[: 20];
  elsif v_type = 'approval' then
    return v_errors || flowgres.check_quorum(p_path => p_path || '.config.quorum', p_config => p_step -> 'config');
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_step(text, text, jsonb, text[], jsonb) is $$What is wrong with one step that its description cannot say

p_types: the schema of the configuration by type, null for the built-in ones, which the description has.$$;

create or replace function flowgres.check_quorum(p_path text, p_config jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_asked jsonb := p_config -> 'approvers';
  v_count integer;
begin
  if jsonb_typeof(v_asked) = 'string' then
    v_asked := jsonb_build_array(v_asked);
  end if;
  if jsonb_typeof(v_asked) is distinct from 'array' or jsonb_typeof(p_config -> 'quorum') is distinct from 'number' or p_config ? 'role'
    -- One that an expression gives may be several.
    or exists (select from jsonb_array_elements(v_asked) as a (value) where jsonb_typeof(a.value) <> 'string' or a.value #>> '{}' like '%{{%')
  then
    return '{}';
  end if;
  v_count := (select count(distinct a.value) from jsonb_array_elements(v_asked) as a (value));
  if v_count = 0 or (p_config -> 'quorum')::numeric <= v_count then
    return '{}';
  end if;
  return array[flowgres.problem(
    p_path => p_path, p_code => 'quorum_unreachable',
    p_message => format('%s people have to approve, and %s are asked', p_config ->> 'quorum', v_count),
    p_hint => 'Name more approvers, a role, or a smaller quorum.')];
end;
$$;
comment on function flowgres.check_quorum(text, jsonb) is $$The problem of an approval that asks fewer people than have to approve.$$;

create or replace function flowgres.unknown_type(p_path text, p_type text, p_types jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_ours text := flowgres.definition_schema() #> '{$defs,step,properties,type,x-aliases}' ->> p_type;
begin
  return flowgres.problem(
    p_path => p_path, p_code => 'unknown_step_type', p_message => format('no runner serves the step type "%s"', left(p_type, 60)),
    p_hint => case when v_ours is null
      then flowgres.did_you_mean(p_word => p_type, p_known => array(select jsonb_object_keys(p_types)))
      else flowgres.other_word(v_ours) end);
end;
$$;
comment on function flowgres.unknown_type(text, text, jsonb) is $$The problem of a step whose type nobody serves.$$;

create or replace function flowgres.step_schemas(p_tenant_id uuid)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_object_agg(t.type, t.config_schema)
  from (
    select c.type, null::jsonb as config_schema from unnest(flowgres.core_step_types()) as c (type)
    union all
    select t.type, t.config_schema
    from flowgres.step_types as t
    where t.tenant_id in (p_tenant_id, flowgres.system_tenant_id()) and not t.is_core
  ) as t;
$$;
comment on function flowgres.step_schemas(uuid) is $$The step types that a definition may name, with the schema of their configuration; null for the built-in ones.$$;

create or replace function flowgres.check_warnings(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select flowgres.problem(
      p_path => coalesce(
        (flowgres.find_paths('steps', p_definition -> 'steps', 'secrets', n.name))[1],
        (flowgres.find_paths('on_failure', p_definition -> 'on_failure', 'secrets', n.name))[1], 'steps'),
      p_code => 'secret_not_found',
      p_message => format('the secret "%s" is not stored yet', left(n.name, 60)), p_hint => format('PUT /secrets/%s', left(n.name, 60)))
    from unnest(flowgres.find_names(
      p_value => jsonb_build_array(p_definition -> 'steps', p_definition -> 'on_failure'), p_root => 'secrets')) as n (name)
    where not exists (select from flowgres.secrets as s where s.tenant_id = p_tenant_id and s.name = n.name)
  ) || flowgres.check_schedule_inputs(p_definition)
  || flowgres.check_limits(p_tenant_id => p_tenant_id, p_definition => p_definition)
  || flowgres.check_retention(p_tenant_id => p_tenant_id, p_definition => p_definition)
  || flowgres.warn_of_webhook_secrets(p_tenant_id => p_tenant_id, p_definition => p_definition);
$$;
comment on function flowgres.check_warnings(uuid, jsonb) is $$What a sound definition still lacks: inputs of schedules, secrets that are not stored, limits that are not set, retention in vain.$$;

create or replace function flowgres.check_definition(p_tenant_id uuid, p_definition jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_schema jsonb := flowgres.definition_schema();
  v_definition jsonb;
  v_steps jsonb;
  v_whole jsonb;
  v_types jsonb;
  v_errors jsonb[] := '{}';
  v_warnings jsonb[] := '{}';
  v_graph record;
  v_nesting record;
  v_most integer := (flowgres.setting(p_tenant_id, 'max_steps_per_workflow'))::integer;
  v_most_bytes integer := (flowgres.setting(p_tenant_id, 'max_definition_bytes'))::integer;
begin
  v_errors := flowgres.check_document(
    p_definition => p_definition, p_most_bytes => v_most_bytes,
    p_most_depth => (flowgres.setting(p_tenant_id, 'max_json_depth'))::integer);
  if cardinality(v_errors) > 0 then
    return flowgres.report_check(p_errors => v_errors, p_warnings => v_warnings, p_definition => null);
  end if;

  if flowgres.is_machine(p_definition) then
    return flowgres.check_machine(p_tenant_id => p_tenant_id, p_definition => p_definition);
  end if;

  v_steps := p_definition -> 'steps';
  if jsonb_typeof(v_steps) = 'array' and jsonb_array_length(v_steps) > v_most then
    -- Too long to look at every step, but a wrong graph is told all the same: its check is linear.
    v_steps := (
      select jsonb_agg(jsonb_build_object(
        'id', s.value -> 'id',
        'depends_on', case jsonb_typeof(s.value -> 'depends_on')
          when 'string' then jsonb_build_array(s.value -> 'depends_on') else s.value -> 'depends_on' end) order by s.position)
      from jsonb_array_elements(v_steps) with ordinality as s (value, position));
    select * into v_graph from flowgres.check_graph(p_steps => v_steps);
    v_errors := flowgres.problem(
      p_path => format('steps[%s]', v_most), p_code => 'too_many_steps',
      p_message => format(
        '%s steps are more than the %s of one workflow; "%s" is the first too many', jsonb_array_length(v_steps), v_most,
        left(coalesce(v_graph.ids[v_most + 1], ''), 60)),
      p_hint => 'Move a part into a sub_workflow, or ask an operator to raise max_steps_per_workflow.') || v_graph.errors;
    return flowgres.report_check(p_errors => v_errors, p_warnings => v_warnings, p_definition => null);
  end if;

  if jsonb_typeof(p_definition -> 'on_failure') = 'array' and jsonb_array_length(p_definition -> 'on_failure') > v_most then
    return flowgres.report_check(p_warnings => v_warnings, p_definition => null, p_errors => array[flowgres.problem(
      p_path => format('on_failure[%s]', v_most), p_code => 'too_many_steps',
      p_message => format('%s steps are more than the %s of one workflow', jsonb_array_length(p_definition -> 'on_failure'), v_most),
      p_hint => 'Move a part into a sub_workflow, or ask an operator to raise max_steps_per_workflow.')]);
  end if;

  v_definition := flowgres.form_definition(p_definition => p_definition);
  v_errors := flowgres.check_value('', v_definition, v_schema, v_schema);
  if jsonb_typeof(v_definition -> 'inputs') = 'object' then
    v_errors := v_errors || flowgres.check_defaults(p_inputs => v_definition -> 'inputs');
  end if;
  v_errors := v_errors || flowgres.check_input_references(p_definition => v_definition);
  -- An answer repeats no secret.
  v_definition := flowgres.complete_definition(p_definition => v_definition) - 'webhook_secret';
  v_steps := case when jsonb_typeof(v_definition -> 'steps') = 'array' then v_definition -> 'steps' else '[]' end;
  v_whole := v_definition || jsonb_build_object('steps', v_steps);
  select * into v_graph from flowgres.check_graph(p_steps => v_steps);
  v_types := flowgres.step_schemas(p_tenant_id => p_tenant_id);
  v_errors := v_errors || array(
    select e.error
    from flowgres.list_sections(v_whole) as l
    cross join lateral unnest(flowgres.check_step(
      p_path => l.path, p_section => l.section, p_step => l.step, p_ids => v_graph.ids, p_types => v_types)) with ordinality as e (error, position)
    order by l.place, e.position
  ) || v_graph.errors
  || flowgres.check_joins(p_steps => v_steps, p_ids => v_graph.ids, p_edge_to => v_graph.edge_to)
  || flowgres.check_sections(p_definition => v_whole)
  || flowgres.check_late_references(p_definition => v_whole)
  || flowgres.check_references(
    p_steps => v_steps, p_outputs => v_definition -> 'outputs', p_ids => v_graph.ids,
    p_sorted => v_graph.sorted, p_from => v_graph.edge_from, p_to => v_graph.edge_to
  )
  || flowgres.check_secrets(p_definition => v_whole)
  || flowgres.check_functions(p_tenant_id => p_tenant_id, p_definition => v_whole)
  || flowgres.check_trigger_names(p_definition => v_whole)
  || flowgres.check_cron_triggers(p_definition => v_whole)
  || flowgres.check_webhook_triggers(p_definition => v_whole)
  || flowgres.check_expressions(p_definition => v_whole);
  v_errors := v_errors || flowgres.check_jsonpaths(p_definition => v_definition, p_found => v_errors);
  v_errors := flowgres.distinct_problems(v_errors);

  if cardinality(v_errors) = 0 then
    select * into v_nesting from flowgres.check_nesting(p_tenant_id => p_tenant_id, p_definition => v_definition);
    v_errors := v_nesting.errors;
    v_warnings := v_warnings || v_nesting.warnings || flowgres.check_warnings(p_tenant_id => p_tenant_id, p_definition => v_definition);
  end if;
  return flowgres.report_check(p_errors => v_errors, p_warnings => v_warnings, p_definition => v_definition);
end;
$$;
comment on function flowgres.check_definition(uuid, jsonb) is $$Everything wrong with a definition: {valid, errors, warnings, definition}

`definition` is the canonical form, as far as there is one. Of expressions only what expressions.sql can see is told.$$;

create or replace function flowgres.check_document(p_definition jsonb, p_most_bytes integer, p_most_depth integer)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
begin
  if jsonb_typeof(p_definition) is distinct from 'object' then
    return array[flowgres.problem(
      p_path => '', p_code => 'wrong_kind', p_message => 'a definition is an object', p_hint => 'Begin with name, then steps or states.')];
  end if;
  if octet_length(p_definition::text) > p_most_bytes then
    return array[flowgres.problem(
      p_path => '', p_code => 'definition_too_large',
      p_message => format('the definition is larger than %s bytes', p_most_bytes))];
  end if;
  if jsonb_path_exists(p_definition, format('$.**{%s}', p_most_depth)::jsonpath) then
    return array[flowgres.problem(
      p_path => '', p_code => 'definition_too_deep',
      p_message => format('the definition is nested deeper than %s levels', p_most_depth))];
  end if;
  if p_definition @? '$.** ? (@.type() == "number" && (@ > 1.7976931348623157e308 || @ < -1.7976931348623157e308))' then
    return array[flowgres.problem(
      p_path => '', p_code => 'number_invalid', p_message => 'a number in the definition is too large',
      p_hint => 'Quote it if it is text.')];
  end if;
  if flowgres.is_machine(p_definition) and jsonb_typeof(p_definition -> 'steps') <> 'null' then
    return array[flowgres.broken_rule(
      p_path => case when jsonb_typeof(p_definition -> 'states') <> 'null' then 'states' else 'transitions' end,
      p_schema => flowgres.definition_schema() #> '{then,properties,steps,not}', p_code => 'conflicting_keys', p_message => '')];
  end if;
  return '{}';
end;
$$;
comment on function flowgres.check_document(jsonb, integer, integer) is $$What makes looking further pointless: no object, too large, too deep, two kinds of workflow in one.$$;

create or replace function flowgres.report_check(p_errors jsonb[], p_warnings jsonb[], p_definition jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_build_object(
    'valid', cardinality(p_errors) = 0,
    -- A bound on the answer: whoever has two hundred mistakes has one.
    'errors', to_jsonb(p_errors[1 : 200]),
    'warnings', to_jsonb(p_warnings),
    'definition', p_definition);
$$;
comment on function flowgres.report_check(jsonb[], jsonb[], jsonb) is $$The answer of a check.$$;

create or replace function flowgres.distinct_problems(p_errors jsonb[])
  returns jsonb[] language sql immutable parallel safe
as $$
  select array(
    select e.error
    from (
      select distinct on (e.error -> 'path', e.error -> 'code') e.error, e.place
      from unnest(p_errors) with ordinality as e (error, place)
      order by e.error -> 'path', e.error -> 'code', e.place
    ) as e
    order by e.place);
$$;
comment on function flowgres.distinct_problems(jsonb[]) is $$Problems in their order; two that say the same code of the same place are one.$$;

create or replace function flowgres.check_written(p_tenant_id uuid, p_definition jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_lifted jsonb := flowgres.lift_header(p_definition);
  v_check jsonb := flowgres.check_definition(p_tenant_id => p_tenant_id, p_definition => v_lifted);
begin
  if v_lifted = p_definition then
    return v_check;
  end if;
  -- What is wrong is told of where it was written.
  return v_check || (
    select jsonb_object_agg(k.key, (
      select coalesce(jsonb_agg(
        case when coalesce(p_definition -> w.word, 'null') = 'null' and p_definition -> 'workflow' ? w.word
          then p.problem || jsonb_build_object('path', 'workflow.' || (p.problem ->> 'path')) else p.problem end
        order by p.place), '[]')
      from jsonb_array_elements(v_check -> k.key) with ordinality as p (problem, place)
      cross join lateral (
        select substring(p.problem ->> 'path' from '^(name|title|version|description|metadata)(?![^.[])') as word) as w))
    from (values ('errors'), ('warnings')) as k (key));
end;
$$;
comment on function flowgres.check_written(uuid, jsonb) is $$Everything wrong with a definition as people write it, whose header may stand below the key workflow

The same as check_definition otherwise.$$;
