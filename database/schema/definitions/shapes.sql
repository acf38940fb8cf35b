-- The shapes of a definition's parts, and one check of a value against a shape.
--
-- A shape is data: {"is": kind or kinds, "template": an expression may stand for it, "required", "one_of": words,
-- "min", "max", "max_length", "match", "keys": members of a closed object, "values": members of an open one,
-- "items": elements of a list, "not_empty": of a list, "exactly_one": keys, "at_most_one": keys}.

set local role flowgres_owner;

create or replace function flowgres.definition_shape(p_name text)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
begin
  return case p_name
    when 'definition' then '{"is": "object", "keys": {
      "name": {"is": "text", "required": true}, "title": {"is": "text", "max_length": 200},
      "version": {"is": "text", "max_length": 100}, "description": {"is": "text", "max_length": 10000},
      "metadata": {"is": "object"}, "triggers": {"is": "list", "items": {"is": "object"}}, "inputs": {"is": "object"},
      "additional_inputs": {"is": "boolean"},
      "settings": {"is": "object"}, "defaults": {"is": "object"}, "outputs": {"is": "object"},
      "steps": {"is": "list", "required": true}, "on_failure": {"is": "any"}, "dialect": {"is": "any"},
      "trigger_type": {"is": "text", "one_of": ["webhook", "cron", "schedule", "manual", "api"]},
      "webhook_secret": {"is": "text"}, "workflow": {"is": "object", "keys": {
        "name": {"is": "text"}, "title": {"is": "text"}, "version": {"is": "text"}, "description": {"is": "text"},
        "metadata": {"is": "object"}}}}}'
    when 'defaults' then '{"is": "object", "keys": {
      "timeout": {"is": "duration", "above": 0, "max": 31536000},
      "retry": {"is": "object", "keys": {
        "attempts": {"is": "integer", "min": 1, "max": 100}, "delay": {"is": "duration", "min": 0, "max": 86400},
        "factor": {"is": "number", "min": 1, "max": 100}, "max_delay": {"is": "duration", "min": 0, "max": 604800},
        "jitter": {"is": "boolean"}, "errors": {"is": "list", "items": {"is": "text"}}}}}}'
    when 'settings' then '{"is": "object", "keys": {
      "timeout": {"is": "duration", "above": 0, "max": 31536000}, "priority": {"is": "integer", "min": 0, "max": 9},
      "concurrency": {"is": "object"}, "correlation_id": {"is": "text", "max_length": 200},
      "max_retries": {"is": "integer", "min": 0, "max": 100}, "retention": {"is": ["duration", "text"]}}}'
    when 'step' then '{"is": "object", "keys": {
      "id": {"is": "text", "required": true}, "type": {"is": "text", "required": true},
      "description": {"is": "text", "max_length": 10000},
      "depends_on": {"is": "list", "items": {"is": "text"}}, "when": {"is": "text"},
      "join": {"is": "text", "one_of": ["default", "all", "any", "always", "failed"]},
      "config": {"is": "object"}, "output": {"is": "any"},
      "timeout": {"is": "duration", "above": 0, "max": 31536000},
      "on_error": {"is": "text", "one_of": ["fail", "continue", "skip"]},
      "foreach": {"is": "any"}, "repeat": {"is": "any"}, "on_timeout": {"is": "any"}, "compensate": {"is": "any"},
      "retry": {"is": "object", "keys": {
        "attempts": {"is": "integer", "min": 1, "max": 100}, "delay": {"is": "duration", "min": 0, "max": 86400},
        "factor": {"is": "number", "min": 1, "max": 100}, "max_delay": {"is": "duration", "min": 0, "max": 604800},
        "jitter": {"is": "boolean"}, "errors": {"is": "list", "items": {"is": "text"}}}}}}'
    when 'http' then '{"is": "object", "at_most_one": ["json", "body", "form"], "keys": {
      "method": {"is": "text", "template": true, "one_of": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]},
      "url": {"is": "text", "required": true, "template": true, "max_length": 16384,
        "match": "^ *[Hh][Tt][Tt][Pp][Ss]?://[^ \\t-\\r/?#][^\\u0001-\\u001f\\u007f]*$",
        "hint": "Write an absolute address: https://..."},
      "headers": {"is": "object", "template": true, "values": {"is": ["text", "number", "boolean"]}},
      "query": {"is": "object", "template": true, "values": {"is": ["text", "number", "boolean", "list"],
        "items": {"is": ["text", "number", "boolean", "null"]}}},
      "json": {"is": "any"}, "body": {"is": "any"},
      "form": {"is": "object", "template": true, "values": {"is": ["text", "number", "boolean", "list"],
        "items": {"is": ["text", "number", "boolean", "null"]}}},
      "auth": {"is": "object", "template": true, "keys": {
        "type": {"is": "text", "required": true, "one_of": ["basic", "bearer", "api_key"]},
        "username": {"is": "text"}, "password": {"is": "text"}, "token": {"is": "text"}, "name": {"is": "text"},
        "value": {"is": "text"}, "in": {"is": "text", "one_of": ["header", "query"]}}},
      "expected_status": {"is": "list", "not_empty": true, "items": {"is": ["integer", "text"], "template": true, "min": 100, "max": 599,
        "match": "^[1-5]([0-9]{2}|xx|XX)$", "hint": "A status such as 200, or a class such as 2xx."}},
      "timeout": {"is": "duration", "above": 0, "max": 31536000},
      "follow_redirects": {"is": "boolean", "template": true},
      "response": {"is": "text", "template": true, "one_of": ["auto", "json", "text", "bytes"]}}}'
    when 'transform' then '{"is": "object", "exactly_one": ["expression", "output", "transforms"], "keys": {
      "expression": {"is": "any"}, "output": {"is": "any"}, "source": {"is": "any"},
      "transforms": {"is": "list", "items": {"is": "object", "keys": {
        "op": {"is": "text", "template": true, "one_of": ["rename", "extract", "set", "delete"]},
        "type": {"is": "text", "template": true, "one_of": ["rename", "extract", "set", "delete"]},
        "operation": {"is": "text", "template": true, "one_of": ["rename", "extract", "set", "delete"]},
        "from": {"is": "text"}, "to": {"is": "text"}, "field": {"is": "text"}, "value": {"is": "any"}}}}}}'
    when 'condition' then '{"is": "object", "exactly_one": ["expression", "field"], "keys": {
      "expression": {"is": ["text", "boolean"]}, "field": {"is": "text", "match": ".", "hint": "Such as input.amount."},
      "operator": {"is": "text",
        "one_of": ["eq", "ne", "gt", "gte", "lt", "lte", "in", "contains", "exists", "matches_prefix"]},
      "value": {"is": "any"}, "true_branch": {"is": "list", "items": {"is": "text"}},
      "false_branch": {"is": "list", "items": {"is": "text"}}}}'
    when 'delay' then '{"is": "object", "exactly_one": ["seconds", "duration", "until"], "keys": {
      "seconds": {"is": "duration", "template": true, "min": 0, "max": 31536000},
      "duration": {"is": "duration", "template": true, "min": 0, "max": 31536000},
      "until": {"is": "text", "template": true, "match": ".", "hint": "A time with its zone: 2027-01-31T12:00:00Z."}}}'
    when 'sub_workflow' then '{"is": "object", "keys": {
      "workflow": {"is": "text", "required": true, "template": true, "match": "^([a-z][a-z0-9_-]{0,62}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})$",
        "hint": "Give the name of a workflow."},
      "version": {"is": "integer", "template": true, "min": 1, "max": 2147483647}, "input": {"is": "object", "template": true}}}'
    when 'log' then '{"is": "object", "keys": {
      "level": {"is": "text", "template": true, "one_of": ["debug", "info", "warning", "error"]},
      "message": {"is": "any", "required": true}}}'
    when 'notify' then '{"is": "object", "keys": {
      "channel": {"is": "text", "required": true, "template": true, "one_of": ["email", "slack", "webhook"]},
      "recipient": {"is": "text", "template": true}, "subject": {"is": "text"},
      "message": {"is": "any", "required": true}}}'
    when 'input' then '{"is": "object", "keys": {
      "type": {"is": "text", "required": true,
        "one_of": ["string", "number", "integer", "boolean", "object", "array", "any"]},
      "required": {"is": "boolean"}, "default": {"is": "any"}, "description": {"is": "text"}, "title": {"is": "text"},
      "example": {"is": "any"}, "minimum": {"is": "number"}, "maximum": {"is": "number"},
      "min_length": {"is": "integer", "min": 0}, "max_length": {"is": "integer", "min": 0},
      "enum": {"is": "list"}}}'
    when 'webhook' then '{"is": "object", "keys": {
      "type": {"is": "text"}, "path": {"is": "text"},
      "scheme": {"is": "text", "one_of": ["github", "standard", "stripe", "slack", "token", "none"]},
      "secret": {"is": "text"}, "input": {"is": "any"}}}'
    when 'cron' then '{"is": "object", "keys": {
      "type": {"is": "text"}, "cron": {"is": "text", "required": true, "max_length": 256},
      "timezone": {"is": "text", "max_length": 64},
      "catch_up": {"is": "text", "one_of": ["none", "latest", "all"]}, "input": {"is": "any"}}}'
  end::jsonb;
end;
$$;
comment on function flowgres.definition_shape(text) is $$The shape of a part of a definition: its keys, their kinds and bounds; null when there is no such part.$$;

create or replace function flowgres.is_kind(p_value jsonb, p_kind text)
  returns boolean language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
begin
  return case p_kind
    when 'any' then true
    when 'text' then jsonb_typeof(p_value) = 'string'
    when 'list' then jsonb_typeof(p_value) = 'array'
    when 'integer' then jsonb_typeof(p_value) = 'number' and p_value::text ~ '^-?[0-9]+(\.0+)?$'
    when 'duration' then jsonb_typeof(p_value) = 'number'
    else jsonb_typeof(p_value) = p_kind
  end;
end;
$$;
comment on function flowgres.is_kind(jsonb, text) is $$Whether a value is a text, number, integer, duration (seconds), boolean, object, list or any

An integer has any number of digits, and 5.0 is one.$$;

create or replace function flowgres.check_bounds(p_path text, p_value jsonb, p_shape jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_text text := p_value #>> '{}';
begin
  if jsonb_typeof(p_value) = 'number' then
    if v_text::numeric < (p_shape ->> 'min')::numeric
      or v_text::numeric > (p_shape ->> 'max')::numeric
      or v_text::numeric <= (p_shape ->> 'above')::numeric
    then
      return array[flowgres.problem(
        p_path => p_path, p_code => 'out_of_range',
        p_message => format('%s is out of range', left(v_text, 40)),
        p_hint => concat_ws(' and ', 'More than ' || (p_shape ->> 'above'), 'at least ' || (p_shape ->> 'min'), 'at most ' || (p_shape ->> 'max')))];
    end if;
    return '{}';
  end if;
  if length(v_text) > (p_shape ->> 'max_length')::integer then
    return array[flowgres.problem(
      p_path => p_path, p_code => 'too_long',
      p_message => format('the text has %s characters', length(v_text)), p_hint => format('At most %s.', p_shape ->> 'max_length'))];
  end if;
  if p_shape ? 'one_of' and not p_shape -> 'one_of' ? v_text then
    return array[flowgres.problem(
      p_path => p_path, p_code => 'unknown_word', p_message => format('"%s" is not known here', left(v_text, 60)),
      p_hint => flowgres.did_you_mean(
        p_word => v_text, p_known => array(select jsonb_array_elements_text(p_shape -> 'one_of'))))];
  end if;
  if v_text !~ (p_shape ->> 'match') and position('{{' in v_text) = 0 then
    return array[flowgres.problem(
      p_path => p_path, p_code => 'invalid_text', p_message => format('"%s" is not valid here', left(v_text, 60)),
      p_hint => p_shape ->> 'hint')];
  end if;
  return '{}';
end;
$$;
comment on function flowgres.check_bounds(text, jsonb, jsonb) is $$Whether a number or text of the right kind lies within its shape's bounds.$$;

create or replace function flowgres.check_keys(p_path text, p_object jsonb, p_shape jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := '{}';
  v_known text[] := array(select k.key from jsonb_object_keys(p_shape -> 'keys') as k (key));
  v_given text[];
  v_key text;
begin
  for v_key in
    select o.key from jsonb_object_keys(p_object) as o (key) where not p_shape -> 'keys' ? o.key and p_object -> o.key <> 'null' limit 20
  loop
    v_errors := v_errors || flowgres.problem(
      p_path => flowgres.join_path(p_path, v_key), p_code => 'unknown_key',
      p_message => format('the key "%s" is not known here', left(v_key, 60)),
      p_hint => flowgres.did_you_mean(p_word => v_key, p_known => v_known));
  end loop;
  for v_key in
    select s.key from jsonb_each(p_shape -> 'keys') as s
    where s.value ? 'required' and coalesce(jsonb_typeof(p_object -> s.key), 'null') = 'null'
  loop
    v_errors := v_errors || flowgres.problem(
      p_path => flowgres.join_path(p_path, v_key), p_code => 'missing_key', p_message => format('"%s" is missing', v_key));
  end loop;
  if p_shape ? 'exactly_one' then
    v_given := array(
      select o.key from jsonb_array_elements_text(p_shape -> 'exactly_one') as o (key)
      -- Null is a value where any value is one, else it counts as absent.
      where p_object ? o.key and (p_object -> o.key <> 'null' or p_shape #>> array['keys', o.key, 'is'] = 'any'));
    if cardinality(v_given) <> 1 then
      v_errors := v_errors || flowgres.problem(
        p_path => p_path, p_code => case cardinality(v_given) when 0 then 'missing_key' else 'conflicting_keys' end,
        p_message => case cardinality(v_given)
          when 0 then 'one of these is needed: ' || array_to_string(array(select jsonb_array_elements_text(p_shape -> 'exactly_one')), ', ')
          else 'only one of these may be given: ' || array_to_string(v_given, ', ') end);
    end if;
  end if;
  if p_shape ? 'at_most_one' then
    v_given := array(
      select o.key from jsonb_array_elements_text(p_shape -> 'at_most_one') as o (key)
      -- Null is a value where any value is one, else it counts as absent.
      where p_object ? o.key and (p_object -> o.key <> 'null' or p_shape #>> array['keys', o.key, 'is'] = 'any'));
    if cardinality(v_given) > 1 then
      v_errors := v_errors || flowgres.problem(
        p_path => p_path, p_code => 'conflicting_keys',
        p_message => 'only one of these may be given: ' || array_to_string(v_given, ', '));
    end if;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_keys(text, jsonb, jsonb) is $$Unknown, missing and conflicting keys of a closed object.$$;

create or replace function flowgres.check_shape(p_path text, p_value jsonb, p_shape jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := '{}';
  v_is jsonb := p_shape -> 'is';
  v_kinds text[];
  v_fits boolean;
  v_part record;
begin
  if v_is = '"any"' then
    return v_errors;
  end if;
  if p_shape ? 'template' and jsonb_typeof(p_value) = 'string' and position('{{' in p_value #>> '{}') > 0 then
    return v_errors;
  end if;
  if jsonb_typeof(v_is) = 'string' then
    v_fits := flowgres.is_kind(p_value, v_is #>> '{}');
  else
    v_fits := exists (select from jsonb_array_elements_text(v_is) as k (kind) where flowgres.is_kind(p_value, k.kind));
  end if;
  if not v_fits then
    v_kinds := array(select k #>> '{}' from jsonb_path_query(v_is, '$[*]') as k);
    if jsonb_typeof(p_value) in ('string', 'number') and v_kinds[1] = 'duration' then
      return array[flowgres.problem(
        p_path => p_path, p_code => 'duration_invalid', p_message => format('"%s" is no duration', left(p_value #>> '{}', 40)),
        p_hint => 'A number of seconds, 250ms, 30s, 5m, 2h, 3d or PT30S.')];
    end if;
    return array[flowgres.problem(
      p_path => p_path, p_code => 'wrong_kind',
      p_message => format(
        'expected %s, found %s', array_to_string(v_kinds, ' or '),
        case jsonb_typeof(p_value) when 'string' then 'text' when 'array' then 'list' else jsonb_typeof(p_value) end))];
  end if;

  case jsonb_typeof(p_value)
    when 'object' then
      if p_shape ? 'keys' then
        v_errors := flowgres.check_keys(p_path => p_path, p_object => p_value, p_shape => p_shape);
      end if;
      if p_shape ?| '{keys,values}' then
        for v_part in
          select o.key, o.value, coalesce(p_shape #> array['keys', o.key], p_shape -> 'values') as shape
          from jsonb_each(p_value) as o
          where o.value <> 'null'
        loop
          if v_part.shape is not null then
            v_errors := v_errors || flowgres.check_shape(
              p_path => flowgres.join_path(p_path, v_part.key), p_value => v_part.value, p_shape => v_part.shape);
          end if;
        end loop;
      end if;
    when 'array' then
      if p_shape ? 'not_empty' and p_value = '[]' then
        v_errors := v_errors || flowgres.problem(p_path => p_path, p_code => 'invalid_text', p_message => 'the value is empty');
      end if;
      if p_shape ? 'items' then
        for v_part in
          select e.value, e.position - 1 as place
          from jsonb_array_elements(p_value) with ordinality as e (value, position)
        loop
          v_errors := v_errors || flowgres.check_shape(
            p_path => format('%s[%s]', p_path, v_part.place), p_value => v_part.value, p_shape => p_shape -> 'items');
        end loop;
      end if;
    else
      if p_shape ?| '{min,max,above,max_length,one_of,match}' then
        v_errors := flowgres.check_bounds(p_path => p_path, p_value => p_value, p_shape => p_shape);
      end if;
  end case;
  return v_errors;
end;
$$;
comment on function flowgres.check_shape(text, jsonb, jsonb) is $$Everything in a value that does not have its shape, with paths

A member that is null counts as absent.$$;
