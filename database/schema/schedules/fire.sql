-- Firing what is due. Every runner does it; what makes each slot start once is its key, and who fires a schedule holds its row.
--
-- Only flowgres.now() decides. Whoever is killed between leaves nothing: slot, execution and next slot are one transaction.

set local role flowgres_owner;

create or replace function flowgres.due_slots(p_schedule flowgres.schedules, p_next timestamptz, p_now timestamptz)
  returns timestamptz[] language plpgsql stable
as $$
declare
  c_late constant interval := interval '1 minute';
  c_most integer := case (p_schedule).catch_up when 'latest' then 1 else 10 end;
  v_since timestamptz := (p_schedule).next_at;
  v_until timestamptz := least(p_now, (p_schedule).ends_at);
begin
  if (p_schedule).catch_up = 'none' then
    v_since := greatest(v_since, p_now - c_late);
  end if;
  -- Mostly there is one, and it is the one that was waited for.
  if p_next > p_now or p_next is null then
    return case when v_since <= (p_schedule).next_at then array[(p_schedule).next_at] else '{}' end;
  end if;
  return flowgres.last_slots(
    p_fields => (p_schedule).fields, p_timezone => (p_schedule).timezone, p_since => v_since, p_until => v_until, p_most => c_most);
end;
$$;
comment on function flowgres.due_slots(flowgres.schedules, timestamptz, timestamptz) 
is $$The slots of a schedule that start something now, by what it says of those that were missed

none: at most a minute late, latest: the last one, all: the last ten. p_next is the slot after the one that was waited for.$$;

create or replace function flowgres.fire_schedule(p_schedule flowgres.schedules, p_now timestamptz)
  returns integer language plpgsql
as $$
declare
  v_version flowgres.workflow_versions;
  v_next timestamptz;
  v_slot timestamptz;
  v_id uuid;
  v_last_slot timestamptz := (p_schedule).last_slot;
  v_last_id uuid := (p_schedule).last_execution_id;
  v_error jsonb;
  v_code text;
  v_count integer := 0;
  v_expires_at timestamptz;
  v_patience text;
begin
  begin
    v_next := flowgres.next_slot(
      p_fields => (p_schedule).fields, p_timezone => (p_schedule).timezone, p_after => (p_schedule).next_at);
    v_expires_at := flowgres.slots_expire_at(p_tenant_id => (p_schedule).tenant_id, p_now => p_now);
    v_version := flowgres.find_active_version(p_tenant_id => (p_schedule).tenant_id, p_workflow_id => (p_schedule).workflow_id);
    if not v_version.start_rule is null then
      -- Who starts by the same key may leave its transaction open: all other schedules are not to wait for it.
      v_patience := set_config('lock_timeout', '100ms', true);
    end if;
    foreach v_slot in array flowgres.due_slots(p_schedule => p_schedule, p_next => v_next, p_now => p_now) loop
      v_id := flowgres.start_slot(
        p_schedule => p_schedule, p_version => v_version, p_slot => v_slot, p_now => p_now, p_expires_at => v_expires_at,
        p_created_by => 'schedule:' || (p_schedule).id);
      v_last_slot := v_slot;
      if v_id is not null then
        v_last_id := v_id;
        v_count := v_count + 1;
      end if;
    end loop;
  exception
  when lock_not_available then
    return 0;
  when others then
    -- What has nothing to do with the schedule comes again, and then it may do.
    if sqlstate ~ '^(40|53|55|57|58)' then
      raise;
    end if;
    get stacked diagnostics v_code = constraint_name;
    v_error := jsonb_build_object(
      'code', coalesce(nullif(v_code, ''), sqlstate), 'message', sqlerrm, 'slot', (p_schedule).next_at, 'at', p_now);
    v_count := 0;
    v_last_slot := (p_schedule).last_slot;
    v_last_id := (p_schedule).last_execution_id;
  end;
  if v_next <= p_now then
    v_next := flowgres.next_slot(p_fields => (p_schedule).fields, p_timezone => (p_schedule).timezone, p_after => p_now);
  end if;
  update flowgres.schedules as s
  set
    next_at = case when v_next <= coalesce(s.ends_at, 'infinity') then v_next end,
    last_slot = v_last_slot, last_execution_id = v_last_id, last_error = v_error, updated_at = p_now
  where s.tenant_id = (p_schedule).tenant_id and s.id = (p_schedule).id;
  return v_count;
end;
$$;
comment on function flowgres.fire_schedule(flowgres.schedules, timestamptz) is $$Start what is due of a schedule that the caller has locked; returns how many executions

What is refused (an input, a suspended tenant) is kept in last_error, and the next slot comes as ever. Where somebody holds the key
of the start, the schedule stays due.$$;

set local role flowgres_engine;

create or replace function flowgres.fire_schedules(
  p_limit integer, out p_picked integer, out p_started integer, out p_next_seconds double precision
)
  language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_looked_at constant integer := 10000;
  v_now timestamptz := flowgres.now();
  v_due flowgres.schedules[];
  v_schedule flowgres.schedules;
  v_is_told boolean;
  -- One entry of the index, however many there are: mostly nothing is due.
  v_first timestamptz := (select i.next_at from flowgres.schedules as i where i.next_at is not null order by i.next_at limit 1);
begin
  p_picked := 0;
  p_started := 0;
  if v_first is null or v_first > v_now then
    p_next_seconds := extract(epoch from v_first - v_now);
    return;
  end if;
  -- In a copy of the database the original's slots are not to start once more.
  perform flowgres.require_original();
  v_due := array(
    select s
    from (
      select d.tenant_id, d.id, d.next_at, row_number() over (partition by d.tenant_id order by d.next_at, d.id) as turn
      from (
        select i.tenant_id, i.id, i.next_at from flowgres.schedules as i
        where i.next_at <= v_now order by i.next_at limit c_most_looked_at
      ) as d
    ) as t
    join flowgres.schedules as s on s.tenant_id = t.tenant_id and s.id = t.id
    -- Judged again under the lock: another runner may have fired it just now.
    where s.next_at <= v_now
    -- In turns: a tenant with a thousand schedules for midnight delays nobody else's.
    order by t.turn, t.next_at, t.id
    limit p_limit
    for update of s skip locked);
  p_picked := cardinality(v_due);
  foreach v_schedule in array v_due loop
    p_started := p_started + flowgres.fire_schedule(p_schedule => v_schedule, p_now => v_now);
  end loop;
  if p_started > 0 then
    v_is_told := flowgres.wake_runners();
  end if;
  p_next_seconds := (
    select extract(epoch from i.next_at - flowgres.now())
    from flowgres.schedules as i
    where i.next_at > v_now order by i.next_at limit 1);
end;
$$;
comment on function flowgres.fire_schedules(integer) is $$Start executions of the schedules that are due, of p_limit schedules at most

Returns how many schedules it took, how many executions it started, and in how many seconds the next one is due (null when none is).
Whoever got as many as it wanted calls again. Each tenant has its turn.$$;

create or replace function flowgres.realign_schedules(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_ahead flowgres.schedules[];
  v_schedule flowgres.schedules;
begin
  v_ahead := array(
    select s
    from flowgres.schedules as s
    join flowgres.workflows as w on w.tenant_id = s.tenant_id and w.id = s.workflow_id
    where s.updated_at > v_now + interval '1 minute' and s.paused_at is null and w.status = 'active'
    limit p_limit
    for update of s skip locked);
  foreach v_schedule in array v_ahead loop
    update flowgres.schedules as s
    set
      next_at = flowgres.first_slot(
        p_fields => s.fields, p_timezone => s.timezone, p_after => v_now, p_ends_at => s.ends_at),
      updated_at = v_now
    where s.tenant_id = v_schedule.tenant_id and s.id = v_schedule.id;
  end loop;
  return cardinality(v_ahead);
end;
$$;
comment on function flowgres.realign_schedules(integer) is $$Let schedules go by the clock again that fired by one which was ahead, and would sleep until it comes there; returns how many

Slots that have started something do not start it again.$$;
