-- What people do with schedules: see what comes, pause, resume, start now, make up for the past.

set local role flowgres_owner;

create or replace function flowgres.find_schedule(p_tenant_id uuid, p_schedule text)
  returns flowgres.schedules language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_found flowgres.schedules[];
  v_workflow flowgres.workflows;
begin
  if p_schedule ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then
    v_found := array(select s from flowgres.schedules as s where s.tenant_id = p_tenant_id and s.id = p_schedule::uuid);
  else
    v_found := array(
      select s
      from flowgres.workflows as w
      join flowgres.schedules as s on s.tenant_id = w.tenant_id and s.workflow_id = w.id
      where w.tenant_id = p_tenant_id and w.name = p_schedule and w.deleted_at is null
      order by s.place);
  end if;
  if cardinality(v_found) > 1 then
    perform flowgres.fail(
      p_status => 409, p_code => 'schedule_ambiguous',
      p_message => format('workflow "%s" has %s schedules', left(p_schedule, 100), cardinality(v_found)),
      p_details => (select string_agg(f.id || ' ' || f.cron || ' ' || f.timezone, '; ' order by f.place) from unnest(v_found) as f),
      p_hint => 'Name one by its id: list /schedules.');
  elsif cardinality(v_found) = 0 then
    perform flowgres.fail(
      p_status => 404, p_code => 'schedule_not_found', p_message => format('schedule "%s" does not exist', left(p_schedule, 100)),
      p_hint => 'Name it by its id, or by its workflow: list /schedules.');
  end if;
  return v_found[1];
end;
$$;
comment on function flowgres.find_schedule(uuid, text) is $$The schedule with this id, or the only one of the workflow with this name; refuses when there is none.$$;

create or replace function flowgres.schedule_status(p_paused_at timestamptz, p_workflow_status text, p_next_at timestamptz)
  returns text language sql immutable parallel safe
as $$
  select case
    when p_paused_at is not null then 'paused'
    when p_workflow_status <> 'active' then 'inactive'
    when p_next_at is null then 'ended'
    else 'active'
  end;
$$;
comment on function flowgres.schedule_status(timestamptz, text, timestamptz) is $$What a schedule does: active, paused, inactive (its workflow is), ended (no slot comes any more).$$;

create or replace function flowgres.describe_schedule(p_schedule flowgres.schedules)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', (p_schedule).id,
    'workflow_id', (p_schedule).workflow_id,
    'workflow_name', w.name,
    'cron', (p_schedule).cron,
    'timezone', (p_schedule).timezone,
    'in_words', (p_schedule).in_words,
    'status', flowgres.schedule_status(
      p_paused_at => (p_schedule).paused_at, p_workflow_status => w.status, p_next_at => (p_schedule).next_at),
    'next_at', (p_schedule).next_at)
  from flowgres.workflows as w
  where w.tenant_id = (p_schedule).tenant_id and w.id = (p_schedule).workflow_id;
$$;
comment on function flowgres.describe_schedule(flowgres.schedules) is $$A schedule as the functions answer with it.$$;

create or replace function flowgres.describe_schedules(p_workflow flowgres.workflows)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(flowgres.describe_schedule(s) order by s.place), '[]')
  from flowgres.schedules as s
  where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id;
$$;
comment on function flowgres.describe_schedules(flowgres.workflows) is $$The schedules of a workflow, in the order of its triggers.$$;

create or replace function flowgres.read_schedule_times(p_cron text, p_timezone text)
  returns flowgres.cron_fields language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_read record := flowgres.read_cron(p_cron);
begin
  if v_read.p_fault is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'cron_invalid', p_message => v_read.p_fault, p_details => 'cron',
      p_hint => flowgres.cron_hint());
  elsif not flowgres.is_timezone(p_timezone) then
    perform flowgres.fail(
      p_status => 422, p_code => 'timezone_unknown', p_message => 'the time zone is not known', p_details => 'timezone',
      p_hint => 'A name of the IANA database, for example Europe/Berlin.');
  end if;
  return v_read.p_fields;
end;
$$;
comment on function flowgres.read_schedule_times(text, text) is $$What an expression means, refusing one that is none, and a time zone that is none.$$;

set local role flowgres_definer;

create or replace function flowgres.preview_schedule(p_schedule text, p_cron text, p_timezone text, p_count integer)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_schedule flowgres.schedules;
  v_fields flowgres.cron_fields;
  v_now timestamptz := flowgres.now();
begin
  if (p_schedule is null) = (p_cron is null) then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'a preview is of a schedule or of a cron expression',
      p_details => 'schedule', p_hint => 'Give either schedule, or cron and timezone.');
  elsif p_count not between 1 and 1000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'count must be 1 to 1000', p_details => 'count');
  end if;
  if p_schedule is not null then
    v_schedule := flowgres.find_schedule(p_tenant_id => v_tenant_id, p_schedule => p_schedule);
  else
    v_schedule.cron := p_cron;
    v_schedule.timezone := coalesce(p_timezone, flowgres.setting(v_tenant_id, 'cron_timezone') #>> '{}');
    v_schedule.jitter_seconds := 0;
  end if;
  v_fields := flowgres.read_schedule_times(p_cron => v_schedule.cron, p_timezone => v_schedule.timezone);
  return jsonb_build_object(
    'schedule', v_schedule.id,
    'cron', v_schedule.cron,
    'timezone', v_schedule.timezone,
    'in_words', flowgres.schedule_in_words(p_fields => v_fields, p_timezone => v_schedule.timezone),
    'slots', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'slot', flowgres.slot_text(s.slot),
        'local_time', to_char(s.slot at time zone v_schedule.timezone, 'YYYY-MM-DD"T"HH24:MI:SS'),
        'begins_at', flowgres.slot_text(coalesce(
          flowgres.slot_begin(p_schedule_id => v_schedule.id, p_slot => s.slot, p_jitter_seconds => v_schedule.jitter_seconds), s.slot)))
        order by s.slot), '[]')
      from unnest(flowgres.list_slots(
        p_fields => v_fields, p_timezone => v_schedule.timezone, p_since => v_now,
        p_until => coalesce(v_schedule.ends_at, 'infinity'), p_most => p_count)) as s (slot)));
end;
$$;
comment on function flowgres.preview_schedule(text, text, text, integer) is $$The next slots of a schedule or of any expression

Returns {schedule, cron, timezone, in_words, slots: [{slot, local_time, begins_at}]}.$$;

create or replace function flowgres.pause_schedule(p_schedule text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_schedule flowgres.schedules := flowgres.find_schedule(p_tenant_id => flowgres.require_tenant(), p_schedule => p_schedule);
  v_now timestamptz := flowgres.now();
begin
  update flowgres.schedules as s
  set paused_at = v_now, next_at = null, updated_at = v_now
  where s.tenant_id = v_schedule.tenant_id and s.id = v_schedule.id and s.paused_at is null
  returning s.* into v_schedule;
  if found then
    perform flowgres.record_audit(
      p_action => 'schedule_paused', p_subject => v_schedule.id::text,
      p_details => jsonb_build_object('workflow_id', v_schedule.workflow_id, 'cron', v_schedule.cron, 'timezone', v_schedule.timezone));
  else
    v_schedule := flowgres.find_schedule(p_tenant_id => flowgres.require_tenant(), p_schedule => p_schedule);
  end if;
  return flowgres.describe_schedule(v_schedule);
end;
$$;
comment on function flowgres.pause_schedule(text) is $$Let a schedule start nothing until it is resumed, whatever versions come.$$;

create or replace function flowgres.resume_schedule(p_schedule text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_schedule flowgres.schedules := flowgres.find_schedule(p_tenant_id => flowgres.require_tenant(), p_schedule => p_schedule);
  v_workflow flowgres.workflows;
  v_now timestamptz;
begin
  -- First the workflow, as whoever changes its versions and with them its schedules does.
  v_workflow := flowgres.find_workflow_locked(p_tenant_id => v_schedule.tenant_id, p_workflow => v_schedule.workflow_id::text);
  v_now := flowgres.now();
  update flowgres.schedules as s
  set
    paused_at = null, updated_at = v_now,
    next_at = case when v_workflow.status = 'active' then flowgres.first_slot(
      p_fields => flowgres.read_schedule_times(p_cron => s.cron, p_timezone => s.timezone), p_timezone => s.timezone, p_after => v_now,
      p_ends_at => s.ends_at) end
  where s.tenant_id = v_schedule.tenant_id and s.id = v_schedule.id and s.paused_at is not null
  returning s.* into v_schedule;
  if found then
    perform flowgres.record_audit(
      p_action => 'schedule_resumed', p_subject => v_schedule.id::text,
      p_details => jsonb_build_object('workflow_id', v_schedule.workflow_id, 'next_at', v_schedule.next_at));
  else
    v_schedule := flowgres.find_schedule(p_tenant_id => flowgres.require_tenant(), p_schedule => p_schedule);
  end if;
  return flowgres.describe_schedule(v_schedule);
end;
$$;
comment on function flowgres.resume_schedule(text) is $$Let a paused schedule go on with its next slot; what was missed meanwhile is not caught up.$$;

create or replace function flowgres.trigger_schedule(p_schedule text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_schedule flowgres.schedules := flowgres.find_schedule(p_tenant_id => flowgres.require_tenant(), p_schedule => p_schedule);
  v_now timestamptz := flowgres.now();
  v_id uuid;
  v_is_told boolean;
begin
  v_id := flowgres.start_scheduled(
    p_id => flowgres.uuid_v7(v_now), p_schedule => v_schedule, p_version => flowgres.find_active_version(p_tenant_id => v_schedule.tenant_id, p_workflow_id => v_schedule.workflow_id),
    p_scheduled_for => v_now, p_begins_at => v_now, p_now => v_now, p_created_by => flowgres.actor());
  v_is_told := flowgres.wake_runners();
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', '201', true);
  end if;
  return jsonb_build_object('execution_id', v_id, 'status', 'queued', 'created', true);
end;
$$;
comment on function flowgres.trigger_schedule(text) is $$Start now what a schedule starts, paused or not; its slots come as ever.$$;

create or replace function flowgres.backfill_schedule(p_schedule text, p_since timestamptz, p_until timestamptz, p_max integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_schedule flowgres.schedules := flowgres.find_schedule(p_tenant_id => flowgres.require_tenant(), p_schedule => p_schedule);
  v_now timestamptz := flowgres.now();
  -- What is due is the scheduler's to start.
  v_until timestamptz := least(p_until, v_now, v_schedule.next_at - interval '1 microsecond');
  v_most integer := least(p_max, (flowgres.setting(v_schedule.tenant_id, 'max_bulk_starts'))::integer);
  v_expires_at timestamptz := flowgres.slots_expire_at(p_tenant_id => v_schedule.tenant_id, p_now => v_now);
  v_slots timestamptz[];
  v_slot timestamptz;
  v_version flowgres.workflow_versions;
  v_count integer := 0;
  v_is_told boolean;
begin
  if p_since is null or p_until is null or p_since >= p_until or p_since < v_now - interval '3660 days' then
    perform flowgres.fail(
      p_status => 400, p_code => 'backfill_range_invalid', p_message => 'a backfill needs a range of the past ten years',
      p_details => 'since', p_hint => 'Give since and until, since being earlier: 2027-01-31T00:00:00Z.');
  elsif v_most is null or v_most < 1 then
    perform flowgres.fail(p_status => 400, p_code => 'argument_invalid', p_message => 'max must be 1 or more', p_details => 'max');
  end if;
  v_slots := flowgres.list_slots(
    p_fields => flowgres.read_schedule_times(p_cron => v_schedule.cron, p_timezone => v_schedule.timezone),
    p_timezone => v_schedule.timezone, p_since => p_since, p_until => v_until, p_most => v_most + 1);
  if cardinality(v_slots) > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'too_many_slots', p_message => format('the range has more than %s slots', v_most),
      p_details => format('The last that would fit is %s.', flowgres.slot_text(v_slots[v_most])),
      p_hint => 'Take a shorter range, or a larger max.');
  end if;
  if v_slots <> '{}' then
    v_version := flowgres.find_active_version(p_tenant_id => v_schedule.tenant_id, p_workflow_id => v_schedule.workflow_id);
  end if;
  foreach v_slot in array v_slots loop
    if flowgres.start_slot(
      p_schedule => v_schedule, p_version => v_version, p_slot => v_slot, p_now => v_now, p_expires_at => v_expires_at,
      p_created_by => flowgres.actor()) is not null
    then
      v_count := v_count + 1;
    end if;
  end loop;
  if v_count > 0 then
    v_is_told := flowgres.wake_runners();
  end if;
  perform flowgres.record_audit(
    p_action => 'schedule_backfilled', p_subject => v_schedule.id::text,
    p_details => jsonb_build_object(
      'workflow_id', v_schedule.workflow_id, 'since', p_since, 'until', p_until, 'started', v_count,
      'passed_over', cardinality(v_slots) - v_count));
  return jsonb_build_object(
    'schedule', v_schedule.id, 'since', p_since, 'until', p_until, 'slots', cardinality(v_slots), 'started', v_count,
    'passed_over', cardinality(v_slots) - v_count);
end;
$$;
comment on function flowgres.backfill_schedule(text, timestamptz, timestamptz, integer) is $$Start the slots of a range in the past, all or none; those that have started something are passed over.$$;
