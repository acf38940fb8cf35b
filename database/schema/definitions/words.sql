-- Words of the definition language: durations, times, suggestions, problems.

set local role flowgres_owner;

create or replace function flowgres.problem(p_path text, p_code text, p_message text, p_hint text default null)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_strip_nulls(jsonb_build_object('path', p_path, 'code', p_code, 'message', p_message, 'hint', p_hint));
$$;
comment on function flowgres.problem(text, text, text, text) is $$One thing wrong in a definition: where, a stable code, a sentence, how to fix it.$$;

create or replace function flowgres.name_problems(p_errors jsonb)
  returns text language sql immutable parallel safe
as $$
  select left(string_agg(concat_ws(': ', nullif(e.value ->> 'path', ''), e.value ->> 'message'), '; ' order by e.position), 1000)
  from jsonb_array_elements(p_errors) with ordinality as e (value, position)
  where e.position <= 3;
$$;
comment on function flowgres.name_problems(jsonb) is $$The first few of a list of problems in one sentence.$$;

create or replace function flowgres.parse_duration(p_value jsonb)
  returns numeric language plpgsql immutable parallel safe
as $$
declare
  v_text text := p_value #>> '{}';
begin
  if jsonb_typeof(p_value) = 'number' then
    return case when p_value::numeric >= 0 and p_value::numeric < 1e12 then trim_scale(p_value::numeric) end;
  elsif jsonb_typeof(p_value) <> 'string' or length(v_text) > 40 then
    return null;
  end if;
  if v_text ~ '^[0-9]{1,12}(\.[0-9]{1,9})?$' then
    return trim_scale(v_text::numeric);
  end if;
  if v_text ~ '^([0-9]{1,9}(\.[0-9]{1,6})?(ms|s|m|h|d))+$' then
    return (
      select trim_scale(sum(part[1]::numeric * case part[2]
        when 'ms' then 0.001 when 's' then 1 when 'm' then 60 when 'h' then 3600 else 86400 end))
      from regexp_matches(v_text, '([0-9.]+)(ms|s|m|h|d)', 'g') as part);
  end if;
  -- No years and months: they have no fixed length.
  if v_text ~ '^P(?=[0-9T])([0-9]{1,6}W)?([0-9]{1,6}D)?(T(?=[0-9])([0-9]{1,6}H)?([0-9]{1,6}M)?([0-9]{1,9}(\.[0-9]{1,6})?S)?)?$' then
    return trim_scale(extract(epoch from v_text::interval));
  end if;
  return null;
end;
$$;
comment on function flowgres.parse_duration(jsonb) is $$Seconds of a duration, or null when it is none

Takes a number of seconds, 250ms 30s 5m 2h 3d (also 1h30m), and ISO 8601 without years and months.$$;

create or replace function flowgres.is_moment(p_text text)
  returns boolean language plpgsql immutable parallel safe
as $$
begin
  if p_text !~ ('^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?'
    || '(Z|[+-](0[0-9]|1[0-4])(:?[0-5][0-9])?)?)?$')
  then
    return false;
  end if;
  perform make_date(left(p_text, 4)::integer, substr(p_text, 6, 2)::integer, substr(p_text, 9, 2)::integer);
  return true;
exception when datetime_field_overflow then
  return false;
end;
$$;
comment on function flowgres.is_moment(text) is $$Whether a text is a time such as 2027-01-31T12:00:00Z; without a zone it is in UTC.$$;

create or replace function flowgres.edit_distance(p_a text, p_b text, p_most integer)
  returns integer language plpgsql immutable parallel safe
as $$
declare
  v_a text[] := string_to_array(p_a, null);
  v_b text[] := string_to_array(p_b, null);
  v_above integer[];
  v_row integer[];
  v_cell integer;
  v_best integer;
begin
  if abs(cardinality(v_a) - cardinality(v_b)) > p_most then
    return null;
  end if;
  v_above := array(select generate_series(0, cardinality(v_b)));
  for i in 1 .. cardinality(v_a) loop
    v_row := array[i];
    v_best := i;
    for j in 1 .. cardinality(v_b) loop
      v_cell := least(
        v_above[j + 1] + 1, v_row[j] + 1, v_above[j] + case when v_a[i] = v_b[j] then 0 else 1 end);
      v_row[j + 1] := v_cell;
      v_best := least(v_best, v_cell);
    end loop;
    if v_best > p_most then
      return null;
    end if;
    v_above := v_row;
  end loop;
  return nullif(v_above[cardinality(v_b) + 1], p_most + 1);
end;
$$;
comment on function flowgres.edit_distance(text, text, integer) is $$Letters to insert, delete or replace between two words; null when more than p_most.$$;

create or replace function flowgres.did_you_mean(p_word text, p_known text[])
  returns text language plpgsql immutable parallel safe
as $$
declare
  v_most integer := case when length(p_word) <= 3 then 1 when length(p_word) <= 6 then 2 else 3 end;
  v_found text;
begin
  if length(p_word) <= 40 then
    select c.word into v_found
    from (
      -- A bound, because a definition may name thousands of steps.
      select k.word
      from unnest(p_known) as k (word)
      where abs(length(k.word) - length(p_word)) <= v_most
      order by left(k.word, 2) = left(lower(p_word collate "C"), 2) desc, k.word collate "C"
      limit 60
    ) as c
    cross join lateral flowgres.edit_distance(lower(p_word collate "C"), c.word, v_most) as d (distance)
    where d.distance < length(p_word)
    order by d.distance, c.word collate "C"
    limit 1;
  end if;
  return case
    when v_found is not null then format('Did you mean "%s"?', v_found)
    when cardinality(p_known) between 1 and 20 then 'One of: ' || array_to_string(p_known, ', ') || '.'
  end;
end;
$$;
comment on function flowgres.did_you_mean(text, text[]) is $$A hint that names the closest known word, else the few known ones, else null.$$;

create or replace function flowgres.join_path(p_path text, p_key text)
  returns text language plpgsql immutable parallel safe
as $$
begin
  -- plpgsql, like all that is called for every value: it is called at a quarter of the cost of SQL that is not inlined.
  return case
    when p_key !~ '^[A-Za-z0-9_-]+$' then p_path || '["' || left(p_key, 60) || '"]'
    when p_path = '' then p_key
    else p_path || '.' || p_key
  end;
end;
$$;
comment on function flowgres.join_path(text, text) is $$The path of a member: steps[2].config and url give steps[2].config.url.$$;
