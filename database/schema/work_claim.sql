-- Claiming: fair among tenants, then by priority, then what has begun, then by age.

set local role flowgres_owner;

create or replace function flowgres.require_read_committed()
  returns void language plpgsql set search_path to ''
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
  returns text[] language plpgsql stable set search_path to ''
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
  returns integer language plpgsql set search_path to ''
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
  returns uuid[] language plpgsql stable set search_path to ''
as $$
declare
  v_after uuid := coalesce(p_after_tenant, '00000000-0000-0000-0000-000000000000');
  v_tenants uuid[] := '{}';
  v_tenant_id uuid := v_after;
  v_has_wrapped boolean := false;
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
      exit when v_has_wrapped and v_tenant_id > v_after;
      v_tenants := v_tenants || v_tenant_id;
    end if;
  end loop;
  return v_tenants;
end;
$$;
comment on function flowgres.tenants_in_turn(text, uuid, integer) is $$Tenants with ready steps, beginning after the one served last.$$;

-- One expression, without a search_path and without a query: so it is inlined, and a claim of hundreds calls no function.
create or replace function flowgres.build_context(
  p_execution_id uuid, p_input jsonb, p_trigger jsonb, p_trigger_type text, p_began_at timestamptz, p_steps jsonb
)
  returns jsonb language sql stable
as $$
  select jsonb_build_object(
    'input', p_input,
    'trigger', case when p_trigger is null then jsonb_build_object('type', p_trigger_type) else p_trigger end,
    'execution', jsonb_build_object('id', p_execution_id, 'started_at', p_began_at),
    'steps', p_steps);
$$;
comment on function flowgres.build_context is $$What the expressions of a step may see of their execution.$$;

create or replace function flowgres.context_steps(p_tenant_id uuid, p_execution_id uuid, p_reference_indexes smallint[])
  returns jsonb language plpgsql stable set search_path to ''
as $$
begin
  return coalesce((
    select jsonb_object_agg(s.step, jsonb_build_object(
      'output', s.output, 'status', s.status, 'error', s.error, 'attempts', s.attempts))
    from flowgres.step_executions as s
    where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = any(p_reference_indexes)
      and s.iteration = -1), '{}');
end;
$$;
comment on function flowgres.context_steps(uuid, uuid, smallint[]) is $$The outputs of only those steps that a step names.$$;

create or replace function flowgres.lease_ready(
  p_runner_id uuid, p_capability text, p_tenant_id uuid, p_limit integer, p_now timestamptz
)
  returns setof flowgres.claimed_step language plpgsql set search_path to ''
as $$
declare
  v_rows tid[];
begin
  -- First the row addresses into an array, then the update by address: with a limit that the planner does not know it
  -- would otherwise plan for a tenth of the table.
  select array(
    select q.ctid
    from flowgres.work_queue as q
    where q.capability = p_capability and q.tenant_id = p_tenant_id and q.runner_id is null and q.due_at is null
    order by q.priority, q.is_new, q.id
    limit p_limit
    for update skip locked)
  into v_rows;
  if v_rows = '{}' then
    return;
  end if;
  return query
  with leased as (
    update flowgres.work_queue as q
    set
      runner_id = p_runner_id, token = q.token + 1, claimed_at = p_now, is_new = false,
      attempt = q.attempt + (q.resume is null)::integer
    where q.ctid = any(v_rows)
    returning q.*
  )
  select
    l.id, l.token, l.tenant_id, l.execution_id, l.version_id, l.step_index, l.iteration, l.attempt, l.generation, false,
    c.context, l.resume
  from leased as l
  -- "offset 0" keeps the planner from turning look-ups by key into a join that reads a tenant, as it would on new tables.
  cross join lateral (
    select w.reference_indexes
    from flowgres.workflow_steps as w
    where w.tenant_id = l.tenant_id and w.version_id = l.version_id and w.index = l.step_index
    offset 0
  ) as w
  cross join lateral (
    select flowgres.build_context(
      p_execution_id => e.id, p_input => e.input, p_trigger => e.trigger, p_trigger_type => e.trigger_type,
      p_began_at => coalesce(e.started_at, e.created_at),
      p_steps => case when w.reference_indexes = '{}' then '{}'::jsonb else flowgres.context_steps(
        p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => w.reference_indexes) end) as context
    from flowgres.executions as e
    where e.tenant_id = l.tenant_id and e.id = l.execution_id
    offset 0
  ) as c;
end;
$$;
comment on function flowgres.lease_ready(uuid, text, uuid, integer, timestamptz) is $$Lease the next ready steps of one tenant

Writes work_queue only; the step counts as running from here, and is recorded with its first report.$$;

create or replace function flowgres.take_suspect(p_runner_id uuid, p_capabilities text[], p_after_tenant uuid)
  returns setof flowgres.claimed_step language plpgsql set search_path to ''
as $$
declare
  v_capability text;
  v_tenants uuid[];
begin
  foreach v_capability in array p_capabilities loop
    v_tenants := flowgres.tenants_in_turn(
      p_capability => 'alone:' || v_capability, p_after_tenant => p_after_tenant, p_limit => 1);
    continue when v_tenants = '{}';
    if exists (select from flowgres.work_queue as q where q.runner_id = p_runner_id and q.capability like 'alone:%') then
      return;
    end if;
    return query
    select l.* from flowgres.lease_ready(
      p_runner_id => p_runner_id, p_capability => 'alone:' || v_capability, p_tenant_id => v_tenants[1], p_limit => 1,
      p_now => flowgres.now()) as l;
    if found then
      return;
    end if;
  end loop;
end;
$$;
comment on function flowgres.take_suspect(uuid, text[], uuid) is $$Take one step that was lost with its runner twice, unless the runner holds one

Such rows have the capability "alone:<capability>" until they are done. One of them may kill its runner again; the others,
which only happened to be beside it, then do not run out of attempts with it.$$;

create or replace function flowgres.take_ready(
  p_runner_id uuid, p_capabilities text[], p_want integer, p_after_tenant uuid
)
  returns setof flowgres.claimed_step language plpgsql set search_path to ''
as $$
declare
  v_now timestamptz := flowgres.now();
  v_left integer := p_want;
  v_capability text;
  v_tenants uuid[];
  v_tenant_id uuid;
  v_share integer;
  v_taken integer;
begin
  -- A runner that was told to stop, or was given up, gets nothing.
  perform from flowgres.runners as r
  where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id
    and r.drained_at is null and r.stopped_at is null;
  if not found then
    return;
  end if;
  perform flowgres.promote_due(p_limit => 1000);

  return query
  select s.* from flowgres.take_suspect(
    p_runner_id => p_runner_id, p_capabilities => p_capabilities, p_after_tenant => p_after_tenant) as s;
  get diagnostics v_taken = row_count;
  v_left := v_left - v_taken;

  foreach v_capability in array p_capabilities loop
    exit when v_left <= 0;
    v_tenants := flowgres.tenants_in_turn(p_capability => v_capability, p_after_tenant => p_after_tenant, p_limit => 16);
    -- Each gets its share; what one leaves, the others may have in a second round.
    v_share := ceil(v_left::numeric / greatest(cardinality(v_tenants), 1))::integer;
    for round in 1..2 loop
      foreach v_tenant_id in array v_tenants loop
        exit when v_left <= 0;
        return query
        select l.* from flowgres.lease_ready(
          p_runner_id => p_runner_id, p_capability => v_capability, p_tenant_id => v_tenant_id,
          p_limit => case round when 1 then least(v_share, v_left) else v_left end, p_now => v_now) as l;
        get diagnostics v_taken = row_count;
        v_left := v_left - v_taken;
      end loop;
      exit when cardinality(v_tenants) <= 1;
    end loop;
  end loop;

  if v_left < p_want then
    update flowgres.runners as r set is_idle = false
    where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id and r.is_idle;
  end if;
end;
$$;
comment on function flowgres.take_ready(uuid, text[], integer, uuid) is $$Take ready steps for a runner, each tenant its fair share.$$;

set local role flowgres_engine;

create or replace function flowgres.claim(p_runner_id uuid, p_want integer, p_after_tenant uuid)
  returns setof flowgres.claimed_step language plpgsql security definer set search_path to ''
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off set jit to off set plan_cache_mode to force_generic_plan
as $$
begin
  return query
  select t.* from flowgres.take_ready(
    p_runner_id => p_runner_id, p_capabilities => flowgres.require_runner(p_runner_id => p_runner_id), p_want => p_want,
    p_after_tenant => p_after_tenant) as t;
end;
$$;
comment on function flowgres.claim(uuid, integer, uuid) is $$Take up to p_want ready steps

p_after_tenant is the tenant served last: the turn goes on behind it.$$;

create or replace function flowgres.get_contexts(p_runner_id uuid, p_rows jsonb)
  returns table (queue_id bigint, context jsonb) language plpgsql stable security definer set search_path to ''
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
      p_steps => case when l.reference_indexes = '{}' then '{}'::jsonb else flowgres.context_steps(
        p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => l.reference_indexes) end) as context
    from flowgres.executions as e
    where e.tenant_id = l.tenant_id and e.id = l.execution_id
    offset 0
  ) as c;
end;
$$;
comment on function flowgres.get_contexts(uuid, jsonb) is $$Contexts of leased steps, given as [[tenant, execution, queue row, token], ...]

For a step that was handed over to a runner that has not seen all it refers to.$$;
