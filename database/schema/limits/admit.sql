-- Letting go what waits in lines of limits.
--
-- Whoever does it holds the row of the limit, and looks at what is taken in a later statement: so no two let go at once, and never is
-- more taken than there may be. It waits for nobody: a limit, or a row of the queue, that somebody holds is passed over. No execution
-- is locked, and the end of one writes nothing for it.

set local role flowgres_owner;

create or replace function flowgres.next_line(p_line text, p_tenant_id uuid, out line text, out tenant_id uuid)
  language plpgsql stable
as $$
begin
  select q.capability, q.tenant_id into line, tenant_id
  from flowgres.work_queue as q
  where flowgres.is_waiting(q)
    and (q.capability collate "C", q.tenant_id) > (p_line collate "C", p_tenant_id)
  order by q.capability collate "C", q.tenant_id
  limit 1;
end;
$$;
comment on function flowgres.next_line(text, uuid) is $$The next line, and tenant, in which something waits to be let go: one look at an index that has nothing else.$$;

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
    set bucket_numbers = v_numbers || v_bucket, bucket_counts = v_counts || cardinality(v_rows)
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
    return 0;
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
    insert into flowgres.limit_slots as s (tenant_id, line, execution_id, taken_at)
    select p_tenant_id, p_line, i.id, v_now from unnest(v_ids) as i (id)
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

Those that are one too many are refused, or take the place of the oldest, where their version says so.$$;

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

create or replace function flowgres.refuse_waiting(
  p_tenant_id uuid, p_execution_ids uuid[], p_code text, p_reason text, p_now timestamptz
)
  returns void language plpgsql
as $$
begin
  -- In no line any more; who holds the execution ends it (cancel_orphan).
  with refused as (
    update flowgres.work_queue as q
    set capability = 'refused:concurrency', rank = flowgres.next_rank()
    where q.ctid = any(array(
      select q.ctid
      from unnest(p_execution_ids) as i (id)
      cross join lateral (
        select q.ctid from flowgres.work_queue as q
        where q.tenant_id = p_tenant_id and q.execution_id = i.id and q.capability like 'limit:%'
        order by q.id
        for update skip locked
      ) as q))
    returning q.execution_id
  )
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, code)
  select distinct p_tenant_id, r.execution_id, p_now, p_reason, p_code from refused as r;
end;
$$;
comment on function flowgres.refuse_waiting(uuid, uuid[], text, text, timestamptz) is $$Take executions that wait out of their line, to be cancelled by the next sweep.$$;

create or replace function flowgres.cancel_oldest(p_tenant_id uuid, p_line text, p_most integer, p_now timestamptz)
  returns void language plpgsql
as $$
declare
  c_reason constant text := 'a newer execution of this workflow and key took its place';
  v_waiting uuid[];
begin
  -- Those that are to run are the newest of all, running and waiting; a place is taken when its holder has ended.
  v_waiting := array(
    select q.execution_id
    from flowgres.work_queue as q
    where q.capability collate "C" = p_line collate "C" and q.tenant_id = p_tenant_id
      and flowgres.is_waiting(q)
    group by q.execution_id
    order by q.execution_id desc
    limit p_most + 1000);
  perform flowgres.refuse_waiting(
    p_tenant_id => p_tenant_id, p_execution_ids => v_waiting[p_most + 1:], p_code => 'concurrency_cancelled', p_reason => c_reason,
    p_now => p_now);
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, code)
  select p_tenant_id, s.execution_id, p_now, c_reason, 'concurrency_cancelled'
  from (
    select s.execution_id, row_number() over (order by s.execution_id desc) as place
    from flowgres.limit_slots as s
    where s.tenant_id = p_tenant_id and s.line = p_line
  ) as s
  where s.place > p_most - least(cardinality(v_waiting), p_most) and not exists (
    select from flowgres.cancellations as c where c.tenant_id = p_tenant_id and c.execution_id = s.execution_id);
end;
$$;
comment on function flowgres.cancel_oldest(uuid, text, integer, timestamptz) is $$Ask for the end of the oldest executions of a line, so that the newest have their places.$$;

set local role flowgres_engine;

create or replace function flowgres.admit(p_limit integer default 32)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
as $$
declare
  c_first_id constant uuid := '00000000-0000-0000-0000-000000000000';
  -- Where the last call of this session ended: a tenant, and its line.
  v_cursor text := nullif(current_setting('flowgres.admitted', true), '');
  v_tenant_id uuid := coalesce(left(v_cursor, 36)::uuid, c_first_id);
  v_line text := coalesce(substr(v_cursor, 37), '');
  v_first text;
  v_next record;
  v_has_paused boolean := exists (select from flowgres.pauses as p where p.resumed_at is null);
  v_let integer := 0;
begin
  perform flowgres.require_read_committed();
  for v_turn in 1..p_limit loop
    v_next := flowgres.next_line(p_line => v_line, p_tenant_id => v_tenant_id);
    if v_next.line is null then
      -- Once around.
      exit when v_line = '';
      v_line := '';
      v_tenant_id := c_first_id;
      v_next := flowgres.next_line(p_line => v_line, p_tenant_id => v_tenant_id);
      exit when v_next.line is null;
    end if;
    v_line := v_next.line;
    v_tenant_id := v_next.tenant_id;
    exit when v_first = v_tenant_id || v_line;
    v_first := coalesce(v_first, v_tenant_id || v_line);
    v_let := v_let + case
      -- Nothing of it would run; who has a place there keeps it.
      when v_has_paused and flowgres.is_standing_still(
        p_tenant_id => v_tenant_id, p_workflow_id => case when v_line like 'limit:@%' then substr(v_line, 8, 36)::uuid else c_first_id end)
        then 0
      when v_line like 'limit:@%' then flowgres.admit_executions(p_tenant_id => v_tenant_id, p_line => v_line, p_limit => 500)
      else flowgres.admit_steps(p_tenant_id => v_tenant_id, p_line => v_line, p_limit => 500) end;
  end loop;
  perform set_config('flowgres.admitted', case when v_line <> '' then v_tenant_id || v_line else '' end, false);
  if v_let > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_let;
end;
$$;
comment on function flowgres.admit(integer) is $$Let go what waits for a limit, in so many lines at most, each call going on where the one before has ended; returns how many steps

Each runner calls it about once a second, as a transaction of its own, and a claim does where there are limits.$$;
