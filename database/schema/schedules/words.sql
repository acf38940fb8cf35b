-- A schedule in words: "at 06:00 on Monday to Friday, Europe/Berlin".

set local role flowgres_owner;

create or replace function flowgres.join_words(p_words text[])
  returns text language sql immutable parallel safe
as $$
  select array_to_string(p_words[: cardinality(p_words) - 1], ', ') || case when cardinality(p_words) > 1 then ' and ' else '' end
    || p_words[cardinality(p_words)];
$$;
comment on function flowgres.join_words(text[]) is $$Words as a list in a sentence: a, b and c.$$;

create or replace function flowgres.values_in_words(p_values smallint[], p_names text[] default null)
  returns text language sql immutable parallel safe
as $$
  -- A run of three or more is from one to the other.
  select flowgres.join_words(array_agg(
    case when r.count > 2 then r.first_name || ' to ' || r.last_name
      when r.count = 2 then r.first_name || case when g.groups > 1 then ', ' else ' and ' end || r.last_name
      else r.first_name end order by r.first))
  from (
    select
      min(v.value) as first, count(*) as count,
      coalesce(p_names[min(v.value) + 1], min(v.value)::text) as first_name,
      coalesce(p_names[max(v.value) + 1], max(v.value)::text) as last_name
    from (select u.value, u.value - row_number() over (order by u.value) as run from unnest(p_values) as u (value)) as v
    group by v.run
  ) as r
  cross join (select count(distinct u.value - u.place) as groups from unnest(p_values) with ordinality as u (value, place)) as g;
$$;
comment on function flowgres.values_in_words(smallint[], text[]) is $$Values in order as words, by their names where they have some (from 0): 1 to 5, 9 and 12.$$;

create or replace function flowgres.times_in_words(p_fields flowgres.cron_fields)
  returns text language plpgsql immutable parallel safe
as $$
declare
  v_minutes smallint[] := p_fields.minutes;
  v_hours smallint[] := p_fields.hours;
  v_count integer := cardinality(p_fields.minutes);
  v_is_even boolean := 60 % v_count = 0 and v_minutes = array(select (g * 60 / v_count)::smallint from generate_series(0, v_count - 1) as g);
  v_every text := case when cardinality(v_hours) = 24 then '' else ' of the hours ' || flowgres.values_in_words(v_hours) end;
begin
  if v_count * cardinality(v_hours) <= 6 then
    return 'at ' || flowgres.join_words(array(
      select to_char(make_interval(hours => h.hour, mins => m.minute), 'HH24:MI')
      from unnest(v_hours) as h (hour) cross join unnest(v_minutes) as m (minute)
      order by h.hour, m.minute));
  elsif v_count = 60 then
    return 'every minute' || v_every;
  elsif v_count > 1 and v_is_even then
    return format('every %s minutes', 60 / v_count) || v_every;
  elsif v_minutes = '{0}' and 24 % cardinality(v_hours) = 0
    and v_hours = array(select (g * 24 / cardinality(v_hours))::smallint from generate_series(0, cardinality(v_hours) - 1) as g)
  then
    return case cardinality(v_hours) when 24 then 'every hour' else format('every %s hours', 24 / cardinality(v_hours)) end;
  end if;
  return format('at minute %s', flowgres.values_in_words(v_minutes))
    || case when cardinality(v_hours) = 24 then ' of every hour' else v_every end;
end;
$$;
comment on function flowgres.times_in_words(flowgres.cron_fields) is $$Minutes and hours of an expression in words.$$;

create or replace function flowgres.days_in_words(p_fields flowgres.cron_fields)
  returns text language plpgsql immutable parallel safe
as $$
declare
  c_weekdays constant text[] := '{Sunday,Monday,Tuesday,Wednesday,Thursday,Friday,Saturday}';
  c_months constant text[] := '{"",January,February,March,April,May,June,July,August,September,October,November,December}';
  c_which constant text[] := '{first,second,third,fourth,fifth,"","","",last}';
  v_weekdays text;
  v_days text;
begin
  if cardinality(p_fields.days) < 31 then
    v_days := flowgres.join_words(array_remove(array[
      case when p_fields.days <> '{}' then 'day ' || flowgres.values_in_words(p_fields.days) end,
      case when p_fields.has_last_day then 'the last day' end], null)) || ' of the month';
  end if;
  if cardinality(p_fields.weekdays) < 7 then
    v_weekdays := flowgres.join_words(array_remove(array[
      case when p_fields.weekdays <> '{}' then flowgres.values_in_words(p_fields.weekdays, c_weekdays) end,
      (
        select flowgres.join_words(array_agg(format('the %s %s of the month', c_which[n.nth % 10], c_weekdays[n.nth / 10 + 1]) order by n.nth))
        from unnest(p_fields.nth_weekdays) as n (nth)
      )], null));
  end if;
  -- Either of two that count is enough, and then one that names all days makes it every day.
  if p_fields.counts_days and p_fields.counts_weekdays and (v_days is null or v_weekdays is null) then
    v_days := null;
    v_weekdays := null;
  end if;
  return concat(
    ' on ' || v_days,
    case when v_days is not null and v_weekdays is not null
      then case when p_fields.counts_days and p_fields.counts_weekdays then ' or on ' else ' if it is ' end || v_weekdays
      else ' on ' || v_weekdays end,
    case when cardinality(p_fields.months) < 12 then ' in ' || flowgres.values_in_words(p_fields.months, c_months) end);
end;
$$;
comment on function flowgres.days_in_words(flowgres.cron_fields) is $$Days, weekdays and months of an expression in words, with a space before them; nothing when it is every day.$$;

create or replace function flowgres.schedule_in_words(p_fields flowgres.cron_fields, p_timezone text)
  returns text language plpgsql immutable parallel safe
as $$
declare
  v_times text := flowgres.times_in_words(p_fields);
  v_days text := flowgres.days_in_words(p_fields);
begin
  if p_fields.minutes is null then
    return null;
  end if;
  return v_times || case when v_days = '' and starts_with(v_times, 'at ') and v_times not like '%of every hour' then ' every day' else v_days end
    || ', ' || p_timezone;
end;
$$;
comment on function flowgres.schedule_in_words(flowgres.cron_fields, text) is $$When a schedule fires, in words: at 06:00 on Monday to Friday, Europe/Berlin.$$;
