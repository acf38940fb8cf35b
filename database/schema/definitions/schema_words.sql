-- JSON Schema in SQL: what a schema says, and the problems of a value that does not have it.
--
-- The language of definitions is described once, in definition.schema.json (JSON Schema 2020-12); editors read that file as it is,
-- flowgres_definitions.schema is the twin of what stands here and in schema_check.sql. Types of packages bring plain JSON Schema,
-- which is checked by the same functions. Keywords of ours are annotations to everybody else:
--   x-code, x-message, x-hint  what is told instead of the general words when a rule of this schema is broken
--   x-form, x-bare, x-fill     how a value is brought into the canonical form (schema_form.sql)
--   x-aliases                  words of other systems for the members or the value: read by POST /workflows, refused here with a hint
--   x-optional                 a built-in type that not every runner serves
--   x-secrets                  a key of a configuration below which secrets may be named
--   x-aside                    a choice that takes no part in what is told of the others

set local role flowgres_owner;

create or replace function flowgres.core_step_types()
  returns text[] language plpgsql immutable parallel safe
as $$
begin
  return array(select jsonb_array_elements_text(flowgres.definition_schema() #> '{$defs,core_type,enum}'));
end;
$$;
comment on function flowgres.core_step_types() is $$The built-in step types.$$;

create or replace function flowgres.capability_of(p_type text)
  returns text language plpgsql immutable parallel safe
as $$
begin
  -- Some that are built in need something that not every runner has.
  return case
    when p_type = any(flowgres.core_step_types()) and flowgres.definition_schema() #> array['$defs', p_type, 'x-optional'] is null then 'core'
    else p_type end;
end;
$$;
comment on function flowgres.capability_of(text) is $$What a runner has to serve for steps of a type: core, for those that every runner serves, or the type.$$;

create or replace function flowgres.find_schema(p_root jsonb, p_reference text)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_parts text[] := string_to_array(substr(p_reference, 3), '/');
begin
  if p_reference = '#' then
    return p_root;
  end if;
  if position('~' in p_reference) > 0 then
    v_parts := array(
      select replace(replace(p.part, '~1', '/'), '~0', '~') from unnest(v_parts) with ordinality as p (part, place) order by p.place);
  end if;
  -- What leads nowhere was refused when the type was registered.
  return coalesce(p_root #> v_parts, 'true');
end;
$$;
comment on function flowgres.find_schema(jsonb, text) is $$The schema that a reference such as #/$defs/retry leads to.$$;

create or replace function flowgres.resolve_schema(p_schema jsonb, p_root jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  -- Beside a reference stand words about the value and bounds of it, which read like its own; anything else is a schema of its own.
  c_words constant text[] := '{title,description,default,examples,doNotSuggest,x-code,x-message,x-hint,x-form,x-bare,x-fill,x-aliases,x-secrets,x-aside}';
  c_bounds constant text[] := '{minimum,maximum,exclusiveMinimum,exclusiveMaximum,minLength,maxLength}';
  v_schema jsonb := p_schema;
  v_rest jsonb;
  v_rules jsonb;
  v_target jsonb;
begin
  while v_schema ? '$ref' loop
    v_rest := v_schema - '$ref';
    v_target := flowgres.find_schema(p_root => p_root, p_reference => v_schema ->> '$ref');
    v_rules := v_rest - c_words;
    if v_rest = '{}' then
      v_schema := v_target;
    elsif jsonb_typeof(v_target) = 'object'
      and (v_rules = '{}' or v_rules - c_bounds = '{}' and not v_target ?| array(select jsonb_object_keys(v_rules)))
    then
      v_schema := v_target || v_rest;
    else
      return jsonb_build_object('allOf', jsonb_build_array(v_target, v_rest));
    end if;
  end loop;
  return v_schema;
end;
$$;
comment on function flowgres.resolve_schema(jsonb, jsonb) is $$A schema without its reference: what that leads to, with what stands beside it.$$;

create or replace function flowgres.is_kind(p_value jsonb, p_kinds jsonb)
  returns boolean language plpgsql immutable parallel safe
as $$
begin
  -- For one type and for a list of them: a text has itself as an element.
  return p_kinds is null or p_kinds ? jsonb_typeof(p_value)
    or p_kinds ? 'integer' and jsonb_typeof(p_value) = 'number' and p_value::text ~ '^-?[0-9]+(\.0+)?$';
end;
$$;
comment on function flowgres.is_kind(jsonb, jsonb) is $$Whether a value is of a type of JSON Schema, or of one of a list of them; of any, when there is none to choose from

An integer has any number of digits, and 5.0 is one.$$;

create or replace function flowgres.schema_kinds(p_schema jsonb, p_root jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_schema jsonb := case when p_schema ? '$ref' then flowgres.resolve_schema(p_schema => p_schema, p_root => p_root) else p_schema end;
begin
  if v_schema ? 'type' then
    return v_schema -> 'type';
  elsif v_schema ? 'enum' then
    return (select jsonb_agg(distinct jsonb_typeof(e)) from jsonb_array_elements(v_schema -> 'enum') as e);
  end if;
  return null;
end;
$$;
comment on function flowgres.schema_kinds(jsonb, jsonb) is $$The types that a schema admits, one or a list; null when it does not say.$$;

create or replace function flowgres.wrong_kind(p_path text, p_value jsonb, p_kinds jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  c_words constant jsonb := '{"string": "text", "array": "list"}';
begin
  return flowgres.problem(
    p_path => p_path, p_code => 'wrong_kind',
    p_message => format(
      'expected %s, found %s',
      (select string_agg(coalesce(c_words ->> (k #>> '{}'), k #>> '{}'), ' or ') from jsonb_path_query(p_kinds, '$[*]') as k),
      coalesce(c_words ->> jsonb_typeof(p_value), jsonb_typeof(p_value))));
end;
$$;
comment on function flowgres.wrong_kind(text, jsonb, jsonb) is $$The problem of a value of another type than the schema wants.$$;

create or replace function flowgres.broken_rule(p_path text, p_schema jsonb, p_code text, p_message text, p_hint text default null)
  returns jsonb language sql immutable parallel safe
as $$
  select flowgres.problem(
    p_path => p_path, p_code => coalesce(p_schema ->> 'x-code', p_code), p_message => coalesce(p_schema ->> 'x-message', p_message),
    p_hint => coalesce(p_schema ->> 'x-hint', p_hint));
$$;
comment on function flowgres.broken_rule(text, jsonb, text, text, text) is $$The problem of a value that breaks a rule of a schema, in the words of the schema where it has any.$$;

create or replace function flowgres.unknown_word(p_path text, p_value jsonb, p_schema jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
begin
  if jsonb_typeof(p_value) <> 'string' then
    return flowgres.broken_rule(
      p_path => p_path, p_schema => p_schema, p_code => 'wrong_kind', p_message => 'this is none of the values that are known here',
      p_hint => left(p_schema ->> 'enum', 300));
  end if;
  return flowgres.broken_rule(
    p_path => p_path, p_schema => p_schema, p_code => 'unknown_word',
    p_message => format('"%s" is not known here', left(p_value #>> '{}', 60)),
    p_hint => flowgres.did_you_mean(
      p_word => p_value #>> '{}',
      p_known => array(select e #>> '{}' from jsonb_array_elements(p_schema -> 'enum') as e where jsonb_typeof(e) = 'string')));
end;
$$;
comment on function flowgres.unknown_word(text, jsonb, jsonb) is $$The problem of a value that is none of those that a schema lists.$$;

create or replace function flowgres.other_word(p_ours text)
  returns text language sql immutable parallel safe
as $$
  select format('Here it is "%s". Words of other systems are read by POST /workflows and by flowgres import.', p_ours);
$$;
comment on function flowgres.other_word(text) is $$The hint of a word of another system: what it is called here, and who reads it.$$;

create or replace function flowgres.unknown_key(p_path text, p_key text, p_schema jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_ours text := p_schema -> 'x-aliases' ->> p_key;
begin
  return flowgres.problem(
    p_path => flowgres.join_path(p_path, p_key), p_code => 'unknown_key',
    p_message => format('the key "%s" is not known here', left(p_key, 60)),
    p_hint => case
      when v_ours is not null then flowgres.other_word(v_ours)
      else flowgres.did_you_mean(
        p_word => p_key,
        p_known => array(
          select k.key from jsonb_each(coalesce(p_schema -> 'properties', '{}')) as k where not k.value ? 'doNotSuggest')) end);
end;
$$;
comment on function flowgres.unknown_key(text, text, jsonb) is $$The problem of a member that a closed object does not have.$$;

create or replace function flowgres.missing_key(p_path text, p_key text)
  returns jsonb language sql immutable parallel safe
as $$
  select flowgres.problem(
    p_path => flowgres.join_path(p_path, p_key), p_code => 'missing_key', p_message => format('"%s" is missing', left(p_key, 60)));
$$;
comment on function flowgres.missing_key(text, text) is $$The problem of a member that has to be there.$$;

create or replace function flowgres.name_bounds(p_schema jsonb, p_least text, p_most text)
  returns text language plpgsql immutable parallel safe
as $$
declare
  v_words text := concat_ws(
    ' and ',
    case when p_least = 'minimum' and p_schema ? 'exclusiveMinimum' then 'more than ' || (p_schema ->> 'exclusiveMinimum')
      else 'at least ' || (p_schema ->> p_least) end,
    case when p_least = 'minimum' then 'less than ' || (p_schema ->> 'exclusiveMaximum') end, 'at most ' || (p_schema ->> p_most));
begin
  return upper(left(v_words, 1) collate "C") || substr(v_words, 2) || '.';
end;
$$;
comment on function flowgres.name_bounds(jsonb, text, text) is $$The bounds of a schema as a hint, by the names of its keywords: At least 1 and at most 100.$$;

create or replace function flowgres.holds_expression(p_value jsonb)
  returns boolean language sql immutable parallel safe
as $$
  select jsonb_path_exists(p_value, 'strict $.** ? (@.type() == "string" && @ like_regex "[{][{%#]")');
$$;
comment on function flowgres.holds_expression(jsonb) is $$Whether an expression stands in a value, at any depth.$$;

create or replace function flowgres.fits_pattern(p_text text, p_pattern text, p_unreadable boolean)
  returns boolean language plpgsql immutable parallel safe
as $$
begin
  -- A boundary of words has another letter here.
  return p_text collate "C" ~ regexp_replace(
    regexp_replace(p_pattern collate "C", '((?:^|[^\\])(?:\\\\)*)\\b', '\1\\y', 'g'), '((?:^|[^\\])(?:\\\\)*)\\B', '\1\\Y', 'g');
exception when invalid_regular_expression then
  return p_unreadable;
end;
$$;
comment on function flowgres.fits_pattern(text, text, boolean) is $$Whether a text matches the pattern of a package's schema; p_unreadable when PostgreSQL cannot read that

What it cannot read is left to the runner that serves the type.$$;

create or replace function flowgres.is_listed(p_value jsonb, p_words jsonb)
  returns boolean language plpgsql immutable parallel safe
as $$
begin
  if jsonb_typeof(p_value) in ('object', 'array') then
    return exists (select from jsonb_array_elements(p_words) as w where w = p_value);
  end if;
  return p_words @> p_value;
end;
$$;
comment on function flowgres.is_listed(jsonb, jsonb) is $$Whether a value is one of a list.$$;
