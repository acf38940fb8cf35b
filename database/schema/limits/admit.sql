-- Letting go what waits in lines of limits.
--
-- Whoever does it holds the row of the limit, and looks at what is taken in a later statement: so no two let go at once, and never is
-- more taken than there may be. It waits for nobody: a limit, or a row of the queue, that somebody holds is passed over. No execution
-- is locked, and the end of one writes nothing for it.

set local role flowgres_owner;

create or replace function flowgres.next_line(p_tenant_id uuid, p_line text, out tenant_id uuid, out line text)
  language plpgsql stable
as $$
begin
  select q.tenant_id, q.capability into tenant_id, line
  from flowgres.work_queue as q
  where flowgres.is_waiting(q)
    and (q.tenant_id, q.capability collate "C") > (p_tenant_id, p_line collate "C")
  order by q.tenant_id, q.capability collate "C"
  limit 1;
end;
$$;
comment on function flowgres.next_line(uuid, text) is $$The next tenant, and line of it, in which something waits to be let go: one look at an index that has nothing else.$$;

create or replace function flowgres.free_slots(p_tenant_id uuid, p_line text)
  returns integer language plpgsql
as $$
declare
  v_held integer;
begin
  -- One statement: an execution that is retried meanwhile has its place still, or has lost it, and is not both.
  with slots as materialized (
    select s.execution_id, s.queue_id, flowgres.slot_is_held(s) as is_held
    from flowgres.limit_slots as s
    where s.tenant_id = p_tenant_id and s.line = p_line
  ),
  freed as (
    delete from flowgres.limit_slots as s
    using slots as x
    where not x.is_held and s.tenant_id = p_tenant_id and s.line = p_line and s.execution_id = x.execution_id and s.queue_id = x.queue_id
  )
  select count(*) filter (where x.is_held) into v_held from slots as x;
  return v_held;
end;
$$;
comment on function flowgres.free_slots(uuid, text) is $$How many places of a line are taken; forgets those that are not any more. The limit is held.$$;

create or replace function flowgres.admit_steps(p_tenant_id uuid, p_line text, p_limit integer)
  returns integer language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_name text := substr(p_line, 7);
  v_limit flowgres.limits;
  v_held integer;
  v_room integer;
  v_bucket bigint;
  v_numbers bigint[];
  v_counts integer[];
  v_rows tid[];
begin
  select l.* into v_limit
  from flowgres.limits as l
  where l.tenant_id = p_tenant_id and l.kind = 'step' and l.name = v_name
  for no key update skip locked;
  if v_limit.name is null then
    return 0;
  end if;
  v_held := flowgres.free_slots(p_tenant_id => p_tenant_id, p_line => p_line);
  if v_limit.per_seconds is null then
    v_room := v_limit.capacity - v_held;
  else
    v_bucket := floor(extract(epoch from v_now) * 60 / v_limit.per_seconds);
    -- All that lies in the time that ends now, if only with a part of its bucket. Of a clock that was set back nothing is believed.
    select coalesce(array_agg(b.number), '{}'), coalesce(array_agg(b.count), '{}') into v_numbers, v_counts
    from unnest(v_limit.bucket_numbers, v_limit.bucket_counts) as b (number, count)
    where b.number between v_bucket - 60 and v_bucket + 60;
    v_room := v_limit.capacity - coalesce((select sum(c)::integer from unnest(v_counts) as c), 0)
      -- What was let go and waits for a runner since before that has yet to begin.
      - (
        select count(*)::integer
        from flowgres.limit_slots as s
        join flowgres.work_queue as q on q.tenant_id = s.tenant_id and q.execution_id = s.execution_id and q.id = s.queue_id
        where s.tenant_id = p_tenant_id and s.line = p_line and s.taken_at <= v_now - make_interval(secs => v_limit.per_seconds)
          and q.step_index = s.step_index and q.iteration = s.iteration and flowgres.is_ready(q) and q.resume is null);
  end if;
  if v_room <= 0 then
    return 0;
  end if;
  v_rows := array(
    select q.ctid
    from flowgres.work_queue as q
    where q.capability collate "C" = p_line collate "C" and q.tenant_id = p_tenant_id
      and flowgres.is_waiting(q)
    order by q.priority, q.is_new, q.rank
    limit least(v_room, p_limit)
    for update skip locked);
  if exists (select from flowgres.pauses as p where p.tenant_id = p_tenant_id and p.resumed_at is null) then
    -- What stands still takes no place, and keeps the one it has.
    v_rows := (select h.rows from flowgres.hold_paused(p_rows => v_rows) as h);
  end if;
  if v_rows = '{}' then
    return 0;
  end if;
  with let as (
    update flowgres.work_queue as q
    set
      rank = flowgres.next_rank(),
      capability = case
        -- Who was lost with its runner twice goes alone (settle_queue).
        when q.attempt > 1 and (
          select count(*) from flowgres.attempts as a
          where a.tenant_id = q.tenant_id and a.execution_id = q.execution_id and a.step_index = q.step_index
            and a.iteration = q.iteration and a.generation = q.generation and a.status = 'lost'
            and a.attempt > coalesce(q.past_attempts, 0)) >= 2 then 'alone:' else '' end
        || flowgres.capability_of(p_type => (
          select w.type from flowgres.workflow_steps as w
          where w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index))
    where q.ctid = any(v_rows)
    returning q.execution_id, q.id, q.step_index, q.iteration
  )
  insert into flowgres.limit_slots as s (tenant_id, line, execution_id, queue_id, step_index, iteration, taken_at)
  select p_tenant_id, p_line, l.execution_id, l.id, l.step_index, l.iteration, v_now from let as l
  on conflict (tenant_id, line, execution_id, queue_id) do update
  set step_index = excluded.step_index, iteration = excluded.iteration, taken_at = excluded.taken_at;
  if v_limit.per_seconds is not null then
    update flowgres.limits as l
    set bucket_numbers = b.numbers, bucket_counts = b.counts
    from (
      select array_agg(b.number order by b.number) as numbers, array_agg(b.count order by b.number) as counts
      from (
        select b.number, sum(b.count)::integer as count
        from unnest(v_numbers || v_bucket, v_counts || cardinality(v_rows)) as b (number, count)
        group by b.number
      ) as b
    ) as b
    where l.tenant_id = p_tenant_id and l.kind = 'step' and l.name = v_name;
  end if;
  return cardinality(v_rows);
end;
$$;
comment on function flowgres.admit_steps(uuid, text, integer) is $$Let steps of a named limit go as far as there is room, by priority and age; returns how many

Without a limit of that name they wait for somebody to set it.$$;

create or replace function flowgres.admit_executions(p_tenant_id uuid, p_line text, p_limit integer)
  returns integer language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_rule jsonb;
  v_most integer;
  v_roots integer;
  v_held integer;
  v_room integer;
  v_ids uuid[];
  v_let integer := 0;
begin
  if not exists (
    select from flowgres.limits as l
    where l.tenant_id = p_tenant_id and l.kind = 'workflow' and l.name = substr(p_line, 8, 36)
    for no key update skip locked)
  then
    return null;
  end if;
  -- What the version says that has its turn.
  select v.concurrency, greatest(cardinality(v.root_indexes), 1) into v_rule, v_roots
  from (
    select q.version_id
    from flowgres.work_queue as q
    where q.capability collate "C" = p_line collate "C" and q.tenant_id = p_tenant_id
      and flowgres.is_waiting(q)
    order by q.priority, q.is_new, q.rank
    limit 1
  ) as q
  join flowgres.workflow_versions as v on v.tenant_id = p_tenant_id and v.id = q.version_id;
  if v_roots is null then
    return 0;
  end if;
  v_most := coalesce((v_rule ->> 'limit')::integer, 1);
  v_held := flowgres.free_slots(p_tenant_id => p_tenant_id, p_line => p_line);
  -- The rest of one that was let go while somebody held a part of its rows.
  v_let := flowgres.let_executions_go(
    p_tenant_id => p_tenant_id, p_line => p_line, p_execution_ids => array(
      select s.execution_id from flowgres.limit_slots as s where s.tenant_id = p_tenant_id and s.line = p_line));
  if v_rule ->> 'when_full' = 'cancel_oldest' then
    perform flowgres.cancel_oldest(p_tenant_id => p_tenant_id, p_line => p_line, p_most => v_most, p_now => v_now);
  end if;
  v_room := least(v_most - v_held, p_limit);
  if v_room > 0 then
    v_ids := array(
      select q.execution_id
      from (
        select q.execution_id, q.priority, q.is_new, q.rank
        from flowgres.work_queue as q
        where q.capability collate "C" = p_line collate "C" and q.tenant_id = p_tenant_id
          and flowgres.is_waiting(q)
        order by q.priority, q.is_new, q.rank
        limit v_room * v_roots
        for update skip locked
      ) as q
      group by q.execution_id
      order by min(q.priority), bool_and(q.is_new), min(q.rank)
      limit v_room);
    insert into flowgres.limit_slots as s (tenant_id, line, execution_id, taken_at, came_at)
    select p_tenant_id, p_line, i.id, v_now, q.came_at
    from unnest(v_ids) as i (id)
    cross join lateral (
      select min(q.ready_at) as came_at from flowgres.work_queue as q
      where q.tenant_id = p_tenant_id and q.execution_id = i.id and q.capability = p_line
    ) as q
    on conflict (tenant_id, line, execution_id, queue_id) do nothing;
    v_let := v_let + flowgres.let_executions_go(p_tenant_id => p_tenant_id, p_line => p_line, p_execution_ids => v_ids);
  end if;
  if v_rule ->> 'when_full' = 'reject' then
    perform flowgres.refuse_waiting(
      p_tenant_id => p_tenant_id, p_execution_ids => array(
        select distinct q.execution_id
        from (
          select q.execution_id
          from flowgres.work_queue as q
          where q.capability collate "C" = p_line collate "C" and q.tenant_id = p_tenant_id
            and flowgres.is_waiting(q)
          order by q.priority, q.is_new, q.rank
          limit p_limit
        ) as q),
      p_code => 'concurrency_rejected', p_reason => format('%s of this workflow and key ran already', v_most), p_now => v_now);
  end if;
  return v_let;
end;
$$;
comment on function flowgres.admit_executions(uuid, text, integer) is $$Let executions of a workflow and key go as far as there is room, by priority and age; returns how many of their steps

Null where somebody holds the limit of the workflow. Those that are one too many are refused, or take the place of the oldest, where their version says so.$$;

create or replace function flowgres.let_executions_go(p_tenant_id uuid, p_line text, p_execution_ids uuid[])
  returns integer language plpgsql
as $$
declare
  v_rows tid[] := array(
    select q.ctid
    from unnest(p_execution_ids) as i (id)
    cross join lateral (
      select q.ctid
      from flowgres.work_queue as q
      where q.tenant_id = p_tenant_id and q.execution_id = i.id and q.capability = p_line
      order by q.id
      for update skip locked
    ) as q);
begin
  if v_rows = '{}' then
    return 0;
  end if;
  update flowgres.work_queue as q
  set
    rank = flowgres.next_rank(),
    capability = (
      select w.capability from flowgres.workflow_steps as w
      where w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index)
  where q.ctid = any(v_rows);
  return cardinality(v_rows);
end;
$$;
comment on function flowgres.let_executions_go(uuid, text, uuid[]) is $$Let the steps go that these executions have in a line; a limit of their own they have yet to wait for.$$;

set local role flowgres_engine;

create or replace function flowgres.admit(p_limit integer default 32)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
as $$
declare
  c_first_id constant uuid := '00000000-0000-0000-0000-000000000000';
  -- Where the calls of this session have ended: who had the last turn, and the line at which each was that has more of them.
  v_state jsonb := coalesce(nullif(current_setting('flowgres.admitted', true), ''), '{}')::jsonb;
  v_tenant_id uuid := coalesce((v_state ->> 'tenant_id')::uuid, c_first_id);
  v_end text := coalesce(v_state ->> 'end', '');
  v_lines jsonb := coalesce(v_state -> 'lines', '{}');
  v_tenants uuid[] := '{}';
  v_ends text[] := '{}';
  v_at text[] := '{}';
  v_first text[] := '{}';
  v_around boolean[] := '{}';
  v_done boolean[] := '{}';
  v_next record;
  v_who text;
  v_turns integer := 0;
  v_count integer;
  v_last integer;
  v_now_let integer;
  v_let integer := 0;
  v_has_paused boolean := exists (select from flowgres.pauses as p where p.resumed_at is null);
begin
  perform flowgres.require_read_committed();
  -- Whose turn it is: of each tenant the executions, and the steps, whose lines are below @g and below {.
  for v_look in 1..p_limit + 1 loop
    v_next := flowgres.next_line(p_tenant_id => v_tenant_id, p_line => v_end);
    if v_next.line is null then
      v_next := flowgres.next_line(p_tenant_id => c_first_id, p_line => '');
    end if;
    v_tenant_id := v_next.tenant_id;
    v_end := case when v_next.line like 'limit:@%' then 'limit:@g' else 'limit:{' end;
    -- Once around.
    exit when v_next.line is null or v_tenants[1] = v_tenant_id and v_ends[1] = v_end or cardinality(v_tenants) = p_limit;
    v_tenants := v_tenants || v_tenant_id;
    v_ends := v_ends || v_end;
    v_at := v_at || coalesce(v_lines ->> (v_tenant_id || v_end), case when v_end = 'limit:{' then 'limit:@g' else '' end);
    v_first := v_first || null::text;
    v_around := v_around || false;
    v_done := v_done || false;
  end loop;
  if cardinality(v_tenants) < p_limit then
    -- Nothing is remembered of who is not here any more.
    v_lines := '{}';
  end if;
  v_count := cardinality(v_tenants);
  -- A line of each, then another of each that has more.
  while v_turns < p_limit and false = any(v_done) loop
    for i in 1..cardinality(v_tenants) loop
      exit when v_turns = p_limit;
      continue when v_done[i];
      v_next := flowgres.next_line(p_tenant_id => v_tenants[i], p_line => v_at[i]);
      if not v_around[i] and (v_next.line is null or v_next.tenant_id <> v_tenants[i] or v_next.line collate "C" >= v_ends[i] collate "C") then
        v_around[i] := true;
        v_at[i] := case when v_ends[i] = 'limit:{' then 'limit:@g' else '' end;
        v_next := flowgres.next_line(p_tenant_id => v_tenants[i], p_line => v_at[i]);
      end if;
      if v_next.line is null or v_next.tenant_id <> v_tenants[i] or v_next.line collate "C" >= v_ends[i] collate "C"
        or v_around[i] and v_next.line collate "C" >= v_first[i] collate "C"
      then
        v_done[i] := true;
        continue;
      end if;
      v_first[i] := coalesce(v_first[i], v_next.line);
      v_at[i] := v_next.line;
      v_turns := v_turns + 1;
      v_last := case when i <= v_count then greatest(v_last, i) else v_last end;
      v_now_let := case
        -- Nothing of it would run; who has a place there keeps it.
        when v_has_paused and flowgres.is_standing_still(
          p_tenant_id => v_tenants[i],
          p_workflow_id => case when v_next.line like 'limit:@%' then substr(v_next.line, 8, 36)::uuid else c_first_id end)
          then null
        when v_next.line like 'limit:@%'
          then flowgres.admit_executions(p_tenant_id => v_tenants[i], p_line => v_next.line, p_limit => 500)
        else flowgres.admit_steps(p_tenant_id => v_tenants[i], p_line => v_next.line, p_limit => 500) end;
      if v_now_let is null then
        -- What is true of one line of a workflow is true of all: on to the next workflow. The steps of a tenant stand still together.
        v_at[i] := case when v_next.line like 'limit:@%' then left(v_next.line, 43) || ';' else v_ends[i] end;
      end if;
      v_let := v_let + coalesce(v_now_let, 0);
      if v_now_let > 0 and v_ends[i] = 'limit:@g' and not exists (
        select from unnest(v_tenants, v_ends) as g (tenant_id, line) where g.tenant_id = v_tenants[i] and g.line = 'limit:{')
      then
        -- What has its place may wait in a line of steps now, which nobody has seen.
        v_tenants := v_tenants || v_tenants[i];
        v_ends := v_ends || 'limit:{'::text;
        v_at := v_at || 'limit:@g'::text;
        v_first := v_first || null::text;
        v_around := v_around || false;
        v_done := v_done || false;
      end if;
    end loop;
  end loop;
  for i in 1..cardinality(v_tenants) loop
    v_who := v_tenants[i] || v_ends[i];
    v_lines := case when v_done[i] then v_lines - v_who else v_lines || jsonb_build_object(v_who, v_at[i]) end;
  end loop;
  perform set_config(
    'flowgres.admitted', case when v_last is null then '' else jsonb_build_object(
      'tenant_id', v_tenants[v_last], 'end', v_ends[v_last], 'lines', v_lines)::text end, false);
  if v_let > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_let;
end;
$$;
comment on function flowgres.admit(integer) is $$Let go what waits for a limit, in so many lines at most, each call going on where the one before has ended; returns how many steps

Tenants take turns, and so do the executions and the steps of one. Each runner calls it about once a second, as a transaction of its own,
and a claim does where there are limits.$$;
