-- Claiming: fair among tenants, then by priority, then what has begun, then by age.

set local role flowgres_owner;

create or replace function flowgres.require_read_committed()
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    perform flowgres.fail(
      p_status => 400, p_code => 'isolation_refused',
      p_message => format('this function does not run in %s', current_setting('transaction_isolation')),
      p_hint => 'Use READ COMMITTED: under a lock it must see what others have just committed.');
  end if;
end;
$$;
comment on function flowgres.require_read_committed() is $$Refuse other isolation levels: a snapshot older than the lock loses joins.$$;

create or replace function flowgres.require_runner(p_runner_id uuid)
  returns text[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_runner flowgres.runners;
begin
  select r.* into v_runner
  from flowgres.runners as r where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id;
  if v_runner.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'runner_not_registered', p_message => format('runner %s is not registered', p_runner_id),
      p_hint => 'Call register_runner first.');
  end if;
  return v_runner.capabilities;
end;
$$;
comment on function flowgres.require_runner(uuid) is $$What a runner serves; refuses an unknown one.$$;

set local role flowgres_engine;

create or replace function flowgres.claim(
  p_runner_id uuid, p_want integer, p_after_tenant uuid, p_caps jsonb default null
)
  returns setof flowgres.claimed_step language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_now timestamptz := flowgres.now();
  v_may_claim boolean;
  v_is_idle boolean;
  v_has_due boolean;
  v_has_wakes boolean;
  v_lines text[];
  v_tenants uuid[];
  v_are_alone boolean[];
  v_picked tid[];
  v_ids uuid[];
  v_pick record;
  v_rows tid[] := '{}';
  v_lowest_id uuid;
  v_highest_id uuid;
  v_has_deleted boolean;
  v_has_paused boolean;
  v_is_any_held boolean := false;
  v_has_limits boolean;
  v_is_fan boolean := false;
  v_count integer;
  v_text text := current_setting('flowgres.floors', true);
  v_past record;
  v_floors flowgres.queue_floors;
  v_ranges flowgres.queue_range[];
  v_read bigint := flowgres.entries_read();
begin
  perform flowgres.require_read_committed();
  for v_look in 1..2 loop
    if v_text <> '' then
      -- While somebody holds an old snapshot.
      v_past := flowgres.look_past(p_runner_id => p_runner_id, p_now => v_now, p_floors => flowgres.known_floors());
      v_may_claim := v_past.may_claim;
      v_is_idle := v_past.is_idle;
      v_has_due := v_past.has_due;
      v_has_wakes := v_past.has_wakes;
      v_has_deleted := v_past.has_deleted;
      v_has_paused := exists (select from flowgres.pauses as p where p.resumed_at is null);
      v_lines := v_past.lines;
      v_ranges := v_past.ranges;
      v_floors := v_past.floors;
      v_has_limits := exists (select from flowgres.limits);
    else
      -- One look says most of what there is to know: whether the runner may have anything (not when it was told to stop, or
      -- was given up), whether something is due, in which lines, one for each capability, anything stands, and whether it is
      -- all of one tenant: then there is none before the last one. (Not the first one: there the index begins with what has
      -- been taken already, until a vacuum.) Most calls find nothing, or the steps of one tenant.
      select
        flowgres.may_claim(r), r.is_idle,
        exists (select from flowgres.work_queue as q where flowgres.is_due(q, v_now)),
        exists (select from flowgres.pending_wakes),
        -- A start that had looked for its workflow before that was deleted may have come after.
        exists (select from flowgres.workflows as w where w.deleted_at > v_now - interval '1 day'),
        exists (select from flowgres.pauses as p where p.resumed_at is null),
        exists (select from flowgres.limits),
        l.lines, l.tenants, l.are_alone
      into v_may_claim, v_is_idle, v_has_due, v_has_wakes, v_has_deleted, v_has_paused, v_has_limits, v_lines, v_tenants,
        v_are_alone
      from flowgres.runners as r
      cross join lateral (
        select
          array_agg(p.prefix || c.name order by p.prefix desc) as lines,
          array_agg(t.tenant_id order by p.prefix desc) as tenants,
          array_agg(b.tenant_id is null order by p.prefix desc) as are_alone
        from (values ('alone:'), ('')) as p (prefix)
        cross join unnest(r.capabilities) as c (name)
        cross join lateral (
          select q.tenant_id
          from flowgres.work_queue as q
          where q.capability = p.prefix || c.name and flowgres.is_ready(q)
          order by q.tenant_id desc
          limit 1
        ) as t
        left join lateral (
          select q.tenant_id
          from flowgres.work_queue as q
          where q.capability = p.prefix || c.name and flowgres.is_ready(q) and q.tenant_id < t.tenant_id
          order by q.tenant_id desc
          limit 1
        ) as b on true
      ) as l
      where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id;
      if not found then
        perform flowgres.require_runner(p_runner_id => p_runner_id);
      end if;
    end if;
    exit when not ((v_has_due or v_has_wakes or v_has_limits) and v_may_claim) or v_look = 2;
    -- What came in time comes before the end of the time.
    if v_has_wakes then
      perform flowgres.wake_pending(p_limit => 1000);
    end if;
    if v_has_due then
      perform flowgres.promote_due(p_limit => 1000, p_from => coalesce(v_floors.due_at, '-infinity'));
    end if;
    if v_has_limits then
      exit when not flowgres.admit_beside(p_is_idle => v_lines is null or v_has_due or v_has_wakes) and not (v_has_due or v_has_wakes);
    end if;
  end loop;

  for v_pass in 1..case when v_has_paused then 10 else 1 end loop
    for v_line in 1..case when v_lines is null or p_want <= 0 or not v_may_claim then 0 else cardinality(v_lines) end loop
      exit when cardinality(v_rows) >= p_want;
      if v_lines[v_line] like 'alone:%' then
        -- The lines of suspects come first, and are asked for at once.
        continue when v_line > 1;
        v_pick := flowgres.pick_suspect(
          p_runner_id => p_runner_id, p_lines => v_lines, p_after_tenant => p_after_tenant, p_ranges => v_ranges,
          p_is_any_paused => v_has_paused);
      elsif v_ranges is not null then
        v_tenants := flowgres.tenants_in_turn(
          p_capability => v_lines[v_line], p_after_tenant => p_after_tenant, p_limit => 16, p_ranges => v_ranges,
          p_is_any_paused => v_has_paused);
        if cardinality(v_tenants) = 1 and p_caps is null then
          v_pick := flowgres.pick_past(
            p_capability => v_lines[v_line], p_tenant_id => v_tenants[1], p_limit => p_want - cardinality(v_rows), p_offset => 0,
            p_ranges => v_ranges);
          v_is_fan := v_is_fan or v_pick.is_fan or v_rows <> '{}';
          v_rows := v_rows || v_pick.rows;
          v_lowest_id := least(v_lowest_id, v_pick.lowest_id);
          v_highest_id := greatest(v_highest_id, v_pick.highest_id);
          continue;
        end if;
        v_pick := flowgres.pick_shares(
          p_capability => v_lines[v_line], p_limit => p_want - cardinality(v_rows), p_tenants => v_tenants, p_ranges => v_ranges,
          p_caps => p_caps);
      elsif v_are_alone[v_line] and p_caps is null and not (v_has_paused and flowgres.is_standing_still(
        p_tenant_id => v_tenants[v_line], p_workflow_id => flowgres.system_tenant_id()))
      then
        -- pick_shares would do the same, but calling it takes a fifth of the time of a claim of one step, and this is the usual case.
        select array_agg(p.ctid), array_agg(p.execution_id order by p.execution_id), count(distinct p.execution_id)
        into v_picked, v_ids, v_count
        from (
          select q.ctid, q.execution_id
          from flowgres.work_queue as q
          where q.capability = v_lines[v_line] and q.tenant_id = v_tenants[v_line] and flowgres.is_ready(q)
          order by q.priority, q.is_new, q.rank
          limit p_want - cardinality(v_rows)
          for update skip locked
        ) as p;
        continue when v_picked is null;
        v_rows := v_rows || v_picked;
        v_lowest_id := least(v_lowest_id, v_ids[1]);
        v_highest_id := greatest(v_highest_id, v_ids[cardinality(v_ids)]);
        v_is_fan := v_is_fan or v_count < cardinality(v_ids);
        continue;
      else
        v_pick := flowgres.pick_shares(
          p_capability => v_lines[v_line], p_limit => p_want - cardinality(v_rows), p_caps => p_caps,
          p_tenants => flowgres.tenants_in_turn(
            p_capability => v_lines[v_line], p_after_tenant => p_after_tenant, p_limit => 16, p_is_any_paused => v_has_paused));
      end if;
      v_rows := v_rows || v_pick.rows;
      v_is_fan := true;
      v_lowest_id := least(v_lowest_id, v_pick.lowest_id);
      v_highest_id := greatest(v_highest_id, v_pick.highest_id);
    end loop;
    exit when not v_has_paused or v_rows = '{}';
    select h.rows, h.is_any_held into v_rows, v_is_any_held from flowgres.hold_paused(p_rows => v_rows) as h;
    -- Behind what is held from here on there may be others.
    exit when v_rows <> '{}' or not v_is_any_held;
  end loop;
  if v_is_any_held and v_rows = '{}' then
    perform flowgres.wake_runners();
  end if;
  -- Far more was read than was taken, and that once more if nothing changes; or it is time to look from the beginning again.
  if flowgres.entries_read() - v_read > cardinality(v_rows) + (case when v_text <> '' then 200 else 500 end)
    or clock_timestamp() >= v_floors.full_at
  then
    perform flowgres.learn_floors(p_runner_id => p_runner_id);
  end if;
  if v_rows = '{}' then
    return;
  end if;

  if v_has_deleted then
    v_rows := flowgres.pass_over_deleted(p_rows => v_rows);
    if v_rows = '{}' then
      return;
    end if;
  end if;

  -- The rows by their addresses: with a limit that the planner does not know it would otherwise plan for a tenth of the
  -- table. The bounds of the ids spare the plan the beginning of all the periods of history that have nothing to do with it.
  if v_is_fan then
    return query select c.* from flowgres.lease_fan(p_runner_id => p_runner_id, p_rows => v_rows, p_now => v_now) as c;
  else
    return query
    update flowgres.work_queue as q
    set
      runner_id = p_runner_id, token = q.token + 1, claimed_at = v_now, is_new = false,
      attempt = q.attempt + (q.resume is null)::integer
    where q.ctid = any(v_rows)
    returning
      q.id, q.token, q.tenant_id, q.execution_id, q.version_id, q.step_index, q.iteration, q.attempt, q.generation, false,
      (
        select
          case when s.steps is not null and flowgres.weight_of(e.input) + flowgres.weight_of(e.trigger) <= flowgres.light_weight() then
            flowgres.build_context(
              p_execution_id => e.id, p_input => e.input, p_trigger => e.trigger, p_trigger_type => e.trigger_type,
              p_began_at => coalesce(e.started_at, e.created_at), p_steps => s.steps, p_error => e.error)
          end
        from flowgres.executions as e
        cross join lateral (
          select
            -- Before its first report an execution has no steps to refer to.
            case when e.started_at is null then '{}'::json else (
              select case when w.reference_indexes = '{}' then '{}'::json else flowgres.context_steps(
                p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => w.reference_indexes,
                p_most => flowgres.light_weight()) end
              from flowgres.workflow_steps as w
              where w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index) end as steps
          offset 0
        ) as s
        where e.tenant_id = q.tenant_id and e.id = q.execution_id and e.id between v_lowest_id and v_highest_id
      ),
      case when q.resume is not null then flowgres.read_resume(
        p_tenant_id => q.tenant_id, p_resume => q.resume, p_most => flowgres.light_weight()) end,
      false,
      case when q.iteration >= 0 then flowgres.read_item(
        p_tenant_id => q.tenant_id, p_execution_id => q.execution_id, p_step_index => q.step_index, p_iteration => q.iteration,
        p_most => flowgres.light_weight()) end,
      q.round,
      case when q.round is not null then flowgres.read_previous(
        p_tenant_id => q.tenant_id, p_execution_id => q.execution_id, p_step_index => q.step_index, p_iteration => q.iteration,
        p_most => flowgres.light_weight()) end,
      q.overrides::json;
  end if;

  if v_is_idle then
    -- Not waited for: who signs off holds this row, and wants those that are held here. It only costs a notification.
    update flowgres.runners as r set is_idle = false
    where r.ctid = any(array(
      select s.ctid from flowgres.runners as s
      where s.tenant_id = '00000000-0000-0000-0000-000000000000' and s.id = p_runner_id and s.is_idle
      for update skip locked));
  end if;
end;
$$;
comment on function flowgres.claim(uuid, integer, uuid, jsonb) is $$Take up to p_want ready steps, each tenant its fair share

p_after_tenant is the tenant served last: the turn goes on behind it. p_caps says how many steps at most of a tenant, by its id,
and of those that it does not name under "*": who has enough in the runner's hands leaves its own in the queue. Writes work_queue only, apart from the runner's own
row; a step counts as running from here, and is recorded with its first report.$$;
