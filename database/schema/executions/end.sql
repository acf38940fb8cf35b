-- Ending executions from outside: cancel, expire, and the children that go with them.

set local role flowgres_owner;

create or replace function flowgres.hold_executions(p_execution_ids uuid[], p_tenant_ids uuid[])
  returns flowgres.advance_state language plpgsql
as $$
declare
  v_state flowgres.advance_state;
begin
  v_state := flowgres.lock_executions(p_tenant_ids => p_tenant_ids, p_execution_ids => p_execution_ids, p_state => v_state);
  v_state.newly_resolved := array_fill(0, array[coalesce(cardinality(v_state.execution_ids), 0)]);
  v_state.newly_completed := v_state.newly_resolved;
  v_state.touched_slots := array(select s from generate_subscripts(v_state.execution_ids, 1) as s);
  v_state.capabilities := '{}';
  v_state.room := 0;
  v_state.lease_count := 0;
  return v_state;
end;
$$;
comment on function flowgres.hold_executions(uuid[], uuid[]) is $$The state of an advance without reports: those of these executions that are free and have not ended.$$;

create or replace function flowgres.cancel_held(
  p_state flowgres.advance_state, p_reasons text[], p_actor text, p_codes text[] default null
)
  returns integer language plpgsql
as $$
declare
  v_is_awaited boolean;
  v_followed_tenants uuid[];
  v_followed uuid[];
begin
  if p_state.execution_ids is null then
    return 0;
  end if;
  p_state := flowgres.cancel_steps(
    p_slots => p_state.touched_slots, p_indexes => null, p_spares_always => false, p_reason => 'the execution was cancelled', p_state => p_state);
  with ended as (
    update flowgres.executions as e
    set
      status = 'cancelled', finished_at = p_state.now, deadline_at = null, active_since = null,
      error = jsonb_build_object(
        'code', coalesce(p_codes[s.slot], 'cancelled'), 'message', coalesce(p_reasons[s.slot], 'the execution was cancelled')),
      active_seconds = e.active_seconds + coalesce(extract(epoch from p_state.now - e.active_since), 0),
      event_seq = p_state.last_seqs[s.slot] + 1,
      resolved_count = e.step_count + e.hidden_step_count
    from unnest(p_state.touched_slots) as s (slot)
    where e.tenant_id = p_state.tenant_ids[s.slot] and e.id = p_state.execution_ids[s.slot]
    returning e.tenant_id, e.id, e.event_seq, e.error, e.is_awaited, e.trigger_type
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, message, actor, details)
    select e.tenant_id, e.id, e.event_seq, p_state.now, 'execution_cancelled', e.error ->> 'message', p_actor, e.error
    from ended as e
  )
  select
    bool_or(e.is_awaited), array_agg(e.tenant_id) filter (where e.trigger_type = 'transition'),
    array_agg(e.id) filter (where e.trigger_type = 'transition')
  into v_is_awaited, v_followed_tenants, v_followed
  from ended as e;
  if v_is_awaited then perform flowgres.tell_ends(); end if;
  perform flowgres.tell_streams(
    p_tenant_ids => p_state.tenant_ids, p_execution_ids => p_state.execution_ids, p_event_seqs => p_state.event_seqs,
    p_now => p_state.now);
  perform flowgres.wake_later(p_tenant_ids => p_state.tenant_ids, p_child_ids => p_state.execution_ids);
  perform flowgres.tell_of(p_tenant_ids => p_state.tenant_ids, p_execution_ids => p_state.execution_ids);
  perform flowgres.keep_ends(p_tenant_ids => p_state.tenant_ids, p_execution_ids => p_state.execution_ids);
  if v_followed is not null then
    perform flowgres.follow_ends(p_tenant_ids => v_followed_tenants, p_execution_ids => v_followed);
  end if;
  return cardinality(p_state.execution_ids);
end;
$$;
comment on function flowgres.cancel_held(flowgres.advance_state, text[], text, text[]) is $$Cancel the executions of a state now; returns how many. Reasons, and codes of their errors, by slot

Steps that have not ended are cancelled, running ones lose their lease, children are left to cancel_orphan, parents are woken.$$;

create or replace function flowgres.cancel_tree(
  p_tenant_id uuid, p_execution_ids uuid[], p_reason text, p_actor text, p_limit integer default 1000
)
  returns integer language plpgsql
as $$
declare
  v_level uuid[] := p_execution_ids;
  v_count integer := 0;
  v_ended integer;
begin
  -- Level by level, each by id: who waits for the lock of an execution holds none of a deeper one. The engine itself never
  -- waits for one, so nobody can wait in a circle.
  while v_level <> '{}' loop
    v_level := array(
      select e.id from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = any(v_level)
      order by e.id
      for no key update);
    v_ended := flowgres.cancel_held(
      p_state => flowgres.hold_executions(
        p_execution_ids => v_level, p_tenant_ids => array_fill(p_tenant_id, array[cardinality(v_level)])),
      p_reasons => array_fill(p_reason, array[cardinality(v_level)]), p_actor => p_actor);
    v_count := v_count + v_ended;
    exit when v_count >= p_limit;
    -- Their children leave with them, in this transaction; of very many the rest is left to the next sweep.
    v_level := array(
      select e.id from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.parent_execution_id = any(v_level) and e.parent_queue_id is not null
        and e.finished_at is null
      order by e.id
      limit p_limit - v_count);
    delete from flowgres.cancellations as c
    where c.tenant_id = p_tenant_id and c.id = any(array(
      select n.id from flowgres.cancellations as n
      where n.tenant_id = p_tenant_id and n.execution_id = any(v_level)
      for update skip locked));
  end loop;
  return v_count;
end;
$$;
comment on function flowgres.cancel_tree(uuid, uuid[], text, text, integer) is $$Cancel executions and their descendants, up to a bound; returns how many

Descendants beyond it are cancelled by the next sweeps.$$;

set local role flowgres_definer;

create or replace function flowgres.cancel_execution(p_execution_id uuid, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_status text;
  v_is_new boolean;
begin
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  select e.finished_at is null into v_is_new
  from flowgres.executions as e
  where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id)
  for no key update;
  perform flowgres.cancel_tree(
    p_tenant_id => v_tenant_id, p_execution_ids => array[p_execution_id], p_reason => nullif(p_reason, ''),
    p_actor => flowgres.actor());
  -- Not by how many were cancelled: children of one that has just ended otherwise may be among them.
  select e.status into v_status
  from flowgres.executions as e
  where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id);
  if v_status is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  elsif v_status <> 'cancelled' then
    perform flowgres.fail(
      p_status => 409, p_code => 'execution_ended', p_message => format('execution %s is already %s', p_execution_id, v_status),
      p_hint => 'Only an execution that has not ended can be cancelled.');
  end if;
  if v_is_new then
    perform flowgres.audit_act(
      p_tenant_id => v_tenant_id, p_action => 'execution_cancelled', p_subject => p_execution_id::text, p_reason => p_reason);
  end if;
  return flowgres.get_execution(p_execution_id => p_execution_id);
end;
$$;
comment on function flowgres.cancel_execution(uuid, text) is $$Cancel an execution and its children

After it no new step starts; running ones are aborted within 5 s. Cancelling twice is no error.$$;

set local role flowgres_engine;

create or replace function flowgres.cancel_orphan()
  returns boolean language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_notes tid[];
  v_tenant_ids uuid[];
  v_ids uuid[];
  v_reasons text[];
  v_generations smallint[];
  v_retried_ids uuid[];
  v_codes text[];
  v_state flowgres.advance_state;
  v_is_any boolean;
begin
  v_notes := array(
    select c.ctid from flowgres.cancellations as c order by c.requested_at limit 100 for update skip locked);
  if v_notes = '{}' then
    return false;
  end if;
  -- Of an execution that was noted twice the first reason counts.
  select array_agg(c.tenant_id), array_agg(c.execution_id), array_agg(c.reason), array_agg(c.generation), array_agg(c.code)
  into v_tenant_ids, v_ids, v_reasons, v_generations, v_codes
  from (
    select distinct on (c.execution_id) c.tenant_id, c.execution_id, c.reason, c.generation, c.code
    from flowgres.cancellations as c where c.ctid = any(v_notes)
    order by c.execution_id, c.generation desc, c.id
  ) as c;
  v_state := flowgres.hold_executions(p_execution_ids => v_ids, p_tenant_ids => v_tenant_ids);
  -- One that was retried since is not meant.
  v_retried_ids := array(
    select s.id
    from unnest(v_state.execution_ids, v_state.generations) as s (id, generation)
    where v_generations[array_position(v_ids, s.id)] < s.generation);
  if v_retried_ids <> '{}' then
    select array_agg(x.tenant_id), array_agg(x.id), array_agg(x.reason), array_agg(x.code)
    into v_tenant_ids, v_ids, v_reasons, v_codes
    from unnest(v_tenant_ids, v_ids, v_reasons, v_codes) as x (tenant_id, id, reason, code)
    where x.id <> all(v_retried_ids);
    v_state := flowgres.hold_executions(p_execution_ids => coalesce(v_ids, '{}'), p_tenant_ids => coalesce(v_tenant_ids, '{}'));
  end if;
  perform flowgres.cancel_held(
    p_state => v_state, p_actor => 'engine', p_reasons => array(
      select v_reasons[array_position(v_ids, x.id)] from unnest(v_state.execution_ids) with ordinality as x (id, slot) order by x.slot),
    p_codes => array(
      select v_codes[array_position(v_ids, x.id)] from unnest(v_state.execution_ids) with ordinality as x (id, slot) order by x.slot));
  delete from flowgres.cancellations as c
  where c.ctid = any(v_notes) and c.execution_id <> all(coalesce(v_state.passed_over_ids, '{}'));
  v_is_any := found;
  if v_state.passed_over_ids is not null then
    -- Those that somebody holds are a later sweep's, when the others have had their turn.
    update flowgres.cancellations as c set requested_at = flowgres.now()
    where c.ctid = any(v_notes) and c.execution_id = any(v_state.passed_over_ids);
  end if;
  return v_is_any;
end;
$$;
comment on function flowgres.cancel_orphan() is $$Cancel children whose parents have ended, a bounded number; false when there is none that is free

Call it until it says so.$$;

create or replace function flowgres.expire_executions(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_ids uuid[];
  v_ids uuid[];
  v_state flowgres.advance_state;
begin
  select array_agg(l.tenant_id), array_agg(l.id) into v_tenant_ids, v_ids
  from (
    select e.tenant_id, e.id
    from flowgres.executions as e
    where e.deadline_at <= flowgres.now()
    order by e.deadline_at
    limit p_limit
    -- One that somebody holds is the next sweep's: the others are not to wait for it.
    for no key update skip locked
  ) as l;
  if v_ids is not null and exists (select from flowgres.pauses as p where p.resumed_at is null) then
    select x.tenant_ids, x.ids into v_tenant_ids, v_ids
    from flowgres.stop_clocks(p_tenant_ids => v_tenant_ids, p_execution_ids => v_ids) as x;
  end if;
  if v_ids is null then
    return 0;
  end if;
  v_state := flowgres.hold_executions(p_execution_ids => v_ids, p_tenant_ids => v_tenant_ids);
  select jsonb_object_agg(s.slot, jsonb_build_object(
    'code', 'execution_timeout', 'class', 'timeout',
    'message', format('the execution was active for more than %s s', e.timeout_seconds)))
  into v_state.failing_errors
  from unnest(v_state.touched_slots) as s (slot)
  join flowgres.executions as e on e.tenant_id = v_state.tenant_ids[s.slot] and e.id = v_state.execution_ids[s.slot];
  -- As any failure that nothing handles: what joins always still runs.
  v_state := flowgres.begin_failing(p_state => v_state);
  perform flowgres.carry_on(p_state => v_state);
  return cardinality(v_state.execution_ids);
end;
$$;
comment on function flowgres.expire_executions(integer) is $$Fail executions whose active time has run out; returns how many.$$;
