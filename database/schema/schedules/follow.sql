-- Schedules follow their workflow: what its active version says, there is; what it no longer says, is gone.

set local role flowgres_owner;

insert into flowgres.settings (name, value, description) values
  ('max_schedules', '1000', 'Schedules of one tenant')
on conflict (tenant_id, name) do nothing;

create or replace function flowgres.list_cron_triggers(p_definition jsonb, p_timezone text)
  returns table (place smallint, cron text, timezone text, catch_up text, input jsonb, jitter_seconds double precision, ends_at timestamptz)
  -- A time without a zone is in UTC.
  language sql immutable set search_path to pg_catalog, pg_temp set timezone to 'UTC'
as $$
  select
    (t.place - 1)::smallint, t.value ->> 'cron', coalesce(t.value ->> 'timezone', p_timezone), coalesce(t.value ->> 'catch_up', 'latest'),
    coalesce(t.value -> 'input', '{}'), coalesce((t.value ->> 'jitter')::double precision, 0), (t.value ->> 'until')::timestamptz
  from jsonb_array_elements(p_definition -> 'triggers') with ordinality as t (value, place)
  where t.value ->> 'type' = 'cron'
  order by t.place;
$$;
comment on function flowgres.list_cron_triggers(jsonb, text) is $$The cron triggers of a canonical definition, with their defaults; p_timezone is that of those that name none.$$;

create or replace function flowgres.match_schedules(p_workflow flowgres.workflows, p_definition jsonb)
  returns table (schedule_id uuid, place smallint, cron text, timezone text, catch_up text, input jsonb, jitter_seconds double precision, ends_at timestamptz)
  language sql stable set search_path to pg_catalog, pg_temp
as $$
  with wanted as (
    select t.*, row_number() over (partition by t.cron, t.timezone order by t.place) as turn
    from flowgres.list_cron_triggers(
      p_definition, flowgres.setting((p_workflow).tenant_id, 'cron_timezone') #>> '{}') as t
  ),
  found as (
    select s.*, row_number() over (partition by s.cron, s.timezone order by s.place) as turn
    from flowgres.schedules as s
    where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id
  ),
  same as (
    select w.place, f.id from wanted as w join found as f on f.cron = w.cron and f.timezone = w.timezone and f.turn = w.turn
  )
  select coalesce(s.id, f.id), w.place, w.cron, w.timezone, w.catch_up, w.input, w.jitter_seconds, w.ends_at
  from wanted as w
  left join same as s on s.place = w.place
  -- Where none fires at the same times, one in the same place has been changed.
  left join found as f on f.place = w.place and s.id is null and not exists (select from same as o where o.id = f.id)
  order by w.place;
$$;
comment on function flowgres.match_schedules(flowgres.workflows, jsonb) is $$Which schedule each cron trigger of a definition is, null for new ones

Those that fire at the same times are the same, wherever they stand now: none is lost or repeated because another one was added.$$;

create or replace function flowgres.follow_schedules(p_workflow flowgres.workflows)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_definition jsonb;
  v_found flowgres.schedules[];
  v_trigger record;
  v_schedule flowgres.schedules;
  v_read record;
  v_next timestamptz;
begin
  if (p_workflow).active_version is not null and (p_workflow).status <> 'archived' and (p_workflow).deleted_at is null then
    select v.definition into v_definition
    from flowgres.workflow_versions as v
    where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id and v.version = (p_workflow).active_version;
  end if;
  -- Whoever fires one of them ends before this goes on.
  v_found := array(
    select s from flowgres.schedules as s
    where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id
    order by s.id
    for update);
  if v_found = '{}' and not coalesce(v_definition @? '$.triggers[*] ? (@.type == "cron")', false) then
    return;
  end if;
  delete from flowgres.schedules as s
  where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id
    and s.id not in (
      select m.schedule_id from flowgres.match_schedules(p_workflow, v_definition) as m where m.schedule_id is not null);
  for v_trigger in select * from flowgres.match_schedules(p_workflow, v_definition) loop
    v_schedule := null;
    select f.* into v_schedule from unnest(v_found) as f where f.id = v_trigger.schedule_id;
    v_read := flowgres.read_cron(v_trigger.cron);
    v_next := case
      when (p_workflow).status <> 'active' or v_schedule.paused_at is not null or v_read.p_fault is not null then null
      when v_schedule.next_at is not null and v_schedule.cron = v_trigger.cron and v_schedule.timezone = v_trigger.timezone
        and v_schedule.next_at <= coalesce(v_trigger.ends_at, 'infinity')
        then v_schedule.next_at
      else flowgres.first_slot(
        p_fields => v_read.p_fields, p_timezone => v_trigger.timezone, p_after => v_now, p_ends_at => v_trigger.ends_at) end;
    insert into flowgres.schedules as s (
      tenant_id, id, workflow_id, place, cron, timezone, fields, in_words, catch_up, input, jitter_seconds, ends_at, next_at, last_error,
      created_at, updated_at)
    values (
      (p_workflow).tenant_id, coalesce(v_trigger.schedule_id, flowgres.uuid_v7(v_now)), (p_workflow).id, v_trigger.place,
      v_trigger.cron, v_trigger.timezone, v_read.p_fields, flowgres.schedule_in_words(p_fields => v_read.p_fields, p_timezone => v_trigger.timezone),
      v_trigger.catch_up, v_trigger.input, v_trigger.jitter_seconds, v_trigger.ends_at, v_next,
      case when v_read.p_fault is not null then jsonb_build_object('code', 'cron_invalid', 'message', v_read.p_fault, 'at', v_now) end,
      v_now, v_now)
    on conflict (tenant_id, id) do update
    set
      place = excluded.place, cron = excluded.cron, timezone = excluded.timezone, fields = excluded.fields, in_words = excluded.in_words,
      catch_up = excluded.catch_up, input = excluded.input, jitter_seconds = excluded.jitter_seconds, ends_at = excluded.ends_at,
      next_at = excluded.next_at, last_error = excluded.last_error, updated_at = excluded.updated_at;
  end loop;
end;
$$;
comment on function flowgres.follow_schedules(flowgres.workflows) is $$Make the schedules of a workflow what its active version says

One whose times have changed, or that begins again, fires from now on: what was before is not caught up. A pause stays. The caller
holds the lock of the workflow.$$;

create or replace function flowgres.check_schedule_count(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_added integer := (select count(*) from flowgres.list_cron_triggers((p_version).definition, 'UTC'));
begin
  if v_added > 0 then
    perform flowgres.check_room(
      p_tenant_id => (p_version).tenant_id, p_things => 'schedules', p_remedy => 'Archive workflows that are not needed',
      p_added => v_added, p_count => (
        select count(*) from flowgres.schedules as s
        where s.tenant_id = (p_version).tenant_id and s.workflow_id <> (p_workflow).id));
  end if;
end;
$$;
comment on function flowgres.check_schedule_count(flowgres.workflows, flowgres.workflow_versions) is $$Refuse a version with which its tenant would have too many schedules.$$;
