-- What a schedule starts: the execution of a slot, once.

set local role flowgres_owner;

create or replace function flowgres.start_scheduled(
  p_id uuid, p_schedule flowgres.schedules, p_version flowgres.workflow_versions, p_scheduled_for timestamptz,
  p_begins_at timestamptz, p_now timestamptz, p_created_by text
)
  returns uuid language plpgsql
as $$
declare
  v_ids uuid[];
begin
  v_ids := flowgres.insert_executions(
    p_version => p_version,
    p_ids => array[p_id],
    p_inputs => array[flowgres.check_input(
      p_inputs => p_version.inputs, p_takes_additional => p_version.takes_additional_inputs, p_input => (p_schedule).input)],
    p_now => p_now,
    p_scheduled_at => case when p_begins_at > p_now then p_begins_at end,
    p_trigger_type => 'cron',
    p_trigger => jsonb_build_object(
      'type', 'cron', 'scheduled_for', flowgres.slot_text(p_scheduled_for), 'schedule', (p_schedule).id, 'payload', (p_schedule).input),
    p_created_by => p_created_by);
  return v_ids[1];
end;
$$;
comment on function flowgres.start_scheduled is $$Start an execution of a schedule's workflow; returns its id, or that of the one it stands for by the rule of starts

Expressions see trigger.type (cron), trigger.scheduled_for (the slot, in UTC) and trigger.schedule.$$;

create or replace function flowgres.start_slot(
  p_schedule flowgres.schedules, p_version flowgres.workflow_versions, p_slot timestamptz, p_now timestamptz, p_expires_at timestamptz,
  p_created_by text
)
  returns uuid language plpgsql
as $$
declare
  v_id uuid := flowgres.uuid_v7(p_now);
  v_started_id uuid;
begin
  insert into flowgres.schedule_slots (tenant_id, schedule_id, slot, execution_id, expires_at)
  values ((p_schedule).tenant_id, (p_schedule).id, p_slot, v_id, p_expires_at)
  on conflict (tenant_id, schedule_id, slot) do nothing;
  if not found then
    return null;
  end if;
  v_started_id := flowgres.start_scheduled(
    p_id => v_id, p_schedule => p_schedule, p_version => p_version, p_scheduled_for => p_slot,
    p_begins_at => flowgres.slot_begin(p_schedule_id => (p_schedule).id, p_slot => p_slot, p_jitter_seconds => (p_schedule).jitter_seconds),
    p_now => p_now, p_created_by => p_created_by);
  if v_started_id <> v_id then
    update flowgres.schedule_slots as s set execution_id = v_started_id
    where s.tenant_id = (p_schedule).tenant_id and s.schedule_id = (p_schedule).id and s.slot = p_slot;
  end if;
  return v_started_id;
end;
$$;
comment on function flowgres.start_slot is $$Start the execution of a slot; null when it has started one before.$$;

create or replace function flowgres.slots_expire_at(p_tenant_id uuid, p_now timestamptz)
  returns timestamptz language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return p_now + make_interval(days => greatest((flowgres.setting(p_tenant_id, 'idempotency_key_days'))::integer, 1));
end;
$$;
comment on function flowgres.slots_expire_at(uuid, timestamptz) is $$Until when a slot that starts now is known: as long as the key of a start, a day at least.$$;
