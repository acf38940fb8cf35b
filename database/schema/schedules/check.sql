-- Whether cron triggers are sound: expression, time zone, and what they send.

set local role flowgres_owner;

create or replace function flowgres.cron_hint()
  returns text language sql immutable parallel safe
as $$
  select 'five fields, for example `0 6 * * 1-5`, or one of @annually @daily @hourly @midnight @monthly @weekly @yearly'::text;
$$;
comment on function flowgres.cron_hint() is $$What a cron expression looks like.$$;

create or replace function flowgres.known_timezones(p_names text[])
  returns text[] language plpgsql stable parallel safe
as $$
declare
  -- Names of the IANA database only: elsewhere PostgreSQL takes abbreviations and POSIX rules as well, and any letter case.
  v_names text[] := array(
    select distinct n.name from unnest(p_names) as n (name)
    where length(n.name) <= 64 and n.name ~ '^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*){0,2}$'
      and n.name !~ '^(posix/|right/|posixrules$|localtime$|Factory$)');
begin
  -- The server reads all its zones for this.
  return case when v_names <@ '{UTC}' then v_names else array(select z.name from pg_timezone_names as z where z.name = any(v_names)) end;
end;
$$;
comment on function flowgres.known_timezones(text[]) is $$Those of the names that are time zones, such as Europe/Berlin.$$;

create or replace function flowgres.is_timezone(p_name text)
  returns boolean language sql stable parallel safe
as $$
  select p_name = any(flowgres.known_timezones(array[p_name]));
$$;
comment on function flowgres.is_timezone(text) is $$Whether a name is that of a time zone.$$;

create or replace function flowgres.check_cron_triggers(p_definition jsonb)
  returns jsonb[] language plpgsql stable parallel safe
as $$
declare
  v_triggers jsonb := case when jsonb_typeof(p_definition -> 'triggers') = 'array' then p_definition -> 'triggers' else '[]' end;
  v_trigger record;
  v_read record;
  v_known text[];
  v_errors jsonb[] := '{}';
begin
  for v_trigger in
    select format('triggers[%s]', t.place - 1) as path, t.value ->> 'cron' as cron, coalesce(t.value ->> 'timezone', 'UTC') as timezone
    from jsonb_array_elements(v_triggers) with ordinality as t (value, place)
    where jsonb_typeof(t.value) = 'object' and t.value -> 'type' = '"cron"' and jsonb_typeof(t.value -> 'cron') = 'string'
      and coalesce(jsonb_typeof(t.value -> 'timezone'), 'string') = 'string'
    order by t.place
    limit 100
  loop
    v_known := coalesce(v_known, flowgres.known_timezones(array(
      select coalesce(t ->> 'timezone', 'UTC') from jsonb_array_elements(v_triggers) as t where jsonb_typeof(t) = 'object')));
    v_read := flowgres.read_cron(v_trigger.cron);
    if v_read.p_fault is not null then
      v_errors := v_errors || flowgres.problem(
        p_path => v_trigger.path || '.cron', p_code => 'cron_invalid', p_message => v_read.p_fault, p_hint => flowgres.cron_hint());
    end if;
    if v_trigger.timezone <> all(v_known) then
      v_errors := v_errors || flowgres.problem(
        p_path => v_trigger.path || '.timezone', p_code => 'timezone_unknown', p_message => 'the time zone is not known',
        p_hint => 'a name of the IANA database, for example Europe/Berlin');
    end if;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_cron_triggers(jsonb) is $$Cron expressions and time zones of triggers that are none.$$;

create or replace function flowgres.check_schedule_inputs(p_definition jsonb)
  returns jsonb[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_trigger record;
  v_warnings jsonb[] := '{}';
begin
  for v_trigger in select t.place, t.input from flowgres.list_cron_triggers(p_definition, 'UTC') as t loop
    begin
      perform flowgres.check_input(
        p_inputs => p_definition -> 'inputs', p_takes_additional => flowgres.takes_additional_inputs(p_definition),
        p_input => v_trigger.input);
    exception when others then
      v_warnings := v_warnings || flowgres.problem(
        p_path => format('triggers[%s].input', v_trigger.place), p_code => 'schedule_input_invalid',
        p_message => 'no execution could start with this input of the schedule',
        p_hint => 'Give the inputs that the workflow requires.');
    end;
  end loop;
  return v_warnings;
end;
$$;
comment on function flowgres.check_schedule_inputs(jsonb) is $$Cron triggers whose input the workflow would refuse at every slot.$$;
