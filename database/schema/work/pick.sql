-- What a claim may take: due rows become ready, tenants take turns, each has its share.

set local role flowgres_owner;

create or replace function flowgres.promote_due(p_limit integer, p_from timestamptz default '-infinity')
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_rows tid[];
begin
  select array(
    select q.ctid from flowgres.work_queue as q
    where q.due_at >= p_from and flowgres.is_due(q, v_now)
    order by q.due_at
    limit p_limit
    for update skip locked)
  into v_rows;
  if v_rows = '{}' then
    return 0;
  end if;
  -- A child that takes longer than its step may: the step goes on without it, and it is not to go on either.
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, generation)
  select q.tenant_id, substr(q.waits_for, 7)::uuid, v_now, 'the step that waits for it ran out of time', (
    select c.generation from flowgres.executions as c where c.tenant_id = q.tenant_id and c.id = substr(q.waits_for, 7)::uuid)
  from flowgres.work_queue as q
  where q.ctid = any(v_rows) and q.waits_for like 'child:%';
  perform flowgres.forget_waits(p_rows => v_rows)
  from flowgres.work_queue as q
  where q.ctid = any(v_rows) and q.waits_for like '%:%' and q.waits_for not like 'child:%'
  limit 1;
  update flowgres.work_queue as q
  set
    due_at = null, ready_at = v_now, waits_for = null, rank = flowgres.next_rank(),
    capability = flowgres.line_of(p_capability => q.capability, p_waits_for => q.waits_for),
    resume = case
      when q.waits_for like 'child:%' then jsonb_build_object('status', 'timed_out', 'execution_id', substr(q.waits_for, 7))
      when q.waits_for like 'task:%' then jsonb_build_object(
        'task_id', q.resume -> 'task_id',
        'status', case when (q.resume ->> 'ends_at')::timestamptz <= v_now then 'timed_out' else 'lease_expired' end)
      -- Whatever else somebody was to wake it for.
      when q.waits_for like '%:%' then q.resume || '{"status": "timed_out"}'
      else q.resume end
  where q.ctid = any(v_rows);
  return cardinality(v_rows);
end;
$$;
comment on function flowgres.promote_due(integer, timestamptz) is $$Make due steps ready, a bounded number: a million future timers cost one look at the index.$$;

create or replace function flowgres.tenants_in_turn(
  p_capability text, p_after_tenant uuid, p_limit integer, p_ranges flowgres.queue_range[] default null, p_is_any_paused boolean default false
)
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
    if p_ranges is not null then
      v_tenant_id := flowgres.next_tenant_past(p_capability => p_capability, p_tenant_id => v_tenant_id, p_ranges => p_ranges);
    else
      select q.tenant_id into v_tenant_id
      from flowgres.work_queue as q
      where q.capability = p_capability and flowgres.is_ready(q) and q.tenant_id > v_tenant_id
      order by q.tenant_id
      limit 1;
    end if;
    if v_tenant_id is null then
      exit when v_has_wrapped;
      v_has_wrapped := true;
      v_tenant_id := '00000000-0000-0000-0000-000000000000';
    else
      exit when v_has_wrapped and v_tenant_id > p_after_tenant;
      if not p_is_any_paused or not flowgres.is_standing_still(
        p_tenant_id => v_tenant_id, p_workflow_id => flowgres.system_tenant_id())
      then
        v_tenants := v_tenants || v_tenant_id;
      end if;
      exit when v_tenant_id = p_after_tenant;
    end if;
  end loop;
  return v_tenants;
end;
$$;
comment on function flowgres.tenants_in_turn is $$Tenants with ready steps, beginning after the one served last

p_ranges are the stretches of the index to be read, null for all of it; p_is_any_paused: those that stand still are passed over.$$;

create or replace function flowgres.pick_shares(
  p_capability text, p_tenants uuid[], p_limit integer, p_ranges flowgres.queue_range[] default null,
  p_caps jsonb default null, out rows tid[], out lowest_id uuid, out highest_id uuid
)
  language plpgsql
as $$
declare
  v_tenants uuid[] := p_tenants;
  v_sated uuid[] := '{}';
  -- Others may have taken everything since the tenants were looked up, and then there are none.
  v_share integer := (p_limit + cardinality(p_tenants) - 1) / greatest(cardinality(p_tenants), 1);
  v_cap integer;
  v_left integer := p_limit;
  v_offset integer := 0;
  v_limit integer;
  v_tenant_id uuid;
  v_picked tid[];
  v_ids uuid[];
  v_past record;
begin
  rows := '{}';
  -- Each gets its share; what one leaves, those who had theirs may have in a second round. Its offset passes over what they
  -- have: if something went before that meanwhile, a row is picked twice, which does no harm.
  for v_round in 1..2 loop
    foreach v_tenant_id in array v_tenants loop
      exit when v_left <= 0;
      v_limit := case v_round when 1 then least(v_share, v_left) else v_left end;
      if p_caps is not null then
        v_cap := coalesce(p_caps -> v_tenant_id::text, p_caps -> '*')::integer;
        -- Who comes in the second round has had its share.
        v_limit := least(v_limit, case v_round when 1 then v_cap else v_cap - v_share end);
        continue when v_limit <= 0;
      end if;
      if p_ranges is not null then
        v_past := flowgres.pick_past(
          p_capability => p_capability, p_tenant_id => v_tenant_id, p_limit => v_limit, p_offset => v_offset,
          p_ranges => p_ranges);
        v_picked := nullif(v_past.rows, '{}');
        v_ids := array[v_past.lowest_id, v_past.highest_id];
      else
        select array_agg(p.ctid), array_agg(p.execution_id order by p.execution_id) into v_picked, v_ids
        from (
          select q.ctid, q.execution_id
          from flowgres.work_queue as q
          where q.capability = p_capability and q.tenant_id = v_tenant_id and flowgres.is_ready(q)
          order by q.priority, q.is_new, q.rank
          limit v_limit offset v_offset
          for update skip locked
        ) as p;
      end if;
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
comment on function flowgres.pick_shares is $$Lock the next ready steps of some tenants, each its fair share

p_caps: see claim. Returns the addresses of their rows, and between which ids their executions lie.$$;

create or replace function flowgres.pick_suspect(
  p_runner_id uuid, p_lines text[], p_after_tenant uuid, p_ranges flowgres.queue_range[] default null, p_is_any_paused boolean default false,
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
      p_capability => v_line, p_limit => 1, p_ranges => p_ranges, p_tenants => flowgres.tenants_in_turn(
        p_capability => v_line, p_after_tenant => p_after_tenant, p_limit => 1, p_ranges => p_ranges, p_is_any_paused => p_is_any_paused));
    rows := v_pick.rows;
    lowest_id := v_pick.lowest_id;
    highest_id := v_pick.highest_id;
    exit when rows <> '{}';
  end loop;
end;
$$;
comment on function flowgres.pick_suspect is $$Pick one step that was lost with its runner twice, unless the runner holds one

Such rows have the capability "alone:<capability>" until they are done. One of them may kill its runner again; the others,
which only happened to be beside it, then do not run out of attempts with it.$$;

create or replace function flowgres.pass_over_deleted(p_rows tid[])
  returns tid[] language plpgsql
as $$
declare
  v_rows tid[];
begin
  with picked as materialized (
    select q.ctid as row_id, q.tenant_id, q.execution_id, isfinite(w.deleted_at) is true as is_deleted
    from flowgres.work_queue as q
    join flowgres.executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
    join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where q.ctid = any(p_rows)
  ),
  doomed as (
    -- Not here: who claims holds rows of the queue, and must not wait for an execution then. Noted once, as far as can be seen:
    -- they are found again by every claim until a sweep has cancelled them.
    insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason)
    select distinct p.tenant_id, p.execution_id, flowgres.now(), 'the workflow was deleted'
    from picked as p
    where p.is_deleted and not exists (
      select from flowgres.cancellations as c where c.tenant_id = p.tenant_id and c.execution_id = p.execution_id)
  )
  select array_agg(p.row_id) into v_rows from picked as p where not p.is_deleted;
  return coalesce(v_rows, '{}');
end;
$$;
comment on function flowgres.pass_over_deleted(tid[]) is $$Those of some locked rows whose workflow is there; the executions of the others are left to cancel_orphan.$$;
