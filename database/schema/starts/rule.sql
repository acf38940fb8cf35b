-- What a version says of its starts, and the keys that it goes by.

set local role flowgres_owner;

create or replace function flowgres.read_start_rule(p_definition jsonb)
  returns flowgres.start_rule language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_windows constant integer := 10;
  v_start jsonb := p_definition #> '{settings,start}';
  v_rule flowgres.start_rule;
begin
  if v_start is null then
    return null;
  end if;
  v_rule.key_path := (v_start ->> 'key')::jsonpath;
  if v_start ? 'debounce' then
    v_rule.kind := 'debounce';
    v_rule.window_seconds := (v_start ->> 'debounce')::double precision;
    v_rule.most_seconds := greatest(
      coalesce((v_start ->> 'max_wait')::double precision, v_rule.window_seconds * c_most_windows), v_rule.window_seconds);
  elsif v_start ? 'throttle' then
    v_rule.kind := 'throttle';
    v_rule.window_seconds := (v_start #>> '{throttle,per}')::double precision;
    v_rule.start_limit := (v_start #>> '{throttle,limit}')::numeric::integer;
    v_rule.response := coalesce(v_start #>> '{throttle,when_full}', 'delay');
  else
    v_rule.kind := 'singleton';
    v_rule.response := v_start ->> 'singleton';
  end if;
  return v_rule;
end;
$$;
comment on function flowgres.read_start_rule(jsonb) is $$The rule of starts of a canonical definition; null when it has none.$$;

create or replace function flowgres.start_key(p_input jsonb, p_path jsonpath)
  returns text language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
declare
  -- As JSON: the number 1 and the text "1" are two keys, and nothing else looks like a hash or like no key.
  v_key text := nullif(jsonb_path_query_first(p_input, p_path, '{}', true), 'null')::text;
begin
  return case when length(v_key) > 255 then 'sha256:' || encode(sha256(convert_to(v_key, 'UTF8')), 'hex') else coalesce(v_key, '') end;
end;
$$;
comment on function flowgres.start_key(jsonb, jsonpath) is $$The key of a start; empty where the rule names none, or the input has none.$$;

create or replace function flowgres.describe_start_rule(p_rule flowgres.start_rule)
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select case (p_rule).kind
    when 'debounce' then format('debounce %s s, at most %s s', (p_rule).window_seconds, (p_rule).most_seconds)
    when 'throttle' then format('throttle %s in %s s, then %s', (p_rule).start_limit, (p_rule).window_seconds, (p_rule).response)
    when 'singleton' then format('singleton, then %s', (p_rule).response)
  end || coalesce(' by ' || (p_rule).key_path::text, '');
$$;
comment on function flowgres.describe_start_rule(flowgres.start_rule) is $$A rule of starts, for people; null where there is none.$$;
