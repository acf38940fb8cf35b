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

create or replace function flowgres.promote_due(p_limit integer)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_rows tid[];
begin
  select array(
    select q.ctid from flowgres.work_queue as q
    where q.due_at <= v_now
    order by q.due_at
    limit p_limit
    for update skip locked)
  into v_rows;
  if v_rows = '{}' then
    return 0;
  end if;
  update flowgres.work_queue as q set due_at = null, ready_at = v_now where q.ctid = any(v_rows);
  return cardinality(v_rows);
end;
$$;
comment on function flowgres.promote_due(integer) is $$Make due steps ready, a bounded number: a million future timers cost one look at the index.$$;

create or replace function flowgres.tenants_in_turn(p_capability text, p_after_tenant uuid, p_limit integer)
  returns uuid[] language plpgsql stable
as $$
declare
  v_after uuid := coalesce(p_after_tenant, '00000000-0000-0000-0000-000000000000');
  v_tenants uuid[] := '{}';
  v_tenant_id uuid := v_after;
  v_has_wrapped boolean := p_after_tenant is null;
begin
  -- A skip scan by hand: from one tenant with ready steps to the next, once around.
  while cardinality(v_tenants) < p_limit loop
    select q.tenant_id into v_tenant_id
    from flowgres.work_queue as q
    where q.capability = p_capability and q.runner_id is null and q.due_at is null and q.tenant_id > v_tenant_id
    order by q.tenant_id
    limit 1;
    if v_tenant_id is null then
      exit when v_has_wrapped;
      v_has_wrapped := true;
      v_tenant_id := '00000000-0000-0000-0000-000000000000';
    else
      exit when v_has_wrapped and v_tenant_id > p_after_tenant;
      v_tenants := v_tenants || v_tenant_id;
      exit when v_tenant_id = p_after_tenant;
    end if;
  end loop;
  return v_tenants;
end;
$$;
comment on function flowgres.tenants_in_turn(text, uuid, integer) is $$Tenants with ready steps, beginning after the one served last.$$;

-- One expression, without a search_path and without a query: so it is inlined, and a claim of hundreds calls no function.
create or replace function flowgres.build_context(
  p_execution_id uuid, p_input jsonb, p_trigger jsonb, p_trigger_type text, p_began_at timestamptz, p_steps json
)
  returns json language sql stable
as $$
  select json_build_object(
    'input', p_input,
    'trigger', case when p_trigger is null then json_build_object('type', p_trigger_type) else p_trigger::json end,
    'execution', json_build_object('id', p_execution_id, 'started_at', p_began_at),
    'steps', p_steps);
$$;
comment on function flowgres.build_context is $$What the expressions of a step may see of their execution.$$;

create or replace function flowgres.context_steps(p_tenant_id uuid, p_execution_id uuid, p_reference_indexes smallint[])
  returns json language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return coalesce((
    select json_object_agg(s.step, json_build_object(
      'output', s.output, 'status', s.status, 'error', s.error, 'attempts', s.attempts))
    from flowgres.step_executions as s
    where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = any(p_reference_indexes)
      and s.iteration = -1), '{}');
end;
$$;
comment on function flowgres.context_steps(uuid, uuid, smallint[]) is $$The outputs of only those steps that a step names.$$;

create or replace function flowgres.pick_shares(
  p_capability text, p_tenants uuid[], p_limit integer,
  out rows tid[], out lowest_id uuid, out highest_id uuid
)
  language plpgsql
as $$
declare
  v_tenants uuid[] := p_tenants;
  v_sated uuid[] := '{}';
  -- Others may have taken everything since the tenants were looked up, and then there are none.
  v_share integer := (p_limit + cardinality(p_tenants) - 1) / greatest(cardinality(p_tenants), 1);
  v_left integer := p_limit;
  v_offset integer := 0;
  v_limit integer;
  v_tenant_id uuid;
  v_picked tid[];
  v_ids uuid[];
begin
  rows := '{}';
  -- Each gets its share; what one leaves, those who had theirs may have in a second round. Its offset passes over what they
  -- have: if something went before that meanwhile, a row is picked twice, which does no harm.
  for v_round in 1..2 loop
    foreach v_tenant_id in array v_tenants loop
      exit when v_left <= 0;
      v_limit := case v_round when 1 then least(v_share, v_left) else v_left end;
      select array_agg(p.ctid), array_agg(p.execution_id order by p.execution_id) into v_picked, v_ids
      from (
        select q.ctid, q.execution_id
        from flowgres.work_queue as q
        where q.capability = p_capability and q.tenant_id = v_tenant_id and q.runner_id is null and q.due_at is null
        order by q.priority, q.is_new, q.id
        limit v_limit offset v_offset
        for update skip locked
      ) as p;
      continue when v_picked is null;
      rows := rows || v_picked;
      lowest_id := least(lowest_id, v_ids[1]);
      highest_id := greatest(highest_id, v_ids[cardinality(v_ids)]);
      v_left := v_left - cardinality(v_picked);
      if cardinality(v_picked) = v_share then
        v_sated := v_sated || v_tenant_id;
      end if;
    end loop;
    v_tenants := v_sated;
    v_offset := v_share;
  end loop;
end;
$$;
comment on function flowgres.pick_shares(text, uuid[], integer) is $$Lock the next ready steps of some tenants, each its fair share

Returns the addresses of their rows, and between which ids their executions lie.$$;

create or replace function flowgres.pick_suspect(
  p_runner_id uuid, p_lines text[], p_after_tenant uuid,
  out rows tid[], out lowest_id uuid, out highest_id uuid
)
  language plpgsql
as $$
declare
  v_line text;
  v_pick record;
begin
  rows := '{}';
  if exists (select from flowgres.work_queue as q where q.runner_id = p_runner_id and q.capability like 'alone:%') then
    return;
  end if;
  foreach v_line in array p_lines loop
    continue when v_line not like 'alone:%';
    v_pick := flowgres.pick_shares(
      p_capability => v_line, p_limit => 1, p_tenants => flowgres.tenants_in_turn(
        p_capability => v_line, p_after_tenant => p_after_tenant, p_limit => 1));
    rows := v_pick.rows;
    lowest_id := v_pick.lowest_id;
    highest_id := v_pick.highest_id;
    exit when rows <> '{}';
  end loop;
end;
$$;
comment on function flowgres.pick_suspect(uuid, text[], uuid) is $$Pick one step that was lost with its runner twice, unless the runner holds one

Such rows have the capability "alone:<capability>" until they are done. One of them may kill its runner again; the others,
which only happened to be beside it, then do not run out of attempts with it.$$;

set local role flowgres_engine;

create or replace function flowgres.claim(p_runner_id uuid, p_want integer, p_after_tenant uuid)
  returns setof flowgres.claimed_step language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_now timestamptz := flowgres.now();
  v_may_claim boolean;
  v_is_idle boolean;
  v_has_due boolean;
  v_lines text[];
  v_tenants uuid[];
  v_are_alone boolean[];
  v_picked tid[];
  v_ids uuid[];
  v_pick record;
  v_rows tid[] := '{}';
  v_lowest_id uuid;
  v_highest_id uuid;
begin
  for v_look in 1..2 loop
    -- One look says most of what there is to know: whether the runner may have anything (not when it was told to stop, or
    -- was given up), whether something is due, in which lines, one for each capability, anything stands, and whether it is
    -- all of one tenant: then there is none before the last one. (Not the first one: there the index begins with what has
    -- been taken already, until a vacuum.) Most calls find nothing, or the steps of one tenant.
    select
      r.drained_at is null and r.stopped_at is null, r.is_idle,
      exists (select from flowgres.work_queue as q where q.due_at <= v_now),
      l.lines, l.tenants, l.are_alone
    into v_may_claim, v_is_idle, v_has_due, v_lines, v_tenants, v_are_alone
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
        where q.capability = p.prefix || c.name and q.runner_id is null and q.due_at is null
        order by q.tenant_id desc
        limit 1
      ) as t
      left join lateral (
        select q.tenant_id
        from flowgres.work_queue as q
        where q.capability = p.prefix || c.name and q.runner_id is null and q.due_at is null and q.tenant_id < t.tenant_id
        order by q.tenant_id desc
        limit 1
      ) as b on true
    ) as l
    where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id;
    if not found then
      perform flowgres.require_runner(p_runner_id => p_runner_id);
    end if;
    exit when not (v_has_due and v_may_claim) or v_look = 2;
    perform flowgres.promote_due(p_limit => 1000);
  end loop;
  if v_lines is null or p_want <= 0 or not v_may_claim then
    return;
  end if;

  for v_line in 1..cardinality(v_lines) loop
    exit when cardinality(v_rows) >= p_want;
    if v_lines[v_line] like 'alone:%' then
      -- The lines of suspects come first, and are asked for at once.
      continue when v_line > 1;
      v_pick := flowgres.pick_suspect(p_runner_id => p_runner_id, p_lines => v_lines, p_after_tenant => p_after_tenant);
    elsif v_are_alone[v_line] then
      -- pick_shares would do the same, but calling it takes a fifth of the time of a claim of one step, and this is the usual case.
      select array_agg(p.ctid), array_agg(p.execution_id order by p.execution_id) into v_picked, v_ids
      from (
        select q.ctid, q.execution_id
        from flowgres.work_queue as q
        where q.capability = v_lines[v_line] and q.tenant_id = v_tenants[v_line] and q.runner_id is null
          and q.due_at is null
        order by q.priority, q.is_new, q.id
        limit p_want - cardinality(v_rows)
        for update skip locked
      ) as p;
      continue when v_picked is null;
      v_rows := v_rows || v_picked;
      v_lowest_id := least(v_lowest_id, v_ids[1]);
      v_highest_id := greatest(v_highest_id, v_ids[cardinality(v_ids)]);
      continue;
    else
      v_pick := flowgres.pick_shares(
        p_capability => v_lines[v_line], p_limit => p_want - cardinality(v_rows), p_tenants => flowgres.tenants_in_turn(
          p_capability => v_lines[v_line], p_after_tenant => p_after_tenant, p_limit => 16));
    end if;
    v_rows := v_rows || v_pick.rows;
    v_lowest_id := least(v_lowest_id, v_pick.lowest_id);
    v_highest_id := greatest(v_highest_id, v_pick.highest_id);
  end loop;
  if v_rows = '{}' then
    return;
  end if;

  -- The rows by their addresses: with a limit that the planner does not know it would otherwise plan for a tenth of the
  -- table. The bounds of the ids spare the plan the beginning of all the periods of history that have nothing to do with it.
  return query
  update flowgres.work_queue as q
  set
    runner_id = p_runner_id, token = q.token + 1, claimed_at = v_now, is_new = false,
    attempt = q.attempt + (q.resume is null)::integer
  where q.ctid = any(v_rows)
  returning
    q.id, q.token, q.tenant_id, q.execution_id, q.version_id, q.step_index, q.iteration, q.attempt, q.generation, false,
    (
      select flowgres.build_context(
        p_execution_id => e.id, p_input => e.input, p_trigger => e.trigger, p_trigger_type => e.trigger_type,
        p_began_at => coalesce(e.started_at, e.created_at),
        -- Before its first report an execution has no steps to refer to.
        p_steps => case when e.started_at is null then '{}'::json else (
          select case when w.reference_indexes = '{}' then '{}'::json else flowgres.context_steps(
            p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => w.reference_indexes) end
          from flowgres.workflow_steps as w
          where w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index) end)
      from flowgres.executions as e
      where e.tenant_id = q.tenant_id and e.id = q.execution_id and e.id between v_lowest_id and v_highest_id
    ),
    q.resume;

  if v_is_idle then
    update flowgres.runners as r set is_idle = false
    where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id and r.is_idle;
  end if;
end;
$$;
comment on function flowgres.claim(uuid, integer, uuid) is $$Take up to p_want ready steps, each tenant its fair share

p_after_tenant is the tenant served last: the turn goes on behind it. Writes work_queue only, apart from the runner's own
row; a step counts as running from here, and is recorded with its first report.$$;

create or replace function flowgres.get_contexts(p_runner_id uuid, p_rows jsonb)
  returns table (queue_id bigint, context json) language plpgsql stable security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
  set plan_cache_mode to force_generic_plan
as $$
begin
  return query
  select l.id, c.context
  from jsonb_array_elements(p_rows) as r (value)
  cross join lateral (
    select q.id, q.tenant_id, q.execution_id, w.reference_indexes
    from flowgres.work_queue as q
    join flowgres.workflow_steps as w
      on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
    where q.tenant_id = (r.value ->> 0)::uuid and q.execution_id = (r.value ->> 1)::uuid and q.id = (r.value ->> 2)::bigint
      and q.runner_id is not distinct from p_runner_id
    offset 0
  ) as l
  cross join lateral (
    select flowgres.build_context(
      p_execution_id => e.id, p_input => e.input, p_trigger => e.trigger, p_trigger_type => e.trigger_type,
      p_began_at => coalesce(e.started_at, e.created_at),
      p_steps => case when l.reference_indexes = '{}' then '{}'::json else flowgres.context_steps(
        p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => l.reference_indexes) end) as context
    from flowgres.executions as e
    where e.tenant_id = l.tenant_id and e.id = l.execution_id
    offset 0
  ) as c;
end;
$$;
comment on function flowgres.get_contexts(uuid, jsonb) is $$Contexts of leased steps, given as [[tenant, execution, queue row, token], ...]

For a step that was handed over to a runner that has not seen all it refers to.$$;
