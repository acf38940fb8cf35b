-- Cron: what an expression means, and when it is next due on the clocks of a time zone.
--
-- The grammar stands twice: flowgres_definitions/cron.py checks files by it, offline. The shared cases and a fuzz keep both the same.

set local role flowgres_owner;

create or replace function flowgres.read_cron_value(p_value text, p_low integer, p_names text[])
  returns integer language sql immutable parallel safe
as $$
  select case when p_value ~ '^[0-9]' then p_value::integer else array_position(p_names, p_value) - 1 + p_low end;
$$;
comment on function flowgres.read_cron_value(text, integer, text[]) is $$A number, or what a name stands for.$$;

create or replace function flowgres.read_cron_values(
  p_field text, p_low integer, p_high integer, p_names text[] default null
)
  returns smallint[] language plpgsql immutable parallel safe
as $$
declare
  v_item text;
  v_match text[];
  v_from integer;
  v_to integer;
  v_step integer;
  v_values integer[] := '{}';
begin
  if p_field = '' then
    return null;
  end if;
  foreach v_item in array string_to_array(p_field, ',') loop
    v_match := regexp_match(
      v_item, '^(?:(?:(\*)|([0-9]{1,2}|[a-z]{3})-([0-9]{1,2}|[a-z]{3}))(?:/([0-9]{1,2}))?|([0-9]{1,2}|[a-z]{3}))$');
    if v_match is null then
      return null;
    end if;
    v_step := coalesce(v_match[4], '1')::integer;
    v_from := case when v_match[1] is not null then p_low
      else flowgres.read_cron_value(coalesce(v_match[2], v_match[5]), p_low, p_names) end;
    v_to := case when v_match[1] is not null then p_high
      -- A Sunday ends a week that it does not begin.
      when v_match[3] = 'sun' and v_from > 0 then 7
      else flowgres.read_cron_value(coalesce(v_match[3], v_match[5]), p_low, p_names) end;
    if v_from is null or v_to is null or v_from < p_low or v_to > p_high or v_from > v_to
      or v_step not between 1 and p_high - p_low + 1
    then
      return null;
    end if;
    v_values := v_values || array(select generate_series(v_from, v_to, v_step));
  end loop;
  return array(select distinct v.value::smallint from unnest(v_values) as v (value) order by 1);
end;
$$;
comment on function flowgres.read_cron_values(text, integer, integer, text[]) 
is $$The values that a field lists, in order; null when it is none: *, 5, 1-5, mon-fri, */15, 10-40/5, and lists of these.$$;

create or replace function flowgres.read_cron(p_cron text, out p_fields flowgres.cron_fields, out p_fault text)
  language plpgsql immutable parallel safe
as $$
declare
  c_weekdays constant text[] := '{sun,mon,tue,wed,thu,fri,sat}';
  -- Which weekday of the month: fri#2, fri#L, friL.
  c_nth constant text := '^([0-7]|sun|mon|tue|wed|thu|fri|sat)(?:#([1-5l])|(l))$';
  v_text text := btrim(p_cron, e' \t');
  v_parts text[];
  v_items text[];
begin
  if length(p_cron) > 256 then
    p_fault := 'a cron expression has at most 256 characters';
    return;
  end if;
  if v_text like '@%' then
    -- Lower-case, as the specification has them.
    v_text := case v_text
      when '@yearly' then '0 0 1 1 *' when '@annually' then '0 0 1 1 *' when '@monthly' then '0 0 1 * *' when '@weekly' then '0 0 * * 0'
      when '@daily' then '0 0 * * *' when '@midnight' then '0 0 * * *' when '@hourly' then '0 * * * *' when '@reboot' then '@reboot' end;
    if v_text is null or v_text = '@reboot' then
      p_fault := case when v_text is null then 'the alias is not known' else '@reboot names no time: there is no start here that it could mean' end;
      return;
    end if;
  end if;
  v_parts := regexp_split_to_array(lower(v_text collate "C"), e'[ \t]+');
  if cardinality(v_parts) <> 5 then
    p_fault := 'a cron expression has five fields: minute, hour, day, month, weekday';
    return;
  end if;
  p_fields.minutes := flowgres.read_cron_values(p_field => v_parts[1], p_low => 0, p_high => 59);
  p_fields.hours := flowgres.read_cron_values(p_field => v_parts[2], p_low => 0, p_high => 23);
  -- L, the last day of the month, stands in a list as any value; so do fri#2 and friL.
  v_items := array_remove(string_to_array(v_parts[3], ','), 'l');
  p_fields.has_last_day := 'l' = any(string_to_array(v_parts[3], ','));
  p_fields.days := case when v_items = '{}' then '{}'
    else flowgres.read_cron_values(p_field => array_to_string(v_items, ','), p_low => 1, p_high => 31) end;
  p_fields.months := flowgres.read_cron_values(
    p_field => v_parts[4], p_low => 1, p_high => 12, p_names => '{jan,feb,mar,apr,may,jun,jul,aug,sep,oct,nov,dec}');
  p_fields.nth_weekdays := array(
    select distinct (
      flowgres.read_cron_value(m.match[1], 0, c_weekdays) % 7 * 10
      + case when coalesce(m.match[3], m.match[2]) = 'l' then 9 else m.match[2]::integer end)::smallint
    from unnest(string_to_array(v_parts[5], ',')) as i (item)
    cross join lateral regexp_match(i.item, c_nth) as m (match)
    where m.match is not null
    order by 1);
  v_items := array(select i.item from unnest(string_to_array(v_parts[5], ',')) as i (item) where i.item !~ c_nth);
  -- 7 is a Sunday as well.
  p_fields.weekdays := case when v_items = '{}' then '{}'
    else flowgres.read_cron_values(p_field => array_to_string(v_items, ','), p_low => 0, p_high => 7, p_names => c_weekdays) end;
  if p_fields.weekdays is not null then
    p_fields.weekdays := array(select distinct (w.day % 7)::smallint from unnest(p_fields.weekdays) as w (day) order by 1);
  end if;
  -- Only what begins with a bare * leaves the choice to the other field.
  p_fields.counts_days := split_part(v_parts[3], ',', 1) <> '*';
  p_fields.counts_weekdays := split_part(v_parts[5], ',', 1) <> '*';
  p_fault := case
    when p_fields.minutes is null then format('the minutes %s are not valid', left(v_parts[1], 40))
    when p_fields.hours is null then format('the hours %s are not valid', left(v_parts[2], 40))
    when p_fields.days is null then format('the days %s are not valid', left(v_parts[3], 40))
    when p_fields.months is null then format('the months %s are not valid', left(v_parts[4], 40))
    when p_fields.weekdays is null then format('the weekdays %s are not valid', left(v_parts[5], 40))
    when flowgres.next_cron_day(p_fields => p_fields, p_from => '2024-01-01') is null then 'it never fires: no such date comes'
  end;
  if p_fault is not null then
    p_fields := null;
  end if;
end;
$$;
comment on function flowgres.read_cron(text) is $$What a cron expression means, or why it is none

Five fields (minute, hour, day, month, weekday) or an alias such as @daily: OCPS 1.1, with L and # of its later increments. A date
that never comes is refused.$$;

create or replace function flowgres.is_cron_day(p_fields flowgres.cron_fields, p_day date)
  returns boolean language plpgsql immutable parallel safe
as $$
declare
  v_number integer := extract(day from p_day);
  v_weekday integer := extract(dow from p_day);
  v_last integer := extract(day from date_trunc('month', p_day) + interval '1 month - 1 day');
  v_is_day boolean := v_number = any(p_fields.days) or (p_fields.has_last_day and v_number = v_last);
  v_is_weekday boolean := v_weekday = any(p_fields.weekdays) or (v_weekday * 10 + (v_number + 6) / 7) = any(p_fields.nth_weekdays)
    or (v_number > v_last - 7 and v_weekday * 10 + 9 = any(p_fields.nth_weekdays));
begin
  return case when p_fields.counts_days and p_fields.counts_weekdays then v_is_day or v_is_weekday else v_is_day and v_is_weekday end;
end;
$$;
comment on function flowgres.is_cron_day(flowgres.cron_fields, date) is $$Whether a day is one by its number and its weekday; its month is not looked at.$$;

create or replace function flowgres.next_cron_day(p_fields flowgres.cron_fields, p_from date)
  returns date language plpgsql immutable parallel safe
as $$
declare
  v_day date := p_from;
  -- A weekday on 29 February comes within forty years, also across a century without one; later ones bring nothing new.
  v_last date := p_from + 366 * 40;
begin
  while v_day <= v_last loop
    if extract(month from v_day)::smallint <> all(p_fields.months) then
      v_day := date_trunc('month', v_day) + interval '1 month';
    elsif flowgres.is_cron_day(p_fields => p_fields, p_day => v_day) then
      return v_day;
    else
      v_day := v_day + 1;
    end if;
  end loop;
  return null;
end;
$$;
comment on function flowgres.next_cron_day(flowgres.cron_fields, date) is $$The first day that counts, from this one on; null when there is none.$$;

create or replace function flowgres.local_instant(p_local timestamp, p_timezone text)
  returns timestamptz language plpgsql stable
as $$
declare
  v_at timestamptz := p_local at time zone p_timezone;
  v_early timestamptz := (p_local - interval '4 hours') at time zone p_timezone + interval '4 hours';
  v_late timestamptz;
  v_middle timestamptz;
begin
  -- Mostly clocks have gone on as ever for hours.
  if v_early = v_at and v_at at time zone p_timezone = p_local then
    return v_at;
  -- By the offset of some hours before: where clocks go back, that is the first of two.
  elsif v_early < v_at and v_early at time zone p_timezone = p_local then
    return v_early;
  elsif v_at at time zone p_timezone = p_local then
    return v_at;
  end if;
  -- Clocks that go forward leave it out: the moment at which they do, to the second.
  v_early := date_trunc('minute', v_at) - interval '3 hours';
  v_late := date_trunc('minute', v_at) + interval '3 hours';
  while v_late - v_early > interval '1 second' loop
    v_middle := date_trunc('second', v_early + (v_late - v_early) / 2);
    if v_middle at time zone p_timezone >= p_local then
      v_late := v_middle;
    else
      v_early := v_middle;
    end if;
  end loop;
  return v_late;
end;
$$;
comment on function flowgres.local_instant(timestamp, text) is $$When clocks show this: of two times the first one; if they pass over it, when they do.$$;

create or replace function flowgres.next_slot(p_fields flowgres.cron_fields, p_timezone text, p_after timestamptz)
  returns timestamptz language plpgsql stable
as $$
declare
  v_from timestamp := p_after at time zone p_timezone;
  v_day date := flowgres.next_cron_day(p_fields => p_fields, p_from => v_from::date);
  v_first_hour integer := 0;
  v_first_minute integer := 0;
  v_at timestamptz;
begin
  if v_day = v_from::date then
    v_first_hour := extract(hour from v_from);
    v_first_minute := extract(minute from v_from);
  end if;
  while v_day is not null loop
    -- How many are before the first that may be: the values are in order.
    for v_hour in width_bucket(v_first_hour - 1, p_fields.hours) + 1 .. cardinality(p_fields.hours) loop
      if p_fields.hours[v_hour] > v_first_hour then
        v_first_minute := 0;
      end if;
      for v_minute in width_bucket(v_first_minute - 1, p_fields.minutes) + 1 .. cardinality(p_fields.minutes) loop
        v_at := flowgres.local_instant(
          p_local => v_day + make_time(p_fields.hours[v_hour], p_fields.minutes[v_minute], 0), p_timezone => p_timezone);
        -- What clocks show for the second time was then when they showed it first.
        if v_at > p_after then
          return v_at;
        end if;
      end loop;
    end loop;
    v_first_hour := 0;
    v_first_minute := 0;
    v_day := flowgres.next_cron_day(p_fields => p_fields, p_from => v_day + 1);
  end loop;
  return null;
end;
$$;
comment on function flowgres.next_slot(flowgres.cron_fields, text, timestamptz) is $$The first slot after a moment; null when there is none

Each local slot once, whatever the clocks do: where they go back the first time, where they go forward the moment at which they do.$$;
