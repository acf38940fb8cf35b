-- The input that a trigger makes of what came: a mapping that the database can read, so that no runner is asked.

set local role flowgres_owner;

create or replace function flowgres.map_trigger_value(p_mapping jsonb, p_payload jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $body$
declare
  v_text text;
begin
  case jsonb_typeof(p_mapping)
    when 'string' then
      v_text := p_mapping #>> '{}';
      if left(v_text, 2) = '$$' then
        return to_jsonb(substr(v_text, 2));
      elsif v_text = '$' then
        return p_payload;
      elsif left(v_text, 2) in ('$.', '$[') then
        return jsonb_path_query_first(p_payload, v_text::jsonpath, '{}', true);
      end if;
      return p_mapping;
    when 'object' then
      return (
        select coalesce(jsonb_object_agg(m.key, v.value) filter (where v.value is not null), '{}')
        from jsonb_each(p_mapping) as m
        cross join lateral (select flowgres.map_trigger_value(p_mapping => m.value, p_payload => p_payload) as value offset 0) as v);
    when 'array' then
      -- What is missing keeps its place.
      return (
        select coalesce(jsonb_agg(coalesce(
          flowgres.map_trigger_value(p_mapping => m.value, p_payload => p_payload), 'null') order by m.place), '[]')
        from jsonb_array_elements(p_mapping) with ordinality as m (value, place));
    else
      return p_mapping;
  end case;
end;
$body$;
comment on function flowgres.map_trigger_value(jsonb, jsonb) is $$One value of a mapping, filled in from a payload; null when what it names is missing.$$;

create or replace function flowgres.map_trigger_input(p_mapping jsonb, p_payload jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
begin
  if p_mapping is null or p_mapping = 'null' then
    return case jsonb_typeof(p_payload) when 'object' then p_payload else '{}' end;
  end if;
  return flowgres.map_trigger_value(p_mapping => p_mapping, p_payload => p_payload);
end;
$$;
comment on function flowgres.map_trigger_input(jsonb, jsonb) is $body$The input that a trigger's mapping makes of a payload

Texts that are $, or begin with $. or $[, are jsonpath on the payload, and give the first that they find; where they find nothing, their
key is left out (in a list null stands there). $$ begins a text that begins with $. All else is taken as it is. Without a mapping it is
the payload, if that is an object, else {}.$body$;

create or replace function flowgres.trigger_input(p_mapping jsonb, p_payload jsonb, p_inputs jsonb, p_takes_additional boolean)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  c_most_bytes constant bigint := 64 * 1024 * 1024;
  v_input jsonb;
begin
  -- A mapping may name all of a payload as often as it likes, and what that makes is too large only once it is made.
  if pg_column_size(p_payload) > 65536 and c_most_bytes < pg_column_size(p_payload)::bigint
    * jsonb_array_length(jsonb_path_query_array(p_mapping, '$.** ? (@ starts with "$")'))
  then
    perform flowgres.fail(
      p_status => 413, p_code => 'payload_too_large', p_message => 'the payload is too large for a mapping that names so much of it',
      p_hint => 'Name fewer members in the input of the trigger.');
  end if;
  v_input := flowgres.map_trigger_input(p_mapping => p_mapping, p_payload => p_payload);
  if p_mapping is null and p_inputs is not null and not p_takes_additional then
    return (
      select coalesce(jsonb_object_agg(i.key, v_input -> i.key), '{}')
      from jsonb_object_keys(p_inputs) as i (key)
      where v_input ? i.key);
  end if;
  return v_input;
end;
$$;
comment on function flowgres.trigger_input(jsonb, jsonb, jsonb, boolean) is $$The input of an execution that a trigger starts: by its mapping, else the payload

Without a mapping, of a payload only what the workflow declares: the rest stays in trigger.payload. p_inputs and p_takes_additional are
those of the version; whether the input fits is for check_input to say.$$;
