-- Declared inputs: whether their declarations are sound, what refers to them, and what a start may send.

set local role flowgres_owner;

create or replace function flowgres.check_defaults(p_inputs jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_root jsonb := flowgres.definition_schema();
begin
  return array(
    select flowgres.problem(
      p_path => flowgres.join_path('inputs', i.key) || '.default', p_code => p ->> 'code',
      p_message => 'the default does not fit: ' || (p ->> 'message'))
    from jsonb_each(p_inputs) as i
    cross join lateral unnest(case
      when i.value ? 'default' and flowgres.check_value('', i.value, v_root #> '{$defs,input}', v_root) = '{}'
      then flowgres.check_input_value(p_path => i.key, p_declaration => i.value, p_value => i.value -> 'default') end) as p);
end;
$$;
comment on function flowgres.check_defaults(jsonb) is $$Defaults of inputs that do not fit their own declaration.$$;

create or replace function flowgres.check_input_references(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  c_most_errors constant integer := 200;
  -- The first member that a jsonpath on the input names.
  c_member constant text :=
    '^[ \t-\r]*(?:(?:lax|strict)[ \t-\r]+)?\$[ \t-\r]*\.[ \t-\r]*(?:([A-Za-z_][A-Za-z0-9_]*)(?![A-Za-z0-9_]|[ \t-\r]*\()|"([^"\\]*)")';
  v_known text[];
begin
  if jsonb_typeof(p_definition -> 'inputs') is distinct from 'object' or p_definition -> 'additional_inputs' = 'true' then
    return '{}';
  end if;
  v_known := array(select jsonb_object_keys(p_definition -> 'inputs'));
  return array(
    select flowgres.unknown_input(p_path => r.path, p_name => r.name, p_known => v_known)
    from (
      select p.path, coalesce(m.member[1], m.member[2]) as name
      from flowgres.list_input_paths(p_definition) as p
      cross join lateral (select regexp_match(p.value, c_member) as member) as m
      union all
      select flowgres.join_path(format('triggers[%s].input', t.position - 1), k.name), k.name
      from jsonb_array_elements(
        case when jsonb_typeof(p_definition -> 'triggers') = 'array' then p_definition -> 'triggers' else '[]' end
      ) with ordinality as t (value, position)
      cross join lateral jsonb_object_keys(
        case when jsonb_typeof(t.value -> 'input') = 'object' then t.value -> 'input' else '{}' end) as k (name)
      union all
      select t.path, n.name
      from (
        select l.path, flowgres.step_expressions(l.step) as value
        from flowgres.list_sections(p_definition) as l
        where position('input' in l.step::text) > 0
        union all
        select 'outputs', p_definition -> 'outputs'
      ) as p
      cross join lateral flowgres.list_texts(p_path => p.path, p_value => p.value) as t
      cross join lateral unnest(flowgres.find_names(p_value => to_jsonb(t.text), p_root => 'input')) as n (name)
      where position('input' in t.text) > 0
    ) as r
    where r.name is not null and r.name <> all(v_known)
    limit c_most_errors);
end;
$$;
comment on function flowgres.check_input_references(jsonb) is $$Inputs that are named and not declared, where a workflow declares its inputs

In expressions, in jsonpaths on the input, and in what triggers send.$$;

create or replace function flowgres.unknown_input(p_path text, p_name text, p_known text[])
  returns jsonb language sql immutable parallel safe
as $$
  select flowgres.problem(
    p_path => p_path, p_code => 'unknown_input', p_message => format('the workflow declares no input "%s"', left(p_name, 60)),
    p_hint => coalesce(
      flowgres.did_you_mean(p_word => p_name, p_known => p_known),
      'Declare it in inputs, or let the workflow say additional_inputs: true.'));
$$;
comment on function flowgres.unknown_input(text, text, text[]) is $$The problem of an input that is sent or named, and not declared.$$;

create or replace function flowgres.check_input_value(p_path text, p_declaration jsonb, p_value jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_type text := p_declaration ->> 'type';
  v_text text := p_value #>> '{}';
  v_size numeric;
begin
  if v_type <> 'any' and not flowgres.is_kind(p_value, to_jsonb(v_type)) then
    return array[flowgres.problem(p_path, 'wrong_kind', format('%s must be of type %s, not %s', p_path, v_type, jsonb_typeof(p_value)))];
  end if;
  if p_declaration ? 'enum' and not p_declaration -> 'enum' @> jsonb_build_array(p_value) then
    return array[flowgres.problem(
      p_path, 'not_allowed', format('%s is not one of the allowed values', p_path), left(p_declaration ->> 'enum', 300))];
  end if;
  case jsonb_typeof(p_value)
    when 'number' then
      if v_text::numeric < (p_declaration ->> 'minimum')::numeric or v_text::numeric > (p_declaration ->> 'maximum')::numeric then
        return array[flowgres.problem(p_path, 'out_of_range', format('%s is out of range', p_path), concat_ws(
          ' and ', 'At least ' || (p_declaration ->> 'minimum'), 'at most ' || (p_declaration ->> 'maximum')))];
      end if;
      return '{}';
    when 'string' then
      v_size := length(v_text);
    when 'array' then
      v_size := jsonb_array_length(p_value);
    else
      return '{}';
  end case;
  if v_size < (p_declaration ->> 'min_length')::numeric or v_size > (p_declaration ->> 'max_length')::numeric then
    return array[flowgres.problem(
      p_path, 'wrong_length',
      format('%s has %s %s', p_path, v_size, case jsonb_typeof(p_value) when 'string' then 'characters' else 'elements' end),
      concat_ws(' and ', 'At least ' || (p_declaration ->> 'min_length'), 'at most ' || (p_declaration ->> 'max_length')))];
  end if;
  return '{}';
end;
$$;
comment on function flowgres.check_input_value(text, jsonb, jsonb) is $$What is wrong with one input, by its declaration.$$;

create or replace function flowgres.fill_in(
  p_declared jsonb, p_given jsonb, p_path text, out p_filled jsonb, out p_errors jsonb[]
)
  language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
declare
  v_value jsonb;
  v_declared record;
begin
  p_filled := p_given;
  p_errors := '{}';
  for v_declared in select i.key, i.value, flowgres.join_path(p_path, i.key) as path from jsonb_each(p_declared) as i loop
    v_value := coalesce(p_given -> v_declared.key, v_declared.value -> 'default');
    if p_given ? v_declared.key then
      p_errors := p_errors || flowgres.check_input_value(
        p_path => v_declared.path, p_declaration => v_declared.value, p_value => v_value);
    elsif v_value is not null then
      p_filled := p_filled || jsonb_build_object(v_declared.key, v_value);
    elsif v_declared.value -> 'required' = 'true' then
      p_errors := p_errors || flowgres.problem(v_declared.path, 'required', format('%s is required', v_declared.path));
    end if;
    if v_declared.value -> 'type' = '"integer"' and jsonb_typeof(v_value) = 'number' and v_value::text like '%.%' then
      -- 5.0 is the integer 5, and from here on written like one.
      p_filled := p_filled || jsonb_build_object(v_declared.key, trim_scale(v_value::numeric));
    end if;
  end loop;
end;
$$;
comment on function flowgres.fill_in(jsonb, jsonb, text) is $$An object with the defaults of what is declared, and what is wrong with it by these declarations.$$;

create or replace function flowgres.check_input(
  p_inputs jsonb, p_takes_additional boolean, p_input jsonb, p_path text default ''
)
  returns jsonb language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[];
  v_input jsonb;
  v_known text[];
begin
  if jsonb_typeof(p_input) is distinct from 'object' then
    perform flowgres.fail(
      p_status => 422, p_code => 'input_invalid',
      p_message => concat_ws(': ', nullif(p_path, ''), 'the input is not an object'),
      p_hint => 'Send a JSON object, such as {"order_id": "1"}.');
  end if;
  if p_inputs is null then
    return p_input;
  end if;
  select f.p_filled, f.p_errors into v_input, v_errors from flowgres.fill_in(p_inputs, p_input, p_path) as f;
  if not p_takes_additional then
    v_known := array(select jsonb_object_keys(p_inputs));
    v_errors := array(
      -- First, as a name that is wrong is often why another one is missing.
      select flowgres.unknown_input(p_path => flowgres.join_path(p_path, u.name), p_name => u.name, p_known => v_known)
      from jsonb_object_keys(p_input - v_known) as u (name)
      limit 20
    ) || v_errors;
  end if;
  if cardinality(v_errors) > 0 then
    perform flowgres.fail(
      p_status => 422, p_code => 'input_invalid',
      p_message => format('%s does not fit: ', coalesce(nullif(p_path, ''), 'the input')) || left((select string_agg(e ->> 'message', '; ') from unnest(v_errors) as e), 500),
      p_details => to_jsonb(v_errors)::text,
      p_hint => coalesce(
        (select e ->> 'hint' from unnest(v_errors) with ordinality as e (e, place) where e ? 'hint' order by e.place limit 1),
        'The workflow declares its inputs: see /workflow_versions.'));
  end if;
  return v_input;
end;
$$;
comment on function flowgres.check_input(jsonb, boolean, jsonb, text) is $$The input of an execution with its defaults, or 422 with everything that is wrong with it

Where inputs are declared, others are refused, unless the version takes additional ones. A trigger sends what is declared and keeps
the rest in its payload. p_path is where the input stands in what was sent.$$;

create or replace function flowgres.list_input_paths(p_definition jsonb)
  returns table (path text, value text) language sql immutable parallel safe rows 2
as $$
  values
  ('settings.correlation_id', p_definition #>> '{settings,correlation_id}'),
  ('settings.start.key', p_definition #>> '{settings,start,key}');
$$;
comment on function flowgres.list_input_paths(jsonb) is $$The jsonpaths on the input that a definition has, null where it has none.$$;

create or replace function flowgres.check_jsonpaths(p_definition jsonb, p_found jsonb[])
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_path record;
  v_errors jsonb[] := '{}';
begin
  for v_path in
    select p.path, p.value from flowgres.list_input_paths(p_definition) as p
    where p.value is not null and not exists (select from unnest(p_found) as f where f ->> 'path' = p.path)
  loop
    -- What the description lets through is one. Nobody can be sure of that but who reads it.
    begin
      perform v_path.value::jsonpath;
    exception when syntax_error or invalid_text_representation or numeric_value_out_of_range then
      v_errors := v_errors || flowgres.problem(
        p_path => v_path.path, p_code => 'jsonpath_invalid', p_message => 'this is no jsonpath',
        p_hint => 'Write a jsonpath that names a member of the input, such as $.order_id.');
    end;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_jsonpaths(jsonb, jsonb[]) is $$Whether PostgreSQL takes the jsonpaths in which nothing else was found.$$;
