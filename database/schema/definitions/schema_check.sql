-- JSON Schema in SQL: one check of a value against a schema, with everything that is wrong and where.

set local role flowgres_owner;

create or replace function flowgres.check_scalar(p_path text, p_value jsonb, p_schema jsonb, p_is_open boolean)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_text text := p_value #>> '{}';
  v_number numeric;
begin
  if jsonb_typeof(p_value) = 'number' then
    v_number := v_text::numeric;
    if v_number < (p_schema ->> 'minimum')::numeric or v_number > (p_schema ->> 'maximum')::numeric
      or v_number <= (p_schema ->> 'exclusiveMinimum')::numeric or v_number >= (p_schema ->> 'exclusiveMaximum')::numeric
    then
      return array[flowgres.broken_rule(
        p_path => p_path, p_schema => p_schema - 'x-hint', p_code => 'out_of_range',
        p_message => format('%s is out of range', left(v_text, 40)),
        p_hint => flowgres.name_bounds(p_schema, 'minimum', 'maximum'))];
    elsif v_number % nullif((p_schema ->> 'multipleOf')::numeric, 0) <> 0 then
      return array[flowgres.broken_rule(
        p_path => p_path, p_schema => p_schema, p_code => 'invalid_value',
        p_message => format('%s is no multiple of %s', left(v_text, 40), p_schema ->> 'multipleOf'))];
    end if;
    return '{}';
  end if;
  if p_schema ->> 'format' = 'seconds' then
    -- The canonical form has a number here, so this is none.
    return array[flowgres.problem(
      p_path => p_path, p_code => 'duration_invalid', p_message => format('"%s" is no duration', left(v_text, 40)),
      p_hint => 'A number of seconds, 250ms, 30s, 5m, 2h, 3d or PT30S.')];
  elsif length(v_text) > (p_schema ->> 'maxLength')::numeric then
    return array[flowgres.problem(
      p_path => p_path, p_code => 'too_long', p_message => format('the text has %s characters', length(v_text)),
      p_hint => flowgres.name_bounds(p_schema, 'minLength', 'maxLength'))];
  elsif length(v_text) < (p_schema ->> 'minLength')::numeric then
    return array[flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => 'invalid_text',
      p_message => case v_text when '' then 'the value is empty' else 'the text is too short' end,
      p_hint => flowgres.name_bounds(p_schema, 'minLength', 'maxLength'))];
  elsif p_schema ->> 'format' = 'moment' and not flowgres.is_moment(v_text) then
    return array[flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => 'invalid_text', p_message => 'this is no time')];
  elsif p_schema ? 'pattern' and not (case
    when p_is_open then flowgres.fits_pattern(v_text, p_schema ->> 'pattern', true)
    else v_text collate "C" ~ (p_schema ->> 'pattern') end)
  then
    return array[flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => 'invalid_text',
      p_message => format('"%s" is not valid here', left(v_text, 60)))];
  end if;
  return '{}';
end;
$$;
comment on function flowgres.check_scalar(text, jsonb, jsonb, boolean) is $$Whether a number or text of the right type lies within the bounds of its schema; the first rule that it breaks.$$;

create or replace function flowgres.check_elements(p_path text, p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_count integer := jsonb_array_length(p_value);
  v_fitting integer;
  v_is_settled boolean := not p_is_open or not flowgres.holds_expression(p_value);
  -- Nobody reads more, and a list can have half a million of them.
  c_most_errors constant integer := 200;
  v_element record;
begin
  if v_is_settled and (v_count < (p_schema ->> 'minItems')::numeric or v_count > (p_schema ->> 'maxItems')::numeric) then
    v_errors := array[flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => case v_count when 0 then 'invalid_text' else 'invalid_value' end,
      p_message => case v_count when 0 then 'the value is empty' else format('the list has %s elements', v_count) end,
      p_hint => flowgres.name_bounds(p_schema, 'minItems', 'maxItems'))];
  end if;
  if v_is_settled and p_schema -> 'uniqueItems' = 'true'
    and (select count(distinct e) from jsonb_array_elements(p_value) as e) < v_count
  then
    v_errors := v_errors || flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => 'invalid_value', p_message => 'an element is there twice');
  end if;
  if v_is_settled and p_schema ? 'contains' then
    v_fitting := (
      select count(*) from jsonb_array_elements(p_value) as e
      where flowgres.fits(e, p_schema -> 'contains', p_root, p_is_open));
    if v_fitting < coalesce((p_schema ->> 'minContains')::numeric, 1) or v_fitting > (p_schema ->> 'maxContains')::numeric then
      v_errors := v_errors || flowgres.broken_rule(
        p_path => p_path, p_schema => p_schema, p_code => 'invalid_value',
        p_message => format('%s elements are of the kind that is asked for', v_fitting));
    end if;
  end if;
  if p_schema ?| '{items,prefixItems}' then
    for v_element in
      select e.value, e.position - 1 as place, coalesce(p_schema -> 'prefixItems' -> (e.position - 1)::integer, p_schema -> 'items') as schema
      from jsonb_array_elements(p_value) with ordinality as e (value, position)
    loop
      exit when cardinality(v_errors) >= c_most_errors;
      if v_element.schema is not null then
        v_errors := v_errors || flowgres.check_value(
          format('%s[%s]', p_path, v_element.place), v_element.value, v_element.schema, p_root, p_is_open);
      end if;
    end loop;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_elements(text, jsonb, jsonb, jsonb, boolean) is $$What is wrong with a list and its elements.$$;

create or replace function flowgres.check_keys(p_path text, p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_count integer;
  v_key text;
begin
  if p_schema -> 'additionalProperties' = 'false' then
    for v_key in
      select k.key from jsonb_object_keys(p_value) as k (key)
      where not coalesce(p_schema -> 'properties' ? k.key, false) and not exists (
        select from jsonb_object_keys(coalesce(p_schema -> 'patternProperties', '{}')) as p (pattern)
        where flowgres.fits_pattern(k.key, p.pattern, true))
      limit 20
    loop
      v_errors := v_errors || flowgres.unknown_key(p_path => p_path, p_key => v_key, p_schema => p_schema);
    end loop;
  end if;
  if p_schema ? 'required' then
    for v_key in select r.key from jsonb_array_elements_text(p_schema -> 'required') as r (key) where not p_value ? r.key loop
      v_errors := v_errors || flowgres.missing_key(p_path => p_path, p_key => v_key);
    end loop;
  end if;
  if p_schema ? 'dependentRequired' then
    for v_key in
      select n.key
      from jsonb_each(p_schema -> 'dependentRequired') as d
      cross join lateral jsonb_array_elements_text(d.value) as n (key)
      where p_value ? d.key and not p_value ? n.key
    loop
      v_errors := v_errors || flowgres.missing_key(p_path => p_path, p_key => v_key);
    end loop;
  end if;
  if p_schema ? 'propertyNames' then
    for v_key in select k.key from jsonb_object_keys(p_value) as k (key) loop
      exit when cardinality(v_errors) >= 200;
      v_errors := v_errors || flowgres.check_value(
        flowgres.join_path(p_path, v_key), to_jsonb(v_key), p_schema -> 'propertyNames', p_root, p_is_open);
    end loop;
  end if;
  if p_schema ?| '{minProperties,maxProperties}' then
    v_count := (select count(*) from jsonb_object_keys(p_value));
    if v_count < (p_schema ->> 'minProperties')::numeric or v_count > (p_schema ->> 'maxProperties')::numeric then
      v_errors := v_errors || flowgres.broken_rule(
        p_path => p_path, p_schema => p_schema, p_code => 'invalid_value', p_message => format('the object has %s members', v_count),
        p_hint => flowgres.name_bounds(p_schema, 'minProperties', 'maxProperties'));
    end if;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_keys(text, jsonb, jsonb, jsonb, boolean) is $$What is wrong with the keys of an object: unknown, missing, or no names.$$;

create or replace function flowgres.check_members(p_path text, p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_properties jsonb := p_schema -> 'properties';
  c_most_errors constant integer := 200;
  v_member record;
begin
  for v_member in select m.key, m.value, v_properties -> m.key as schema from jsonb_each(p_value) as m loop
    exit when cardinality(v_errors) >= c_most_errors;
    if v_member.schema is not null then
      v_errors := v_errors || flowgres.check_value(
        case when p_is_open then flowgres.join_path(p_path, v_member.key)
          when p_path = '' then v_member.key else p_path || '.' || v_member.key end,
        v_member.value, v_member.schema, p_root, p_is_open);
    elsif jsonb_typeof(p_schema -> 'additionalProperties') = 'object' and not p_schema ? 'patternProperties' then
      v_errors := v_errors || flowgres.check_value(
        flowgres.join_path(p_path, v_member.key), v_member.value, p_schema -> 'additionalProperties', p_root, p_is_open);
    end if;
  end loop;
  if p_schema ? 'patternProperties' then
    for v_member in
      select m.key, m.value, s.schema
      from jsonb_each(p_value) as m
      cross join lateral (
        select p.value as schema from jsonb_each(p_schema -> 'patternProperties') as p where flowgres.fits_pattern(m.key, p.key, false)
        union all
        select p_schema -> 'additionalProperties'
        where jsonb_typeof(p_schema -> 'additionalProperties') = 'object' and not coalesce(p_schema -> 'properties' ? m.key, false)
          and not exists (
            select from jsonb_object_keys(p_schema -> 'patternProperties') as p (pattern) where flowgres.fits_pattern(m.key, p.pattern, true))
      ) as s
    loop
      exit when cardinality(v_errors) >= c_most_errors;
      v_errors := v_errors || flowgres.check_value(
        flowgres.join_path(p_path, v_member.key), v_member.value, v_member.schema, p_root, p_is_open);
    end loop;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_members(text, jsonb, jsonb, jsonb, boolean) is $$What is wrong with the values of an object.$$;

create or replace function flowgres.check_any(p_path text, p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_choice jsonb;
  v_found jsonb[];
  v_meant jsonb[];
  v_own jsonb;
  v_kinds jsonb := '[]';
begin
  for v_choice in select c from jsonb_array_elements(p_schema -> 'anyOf') as c loop
    v_choice := flowgres.resolve_schema(p_schema => v_choice, p_root => p_root);
    v_found := flowgres.check_value(p_path, p_value, v_choice, p_root, p_is_open);
    if v_found = '{}' then
      return v_found;
    end if;
    -- An expression may stand for anything: nobody who did not write one meant one.
    continue when v_choice ? 'x-aside';
    v_own := flowgres.schema_kinds(v_choice, p_root);
    if v_meant is null and flowgres.is_kind(p_value, v_own) then
      v_meant := v_found;
    end if;
    v_kinds := v_kinds || coalesce((
      select jsonb_agg(k) from jsonb_path_query(v_own, '$[*]') as k where not v_kinds @> jsonb_build_array(k)), '[]');
  end loop;
  if v_meant is not null then
    return v_meant;
  elsif v_kinds <> '[]' then
    return array[flowgres.wrong_kind(p_path => p_path, p_value => p_value, p_kinds => v_kinds)];
  end if;
  return array[flowgres.broken_rule(
    p_path => p_path, p_schema => p_schema, p_code => 'invalid_value', p_message => 'this fits none of the forms that are known here')];
end;
$$;
comment on function flowgres.check_any(text, jsonb, jsonb, jsonb, boolean) is $$What is wrong with a value that has to fit one or more of several schemas

Told are the mistakes of the first that is of the right type: it is the one that was meant.$$;

create or replace function flowgres.check_one(p_path text, p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_choice jsonb;
  v_fitting integer := 0;
  v_keys text[];
begin
  for v_choice in select c from jsonb_array_elements(p_schema -> 'oneOf') as c loop
    v_fitting := v_fitting + flowgres.fits(p_value, v_choice, p_root, p_is_open)::integer;
  end loop;
  if v_fitting = 1 then
    return '{}';
  end if;
  v_keys := array(select k #>> '{}' from jsonb_path_query(p_schema, '$.oneOf[*].required[*]') as k);
  if jsonb_typeof(p_value) = 'object' and cardinality(v_keys) = jsonb_array_length(p_schema -> 'oneOf') then
    return array[flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => case v_fitting when 0 then 'missing_key' else 'conflicting_keys' end,
      p_message => case v_fitting
        when 0 then 'one of these is needed: ' || array_to_string(v_keys, ', ')
        else 'only one of these may be given: ' || array_to_string(array(select k from unnest(v_keys) as k where p_value ? k), ', ') end)];
  end if;
  return array[flowgres.broken_rule(
    p_path => p_path, p_schema => p_schema, p_code => 'invalid_value',
    p_message => format('this fits %s of the forms that are known here, not one', v_fitting))];
end;
$$;
comment on function flowgres.check_one(text, jsonb, jsonb, jsonb, boolean) is $$What is wrong with a value that has to fit exactly one of several schemas.$$;

create or replace function flowgres.fits(p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean)
  returns boolean language plpgsql immutable parallel safe
as $$
declare
  v_schema jsonb := case when p_schema ? '$ref' then flowgres.resolve_schema(p_schema => p_schema, p_root => p_root) else p_schema end;
  v_key text;
  v_wanted jsonb;
begin
  -- What is asked of every step for every type is answered without telling what would be wrong with it.
  if v_schema ? 'enum' and not flowgres.is_listed(p_value, v_schema -> 'enum') then
    return p_is_open and flowgres.holds_expression(p_value);
  end if;
  v_key := v_schema #>> '{required,0}';
  v_wanted := v_schema -> 'properties' -> v_key;
  if v_wanted ? 'const' and jsonb_typeof(p_value) = 'object' and not coalesce(p_value -> v_key = v_wanted -> 'const', false) then
    return p_is_open and p_value ? v_key and flowgres.holds_expression(p_value -> v_key);
  end if;
  return flowgres.check_value('', p_value, v_schema, p_root, p_is_open) = '{}';
end;
$$;
comment on function flowgres.fits(jsonb, jsonb, jsonb, boolean) is $$Whether nothing is wrong with a value.$$;

create or replace function flowgres.check_value(p_path text, p_value jsonb, p_schema jsonb, p_root jsonb, p_is_open boolean default false)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_schema jsonb := p_schema;
  v_kind text := jsonb_typeof(p_value);
  -- What expressions will give is unknown: a rule about the value itself may still be kept.
  v_is_settled boolean := not p_is_open or not flowgres.holds_expression(p_value);
  v_part jsonb;
begin
  if v_schema ? '$ref' then
    v_schema := flowgres.resolve_schema(p_schema => v_schema, p_root => p_root);
  end if;
  if jsonb_typeof(v_schema) <> 'object' then
    return case when v_schema = 'false' and v_is_settled then array[flowgres.problem(p_path, 'invalid_value', 'nothing may stand here')] else '{}' end;
  end if;
  if v_schema ? 'type' and not (v_schema -> 'type' ? v_kind) and not flowgres.is_kind(p_value, v_schema -> 'type') then
    return case when v_is_settled or v_kind in ('object', 'array')
      then array[flowgres.wrong_kind(p_path => p_path, p_value => p_value, p_kinds => v_schema -> 'type')]
      else '{}' end;
  end if;
  if v_schema ? 'not' and v_is_settled and flowgres.fits(p_value, v_schema -> 'not', p_root, p_is_open) then
    v_errors := array[flowgres.broken_rule(
      p_path => p_path, p_schema => flowgres.resolve_schema(p_schema => v_schema -> 'not', p_root => p_root),
      p_code => 'invalid_value', p_message => 'this may not stand here')];
    if v_kind not in ('object', 'array') then
      return v_errors;
    end if;
  end if;
  if v_is_settled then
    if v_schema ? 'enum' and not flowgres.is_listed(p_value, v_schema -> 'enum') then
      return v_errors || flowgres.unknown_word(p_path => p_path, p_value => p_value, p_schema => v_schema);
    elsif v_schema ? 'const' and v_schema -> 'const' <> p_value then
      return v_errors || flowgres.broken_rule(
        p_path => p_path, p_schema => v_schema, p_code => 'invalid_value', p_message => 'this is not the value that has to stand here');
    elsif v_kind in ('string', 'number') and v_schema ?| '{pattern,format,minimum,maximum,exclusiveMinimum,exclusiveMaximum,multipleOf,minLength,maxLength}' then
      v_errors := v_errors || flowgres.check_scalar(p_path, p_value, v_schema, p_is_open);
    end if;
  end if;
  if v_kind = 'object' then
    if v_schema ?| '{additionalProperties,required,dependentRequired,propertyNames,minProperties,maxProperties}' then
      v_errors := v_errors || flowgres.check_keys(p_path, p_value, v_schema, p_root, p_is_open);
    end if;
    if v_schema ?| '{properties,additionalProperties,patternProperties}' then
      v_errors := v_errors || flowgres.check_members(p_path, p_value, v_schema, p_root, p_is_open);
    end if;
    if v_schema ? 'dependentSchemas' then
      for v_part in select d.value from jsonb_each(v_schema -> 'dependentSchemas') as d where p_value ? d.key loop
        v_errors := v_errors || flowgres.check_value(p_path, p_value, v_part, p_root, p_is_open);
      end loop;
    end if;
  elsif v_kind = 'array' then
    v_errors := v_errors || flowgres.check_elements(p_path, p_value, v_schema, p_root, p_is_open);
  end if;

  if v_schema ? 'allOf' then
    for v_part in select a from jsonb_array_elements(v_schema -> 'allOf') as a loop
      -- Most of them ask for the type of a step, and are not meant.
      continue when v_part ? 'if' and v_part - '{if,then}'::text[] = '{}' and not flowgres.fits(p_value, v_part -> 'if', p_root, p_is_open);
      v_errors := v_errors || flowgres.check_value(p_path, p_value, v_part, p_root, p_is_open);
    end loop;
  end if;
  if v_schema ? 'if' then
    -- What may turn out either way asks for nothing yet.
    v_part := v_schema -> case
      when not flowgres.fits(p_value, v_schema -> 'if', p_root, p_is_open) then 'else' when v_is_settled then 'then' end;
    if v_part is not null then
      v_errors := v_errors || flowgres.check_value(p_path, p_value, v_part, p_root, p_is_open);
    end if;
  end if;
  if v_is_settled and v_schema ? 'anyOf' then
    v_errors := v_errors || flowgres.check_any(p_path, p_value, v_schema, p_root, p_is_open);
  end if;
  if v_is_settled and v_schema ? 'oneOf' then
    v_errors := v_errors || flowgres.check_one(p_path, p_value, v_schema, p_root, p_is_open);
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_value(text, jsonb, jsonb, jsonb, boolean) is $$Everything in a value that its schema forbids, with paths

p_root is the schema that references begin at. p_is_open: expressions may stand for any value, so only what is wrong whatever
they give is told. Keys are no expressions: they are checked in any case.$$;
