-- The whole definition: steps, graph, references, nesting, warnings.

set local role flowgres_owner;

create or replace function flowgres.plain_condition(p_path text)
  returns jsonb language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select flowgres.problem(
    p_path => p_path, p_code => 'expression_not_boolean', p_message => 'this is a text, which is neither true nor false',
    p_hint => 'Write an expression: {{ input.amount > 100 }}');
$$;
comment on function flowgres.plain_condition(text) is $$The problem of a condition without braces.$$;

create or replace function flowgres.check_step_config(p_path text, p_type text, p_config jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_path text := p_path || '.config';
  v_errors jsonb[] := flowgres.check_shape(p_path => v_path, p_value => p_config, p_shape => flowgres.definition_shape(p_type));
  v_key text;
begin
  if p_type = 'condition' then
    foreach v_key in array array['on_true', 'on_false'] loop
      if jsonb_typeof(p_config -> v_key) = 'object' then
        -- The shape has called it unknown already; this says what it is.
        v_errors := array(select e from unnest(v_errors) as e where e ->> 'path' <> v_path || '.' || v_key)
          || flowgres.not_available(
          p_path => v_path || '.' || v_key, p_what => 'an output for a branch');
      end if;
    end loop;
    if p_config ? 'field' and not p_config ? 'operator' then
      v_errors := v_errors || flowgres.problem(
        p_path => v_path || '.operator', p_code => 'missing_key', p_message => '"operator" is missing',
        p_hint => 'One of: eq, ne, gt, gte, lt, lte, in, contains, exists, matches_prefix.');
    elsif p_config ? 'field' and not p_config ? 'value' and p_config ->> 'operator' <> 'exists' then
      v_errors := v_errors || flowgres.problem(
        p_path => v_path || '.value', p_code => 'missing_key', p_message => '"value" is missing');
    elsif jsonb_typeof(p_config -> 'expression') = 'string' and position('{{' in p_config ->> 'expression') = 0 then
      v_errors := v_errors || flowgres.plain_condition(p_path => v_path || '.expression');
    end if;
    if p_config ? 'expression' and not p_config ? 'field' and p_config ?| '{operator,value}' then
      v_errors := v_errors || flowgres.problem(
        p_path => v_path, p_code => 'conflicting_keys', p_message => 'operator and value belong to field, not to expression');
    end if;
  elsif p_type = 'transform' and p_config ? 'source' and p_config ?| '{expression,output}' and not p_config ? 'transforms' then
    v_errors := v_errors || flowgres.problem(
      p_path => v_path, p_code => 'conflicting_keys', p_message => 'source belongs to transforms, not to expression or output');
  elsif p_type = 'delay' and length(p_config ->> 'until') > 0 and jsonb_typeof(p_config -> 'until') = 'string'
    and position('{{' in p_config ->> 'until') = 0 and not flowgres.is_moment(p_config ->> 'until')
  then
    v_errors := v_errors || flowgres.problem(
      p_path => v_path || '.until', p_code => 'invalid_text', p_message => 'this is no time',
      p_hint => 'A time with its zone: 2027-01-31T12:00:00Z.');
  elsif p_type = 'http' then
    for v_key in
      select h.key
      from jsonb_each_text(case jsonb_typeof(p_config -> 'headers') when 'object' then p_config -> 'headers' else '{}' end) as h
      where h.key !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]{1,255}$' or h.value ~ '[\u0001-\u0008\u000a-\u001f\u007f]'
    loop
      v_errors := v_errors || flowgres.problem(
        p_path => flowgres.join_path(v_path || '.headers', v_key), p_code => 'header_invalid',
        p_message => 'the name or the value of this header has characters that HTTP does not allow');
    end loop;
    foreach v_key in array case p_config #>> '{auth,type}'
      when 'basic' then array['username', 'password'] when 'bearer' then array['token'] when 'api_key' then array['value']
      else array[]::text[]
    end loop
      if coalesce(jsonb_typeof(p_config -> 'auth' -> v_key), 'null') = 'null' then
        v_errors := v_errors || flowgres.problem(
          p_path => v_path || '.auth.' || v_key, p_code => 'missing_key', p_message => format('"%s" is missing', v_key));
      end if;
    end loop;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_step_config(text, text, jsonb) is $$What is wrong with the configuration of a core step type.$$;

create or replace function flowgres.check_branches(p_path text, p_step jsonb, p_ids text[])
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := '{}';
  v_target record;
begin
  for v_target in
    select b.name, t.position - 1 as place, t.value #>> '{}' as id
    from (values ('true_branch'), ('false_branch')) as b (name)
    cross join lateral jsonb_array_elements(
      case when jsonb_typeof(p_step -> 'config' -> b.name) = 'array' then p_step -> 'config' -> b.name else '[]' end
    ) with ordinality as t (value, position)
    where jsonb_typeof(t.value) = 'string'
    order by b.name desc, t.position
  loop
    if v_target.id = p_step ->> 'id' then
      v_errors := v_errors || flowgres.problem(
        p_path => format('%s.config.%s[%s]', p_path, v_target.name, v_target.place), p_code => 'self_dependency',
        p_message => format('the condition "%s" lists itself', left(v_target.id, 60)));
    elsif v_target.id <> all(array_remove(p_ids, null)) then
      v_errors := v_errors || flowgres.problem(
        p_path => format('%s.config.%s[%s]', p_path, v_target.name, v_target.place), p_code => 'unknown_step',
        p_message => format('no step has the id "%s"', left(v_target.id, 60)),
        p_hint => flowgres.did_you_mean(p_word => v_target.id, p_known => p_ids));
    elsif v_target.name = 'false_branch' and p_step #> '{config,true_branch}' @> to_jsonb(v_target.id) then
      v_errors := v_errors || flowgres.problem(
        p_path => format('%s.config.%s[%s]', p_path, v_target.name, v_target.place), p_code => 'ambiguous_branch',
        p_message => format('"%s" is listed in both branches', left(v_target.id, 60)),
        p_hint => 'A step that always runs needs no branch: name the condition in its depends_on.');
    end if;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_branches(text, jsonb, text[]) is $$Branch targets that do not exist, are the condition itself, or are in both branches.$$;

create or replace function flowgres.check_step(p_path text, p_step jsonb, p_ids text[], p_types text[])
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := flowgres.check_shape(p_path => p_path, p_value => p_step, p_shape => flowgres.definition_shape('step'));
  v_type text := p_step ->> 'type';
  v_key text;
begin
  if jsonb_typeof(p_step) <> 'object' then
    return v_errors;
  end if;
  if jsonb_typeof(p_step -> 'id') = 'string' then
    v_errors := v_errors || flowgres.check_name(
      p_path => p_path || '.id', p_name => p_step ->> 'id', p_pattern => '^[a-z][a-z0-9_]{0,62}$');
  end if;
  if p_step #> '{retry,errors}' is not null then
    v_errors := v_errors || flowgres.check_retry_errors(
      p_path => p_path || '.retry.errors', p_errors => p_step #> '{retry,errors}',
      p_is_core => coalesce(v_type = any(flowgres.core_step_types()), true));
  end if;
  if jsonb_typeof(p_step -> 'when') = 'string' and position('{{' in p_step ->> 'when') = 0 then
    v_errors := v_errors || flowgres.plain_condition(p_path => p_path || '.when');
  end if;
  if p_step ->> 'join' in ('all', 'any', 'failed') and p_step -> 'depends_on' = '[]' then
    v_errors := v_errors || flowgres.problem(
      p_path => p_path || '.join', p_code => 'join_without_dependencies',
      p_message => format('"%s" waits for nothing, so it has nothing to join', left(p_step ->> 'id', 60)),
      p_hint => 'Name the steps in depends_on.');
  end if;
  foreach v_key in array array['foreach', 'repeat', 'on_timeout', 'compensate'] loop
    if p_step ? v_key then
      v_errors := v_errors || flowgres.not_available(p_path => p_path || '.' || v_key, p_what => format('"%s"', v_key));
    end if;
  end loop;
  if jsonb_typeof(p_step -> 'type') = 'string' then
    if v_type in ('llm', 'wait', 'approval', 'switch', 'sql', 'transition') then
      v_errors := v_errors || flowgres.not_available(p_path => p_path || '.type', p_what => format('the step type "%s"', v_type));
    elsif v_type <> all(p_types) then
      v_errors := v_errors || flowgres.problem(
        p_path => p_path || '.type', p_code => 'unknown_step_type', p_message => format('no runner serves the step type "%s"', left(v_type, 60)),
        p_hint => flowgres.did_you_mean(p_word => v_type, p_known => p_types));
    elsif v_type = any(flowgres.core_step_types()) and jsonb_typeof(p_step -> 'config') = 'object' then
      v_errors := v_errors || flowgres.check_step_config(p_path => p_path, p_type => v_type, p_config => p_step -> 'config');
      if v_type = 'condition' then
        v_errors := v_errors || flowgres.check_branches(p_path => p_path, p_step => p_step, p_ids => p_ids);
      end if;
    end if;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_step(text, jsonb, text[], text[]) is $$What is wrong with one step, apart from its place in the graph.$$;

create or replace function flowgres.check_warnings(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select flowgres.problem(
      p_path => format('triggers[%s]', t.position - 1), p_code => 'trigger_not_active',
      p_message => format('the %s trigger is kept, but does not start anything yet', t.value ->> 'type'),
      p_hint => 'Webhooks and cron come in a later release; start executions through the API until then.')
    from jsonb_array_elements(coalesce(p_definition -> 'triggers', '[]')) with ordinality as t (value, position)
    order by t.position
  ) || array(
    select flowgres.problem(
      p_path => flowgres.find_path('steps', p_definition -> 'steps', 'secrets', n.name), p_code => 'secret_not_found',
      p_message => format('the secret "%s" is not stored yet', left(n.name, 60)), p_hint => format('PUT /secrets/%s', left(n.name, 60)))
    from unnest(flowgres.find_names(p_value => p_definition -> 'steps', p_root => 'secrets')) as n (name)
    where not exists (select from flowgres.secrets as s where s.tenant_id = p_tenant_id and s.name = n.name)
  );
$$;
comment on function flowgres.check_warnings(uuid, jsonb) is $$What a sound definition still lacks: triggers that are not active yet, secrets that are not stored yet.$$;

create or replace function flowgres.check_definition(p_tenant_id uuid, p_definition jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_definition jsonb;
  v_steps jsonb;
  v_defaults jsonb;
  v_types text[];
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

  v_steps := p_definition -> 'steps';
  if jsonb_typeof(v_steps) = 'array' and jsonb_array_length(v_steps) > v_most then
    -- Too long to look at every step, but a wrong graph is told all the same: its check is linear.
    v_steps := (
      select jsonb_agg(jsonb_build_object(
        'id', coalesce(s.value -> 'id', s.value -> 'name'),
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

  v_defaults := p_definition -> 'defaults';
  if jsonb_typeof(v_defaults) = 'object' then
    -- Told once here instead of at every step that would inherit it.
    v_errors := flowgres.check_shape(
      p_path => 'defaults',
      p_value => jsonb_strip_nulls(v_defaults || jsonb_build_object(
        'timeout', flowgres.normalise_duration(v_defaults -> 'timeout'), 'retry', flowgres.normalise_retry(v_defaults -> 'retry'))),
      p_shape => flowgres.definition_shape('defaults'))
      || flowgres.check_retry_errors(
        p_path => 'defaults.retry.errors', p_errors => flowgres.normalise_retry(v_defaults -> 'retry') -> 'errors', p_is_core => true);
  elsif jsonb_typeof(v_defaults) <> 'null' then
    v_errors := flowgres.check_shape(p_path => 'defaults', p_value => v_defaults, p_shape => flowgres.definition_shape('defaults'));
  end if;
  v_definition := flowgres.normalise_definition(
    case when cardinality(v_errors) > 0 then p_definition - 'defaults' else p_definition end);
  v_errors := v_errors || flowgres.check_shape(
    p_path => '', p_value => v_definition, p_shape => flowgres.definition_shape('definition'));
  if jsonb_typeof(v_definition -> 'name') = 'string' then
    v_errors := v_errors || flowgres.check_name(
      p_path => 'name', p_name => v_definition ->> 'name', p_pattern => '^[a-z][a-z0-9_-]{0,62}$');
  end if;
  if jsonb_typeof(v_definition -> 'title') = 'string' and not flowgres.is_printable(v_definition ->> 'title') then
    v_errors := v_errors || flowgres.problem(
      p_path => 'title', p_code => 'invalid_text', p_message => 'the title has invisible characters or none at all');
  end if;
  if jsonb_typeof(v_definition -> 'trigger_type') = 'string' and v_definition -> 'trigger_type' <@ '["webhook", "cron", "schedule", "manual", "api"]' then
    -- Left over by the normalisation because `triggers` say something else.
    v_errors := v_errors || flowgres.problem(
      p_path => 'trigger_type', p_code => 'conflicting_keys', p_message => 'no trigger in "triggers" is of this type',
      p_hint => 'Remove one of the two.');
  end if;
  v_warnings := flowgres.warn_of_unknown_targets(p_definition => p_definition);
  if v_definition ? 'webhook_secret' then
    v_errors := v_errors || flowgres.inline_secret(p_path => 'webhook_secret');
    v_definition := v_definition - 'webhook_secret';
  end if;
  if v_definition ? 'on_failure' then
    v_errors := v_errors || flowgres.not_available(p_path => 'on_failure', p_what => '"on_failure"');
  end if;
  if v_definition ? 'dialect' then
    v_errors := v_errors || flowgres.not_available(p_path => 'dialect', p_what => '"dialect"');
  end if;
  if jsonb_typeof(v_definition -> 'settings') = 'object' then
    v_errors := v_errors || flowgres.check_settings(p_settings => v_definition -> 'settings');
  end if;
  if jsonb_typeof(v_definition -> 'inputs') = 'object' then
    v_errors := v_errors || flowgres.check_inputs(p_inputs => v_definition -> 'inputs');
  end if;
  v_errors := v_errors || flowgres.check_input_references(p_definition => v_definition);
  if jsonb_typeof(v_definition -> 'triggers') = 'array' then
    v_errors := v_errors || flowgres.check_triggers(p_triggers => v_definition -> 'triggers');
  end if;

  v_steps := v_definition -> 'steps';
  if jsonb_typeof(v_steps) = 'array' and jsonb_array_length(v_steps) = 0 then
    v_errors := v_errors || flowgres.problem(
      p_path => 'steps', p_code => 'no_steps', p_message => 'a workflow needs at least one step');
  elsif jsonb_typeof(v_steps) = 'array' then
    select * into v_graph from flowgres.check_graph(p_steps => v_steps);
    v_types := flowgres.core_step_types() || array(
      select distinct t.type from flowgres.step_types as t
      where t.tenant_id in (p_tenant_id, flowgres.system_tenant_id()) and not t.is_core);
    v_errors := v_errors || array(
      select e.error
      from jsonb_array_elements(v_steps) with ordinality as s (value, position)
      cross join lateral unnest(flowgres.check_step(
        p_path => format('steps[%s]', s.position - 1), p_step => s.value, p_ids => v_graph.ids, p_types => v_types
      )) with ordinality as e (error, position)
      order by s.position, e.position
    ) || v_graph.errors || flowgres.check_references(
      p_steps => v_steps, p_outputs => v_definition -> 'outputs', p_ids => v_graph.ids,
      p_sorted => v_graph.sorted, p_from => v_graph.edge_from, p_to => v_graph.edge_to
    ) || flowgres.check_secrets(p_definition => v_definition) || flowgres.check_expressions(p_definition => v_definition);
  end if;

  if cardinality(v_errors) = 0 then
    select * into v_nesting from flowgres.check_nesting(p_tenant_id => p_tenant_id, p_definition => v_definition);
    v_errors := v_nesting.errors;
    v_warnings := v_warnings || v_nesting.warnings || flowgres.check_warnings(p_tenant_id => p_tenant_id, p_definition => v_definition);
  end if;
  return flowgres.report_check(p_errors => v_errors, p_warnings => v_warnings, p_definition => v_definition);
end;
$$;
comment on function flowgres.check_definition(uuid, jsonb) is $$Everything wrong with a definition: {valid, errors, warnings, definition}

`definition` is the canonical form, as far as there is one. Of expressions only what expressions.sql can see is told, and cron
is not parsed here.$$;

create or replace function flowgres.check_document(p_definition jsonb, p_most_bytes integer, p_most_depth integer)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(p_definition) is distinct from 'object' then
    return array[flowgres.problem(
      p_path => '', p_code => 'wrong_kind', p_message => 'a definition is an object', p_hint => 'Begin with name and steps.')];
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
  if p_definition ? 'states' and p_definition ? 'steps' then
    return array[flowgres.problem(
      p_path => 'states', p_code => 'conflicting_keys', p_message => 'a definition has either steps or states')];
  end if;
  if p_definition ?| '{states,transitions}' then
    return array[flowgres.not_available(
      p_path => case when p_definition ? 'states' then 'states' else 'transitions' end, p_what => 'a state machine')];
  end if;
  return '{}';
end;
$$;
comment on function flowgres.check_document(jsonb, integer, integer) is $$What makes looking further pointless: no object, too large, too deep, another kind of workflow.$$;

create or replace function flowgres.report_check(p_errors jsonb[], p_warnings jsonb[], p_definition jsonb)
  returns jsonb language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'valid', cardinality(p_errors) = 0,
    -- A bound on the answer: whoever has two hundred mistakes has one.
    'errors', to_jsonb(p_errors[1 : 200]),
    'warnings', to_jsonb(p_warnings),
    'definition', p_definition);
$$;
comment on function flowgres.report_check(jsonb[], jsonb[], jsonb) is $$The answer of a check.$$;
