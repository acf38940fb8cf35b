-- Advancing executions, fifth part: move the queue rows, hand ready steps over, wake those that wait.

set local role flowgres_owner;

create or replace function flowgres.share_of_tenant(p_state flowgres.advance_state)
  returns integer language plpgsql stable
as $$
declare
  v_tenant_id uuid := flowgres.system_tenant_id();
  v_waiting integer := 0;
  v_ours integer;
  v_ranges flowgres.queue_range[] := (flowgres.known_floors()).ranges;
begin
  if v_ranges is not null then
    select count(*) into v_waiting
    from unnest(flowgres.tenants_in_turn(
      p_capability => 'core', p_after_tenant => null, p_limit => 8, p_ranges => v_ranges)) as t (id)
    where t.id <> all(p_state.tenant_ids);
  end if;
  -- Tenants with ready steps, by skip scan: it stops at eight, so that it costs the same with a thousand.
  for i in 1..case when v_ranges is null then 8 else 0 end loop
    select q.tenant_id into v_tenant_id
    from flowgres.work_queue as q
    where q.capability = 'core' and flowgres.is_ready(q) and q.tenant_id > v_tenant_id
    order by q.capability, q.tenant_id
    limit 1;
    exit when v_tenant_id is null;
    v_waiting := v_waiting + (v_tenant_id <> all(p_state.tenant_ids))::integer;
  end loop;
  if v_waiting = 0 then
    return null;
  end if;
  select count(distinct t) into v_ours from unnest(p_state.tenant_ids) as t;
  return greatest(p_state.room / (v_waiting + v_ours), 1);
end;
$$;
comment on function flowgres.share_of_tenant(flowgres.advance_state) is $$How many steps of one tenant may be handed over; null when no other tenant waits.$$;

create or replace function flowgres.share_of_fan(p_state flowgres.advance_state)
  returns integer language plpgsql stable
as $$
declare
  v_fanned integer := cardinality(p_state.ready) - p_state.lease_count;
  v_idle integer := 0;
begin
  -- As many as were held go on here. What a fan-out brings on top is shared with those that have nothing to do.
  if v_fanned > 0 then
    select count(*) into v_idle
    from flowgres.runners as r
    where r.is_idle and r.stopped_at is null and r.drained_at is null and r.id is distinct from p_state.runner_id;
  end if;
  return p_state.lease_count + greatest(v_fanned, 0) / (v_idle + 1);
end;
$$;
comment on function flowgres.share_of_fan(flowgres.advance_state) is $$How many of the steps that became ready stay with the runner that made them so, had it room for all.$$;

create or replace function flowgres.may_hand_over(p_state flowgres.advance_state)
  returns boolean language plpgsql stable
as $$
declare
  v_is_any_deleted boolean;
  v_is_any_paused boolean;
begin
  -- Mostly nothing was deleted for a day and nothing stands still, and that is all there is to see.
  select
    exists (select from flowgres.workflows as w where w.deleted_at > p_state.now - interval '1 day'),
    exists (select from flowgres.pauses as p where p.resumed_at is null)
  into v_is_any_deleted, v_is_any_paused;
  if not (v_is_any_deleted or v_is_any_paused) then
    return true;
  end if;
  return not exists (
    select
    from (select distinct x.t, x.v from unnest(p_state.tenant_ids, p_state.version_ids) as x (t, v)) as x
    join flowgres.workflow_versions as v on v.tenant_id = x.t and v.id = x.v
    join flowgres.workflows as w on w.tenant_id = v.tenant_id and w.id = v.workflow_id
    where isfinite(w.deleted_at) or v_is_any_paused and exists (
      select from flowgres.pauses as p
      where p.tenant_id = w.tenant_id and p.workflow_id in (w.id, flowgres.system_tenant_id()) and p.resumed_at is null));
end;
$$;
comment on function flowgres.may_hand_over(flowgres.advance_state) is $$Whether steps of this batch may go from hand to hand, past the claim

Not while an execution in it stands still with its workflow or tenant: the claim passes over that. Nor when its workflow was deleted:
it was started, and its first step claimed, while the delete was under way; the claim that finds one has it cancelled.$$;

create or replace function flowgres.move_ready(
  p_state flowgres.advance_state, p_room integer, p_share_of_fan integer, p_share integer
)
  returns flowgres.claimed_step[] language plpgsql
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_execution_ids uuid[] := p_state.execution_ids;
  v_version_ids uuid[] := p_state.version_ids;
  v_generations smallint[] := p_state.generations;
  v_priorities smallint[] := p_state.priorities;
  v_paused_flags boolean[] := p_state.paused_flags;
  v_fit_all boolean;
  v_handed flowgres.claimed_step[];
  v_count integer;
  v_has_items boolean;
begin
  -- Mostly there is room for all, and each has its own row or none: then nobody has to be ranked.
  select
    p_share is null and count(r.queue_id) = count(distinct r.queue_id) and (
      count(*) <= p_room or bool_and(r.only_computes) and p_room > 0 and count(*) <= greatest(p_room, p_share_of_fan))
  into v_fit_all
  from unnest(p_state.ready) as r;

  with ranked as materialized (
    select
      r.*, case when r.queue_id is null then 2 else 1 end as place, v_tenant_ids[r.slot] as tenant_id,
      v_execution_ids[r.slot] as execution_id, r.capability = any(p_state.capabilities) and not v_paused_flags[r.slot] as is_handed
    from unnest(p_state.ready) as r
    where v_fit_all
    union all
    select
      f.*, v_tenant_ids[f.slot] as tenant_id, v_execution_ids[f.slot] as execution_id,
      row_number() over (partition by f.only_computes order by f.place > 1, f.slot, f.step_index, f.iteration)
        -- What only computes takes no slot: it is done long before it could be claimed.
        <= case when f.only_computes and p_room > 0 then greatest(p_room, p_share_of_fan) else p_room end
        and (p_share is null or row_number() over (
          partition by v_tenant_ids[f.slot] order by f.place > 1, f.slot, f.step_index) <= p_share)
        and f.capability = any(p_state.capabilities) and not v_paused_flags[f.slot] as is_handed
    from (
      select r.*, row_number() over (partition by r.queue_id, r.slot order by r.step_index, r.iteration) + (r.queue_id is null)::integer as place
      from unnest(p_state.ready) as r
      where not v_fit_all
    ) as f
  ),
  moved as (
    -- In place, and without touching an indexed column when it is handed over: a heap-only update.
    update flowgres.work_queue as q
    set
      step_index = r.step_index, iteration = r.iteration, capability = r.capability, token = q.token + 1,
      attempt = r.is_handed::integer, runner_id = case when r.is_handed then p_state.runner_id end,
      claimed_at = case when r.is_handed then p_state.now end, ready_at = p_state.now, is_announced = false, resume = null,
      waits_for = null, round = null, past_attempts = null,
      -- They are the step's; its next item has them, too.
      overrides = case when r.iteration > 0 then q.overrides end,
      rank = case when r.is_handed then q.rank else flowgres.next_rank() end
    from ranked as r
    where r.place = 1 and q.tenant_id = r.tenant_id and q.execution_id = r.execution_id and q.id = r.queue_id
      and q.runner_id is not distinct from p_state.runner_id
    returning q.*
  ),
  added as (
    insert into flowgres.work_queue as q (
      tenant_id, execution_id, version_id, runner_id, token, ready_at, claimed_at, step_index, iteration, attempt, generation,
      priority, capability, held, held_for)
    select
      r.tenant_id, r.execution_id, v_version_ids[r.slot], case when r.is_handed then p_state.runner_id end, 1, p_state.now,
      case when r.is_handed then p_state.now end, r.step_index, r.iteration, r.is_handed::integer, v_generations[r.slot],
      v_priorities[r.slot], r.capability,
      -- The rows of what is paused are held already (pause_held), and stay so when they are re-pointed.
      v_paused_flags[r.slot], case when v_paused_flags[r.slot] then r.execution_id end
    from ranked as r
    where r.place > 1
    returning q.*
  )
  select
    array_agg(flowgres.make_claimed_step(
      p_queue_id => q.id, p_token => q.token, p_tenant_id => q.tenant_id, p_execution_id => q.execution_id,
      p_version_id => q.version_id, p_step_index => q.step_index, p_iteration => q.iteration, p_attempt => q.attempt,
      p_generation => q.generation, p_handed => true, p_overrides => q.overrides::json))
      filter (where q.runner_id is not null),
    count(*), bool_or(q.iteration >= 0)
  into v_handed, v_count, v_has_items
  from (select m.* from moved as m union all select a.* from added as a) as q;
  if v_count <> cardinality(p_state.ready) then
    raise exception 'of % ready steps % have a row in the queue', cardinality(p_state.ready), v_count;
  end if;
  if coalesce(cardinality(v_handed), 0) < v_count then
    -- Nobody but the poll would find them.
    perform flowgres.wake_runners();
  end if;
  return case when v_has_items and v_handed is not null then flowgres.add_items(p_claimed => v_handed) else v_handed end;
end;
$$;
comment on function flowgres.move_ready is $$Re-point queue rows at the steps that became ready; returns those handed over to this runner

The first child takes the row of the step that ended; further ones get rows of their own.$$;

create or replace function flowgres.settle_queue(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_execution_ids uuid[] := p_state.execution_ids;
  v_slots integer[];
  v_queue_ids bigint[];
  v_count integer;
begin
  if p_state.done_slots is not null then
    -- Those whose row went on to a child stay.
    select array_agg(d.slot), array_agg(d.queue_id) into v_slots, v_queue_ids
    from unnest(p_state.done_slots, p_state.done_queue_ids) as d (slot, queue_id)
    where d.queue_id not in (select r.queue_id from unnest(p_state.ready) as r where r.queue_id is not null);
    delete from flowgres.work_queue as q
    using unnest(v_slots, v_queue_ids) as d (slot, queue_id)
    where q.tenant_id = v_tenant_ids[d.slot] and q.execution_id = v_execution_ids[d.slot] and q.id = d.queue_id
      and q.runner_id is not distinct from p_state.runner_id;
    get diagnostics v_count = row_count;
    if v_count < cardinality(v_queue_ids) then
      raise exception 'of % rows of steps that ended % are in the queue', cardinality(v_queue_ids), v_count;
    end if;
  end if;

  if p_state.outcomes is null then
    return;
  end if;
  update flowgres.work_queue as q
  set
    runner_id = case when o.outcome = 'started' then q.runner_id end,
    due_at = o.due_at,
    rank = case when o.due_at is null and o.outcome <> 'started' then flowgres.next_rank() else q.rank end,
    waits_for = o.waits_for,
    -- A retry begins anew; a lost step goes on from where it was resumed.
    resume = case
      when o.outcome in ('suspended', 'child') then '{}'::jsonb
      when o.outcome = 'park' then coalesce(o.output, '{}')
      -- It goes on at once.
      when o.outcome = 'detached' then jsonb_build_object('status', 'detached', 'execution_id', o.child_execution_id)
      when o.outcome = 'moved' then jsonb_build_object('status', 'moved', 'output', o.output)
      when o.outcome not in ('retrying', 'again') then q.resume
      -- The function of an sql step was called, and is not called again.
      when o.outcome = 'retrying' and q.resume ->> 'status' = 'called' then q.resume
    end,
    -- Rounds may be thousands: who asked for them once is not to go before all who come after.
    is_new = q.is_new or o.outcome = 'again',
    -- Each round has its attempts for itself.
    round = case when o.outcome = 'again' then o.round + 1 else q.round end,
    past_attempts = case when o.outcome = 'again' then q.attempt else q.past_attempts end,
    is_announced = o.outcome in ('started', 'suspended', 'child', 'detached', 'moved', 'park'),
    claimed_at = case when o.outcome = 'started' then q.claimed_at end,
    attempt = q.attempt + (o.outcome = 'lost' and o.is_resumed or o.outcome = 'retrying' and q.resume ->> 'status' is not distinct from 'called')::integer,
    -- Twice lost, whatever else its tries came to, is no chance any more: one of those that were held together kills runners,
    -- and nobody knows which. From here on it goes to a runner without any other suspect, so that who merely stood beside it
    -- does not fail with it.
    capability = coalesce(
      -- The next try waits in the line of the step's limit; what goes on from where it was resumed has its place.
      case when o.outcome in ('retrying', 'again') or o.outcome = 'lost' and not o.is_resumed then flowgres.line_of_step(
        p_tenant_id => q.tenant_id, p_version_id => q.version_id, p_step_index => q.step_index) end,
      case
        -- Where workers look, and no runner does.
        when o.outcome = 'park' and o.waits_for like 'worker:%' then 'task:' || substr(o.waits_for, 8)
        when o.outcome = 'again' then regexp_replace(q.capability, '^alone:', '')
        when o.outcome = 'lost' and q.capability not like 'alone:%' and (
          select count(*) from flowgres.attempts as a
          where a.tenant_id = o.tenant_id and a.execution_id = o.execution_id and a.step_index = o.step_index
            and a.iteration = o.iteration and a.generation = o.generation and a.status = 'lost'
            and a.attempt > coalesce(q.past_attempts, 0)) >= 2
          then 'alone:' || q.capability
        else q.capability end)
  from unnest(p_state.outcomes) as o
  where q.tenant_id = o.tenant_id and q.execution_id = o.execution_id and q.id = o.queue_id and o.edge is null
    -- That one went on to its first iteration.
    and o.outcome <> 'expand' and q.runner_id is not distinct from p_state.runner_id;
  if exists (
    select from unnest(p_state.outcomes) as o
    where o.edge is null and o.due_at is null and o.outcome in ('again', 'detached', 'moved', 'lost')
  ) then
    -- They stand in their lines again, and whoever reports may want nothing.
    perform flowgres.wake_runners();
  end if;
end;
$$;
comment on function flowgres.settle_queue(flowgres.advance_state) is $$Delete the rows of steps that ended, park those that wait or are tried again.$$;
