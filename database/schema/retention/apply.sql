-- Deleting executions early: whole, in bounded batches, in turn.

set local role flowgres_owner;

create or replace function flowgres.delete_executions(p_tenant_id uuid, p_execution_ids uuid[])
  returns bigint language plpgsql set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off
as $$
declare
  v_part record;
  v_rows bigint;
  v_deleted bigint := 0;
begin
  -- All of an execution is in partitions of one suffix.
  for v_part in
    select substring(c.relname from '^executions_(.*)$') as suffix, array_agg(e.id) as ids
    from unnest(p_execution_ids) as k (id)
    cross join lateral (
      select o.id, o.tableoid from flowgres.executions as o where o.tenant_id = p_tenant_id and o.id = k.id offset 0
    ) as e
    join pg_catalog.pg_class as c on c.oid = e.tableoid
    group by c.relname
  loop
    v_deleted := v_deleted + flowgres.delete_history(
      p_family => 'executions', p_suffix => v_part.suffix,
      p_tenant_ids => array_fill(p_tenant_id, array[cardinality(v_part.ids)]), p_keys => v_part.ids);
  end loop;
  -- What has no partition and still says what went on.
  delete from flowgres.approvals as a where a.tenant_id = p_tenant_id and a.execution_id = any(p_execution_ids);
  get diagnostics v_rows = row_count;
  v_deleted := v_deleted + v_rows;
  delete from flowgres.trace_ends as t where t.tenant_id = p_tenant_id and t.execution_id = any(p_execution_ids);
  get diagnostics v_rows = row_count;
  return v_deleted + v_rows;
end;
$$;
comment on function flowgres.delete_executions(uuid, uuid[]) is $$Delete executions with everything of theirs; returns how many rows. The caller has locked them, and they have ended

Figures stay, and so do keys of starts until they expire, and what an instance knows of what it has started.$$;

create or replace function flowgres.find_past_executions(p_rule flowgres.retentions, p_to uuid, p_limit integer)
  returns uuid[] language plpgsql stable set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set enable_bitmapscan to off
as $$
begin
  -- By the order of an index each; what must stay is not looked at again before the next round.
  if (p_rule).workflow_id = flowgres.system_tenant_id() then
    return array(
      select e.id from flowgres.executions as e
      where e.tenant_id = (p_rule).tenant_id
        and e.id > coalesce((p_rule).last_id, '00000000-0000-0000-0000-000000000000') and e.id < p_to
      order by e.tenant_id, e.id limit p_limit);
  end if;
  return array(
    select e.id from flowgres.executions as e
    where e.workflow_id = (p_rule).workflow_id and e.tenant_id = (p_rule).tenant_id
      and e.id > coalesce((p_rule).last_id, '00000000-0000-0000-0000-000000000000') and e.id < p_to
    order by e.workflow_id, e.id limit p_limit);
end;
$$;
comment on function flowgres.find_past_executions(flowgres.retentions, uuid, integer) is $$The next executions of a rule that began before an id, ended or not.$$;

create or replace function flowgres.bound_past_executions(p_tenant_id uuid, p_execution_ids uuid[], p_most integer)
  returns uuid[] language plpgsql stable set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set enable_bitmapscan to off
as $$
declare
  v_room integer := p_most;
begin
  -- Each look is as far as there is room, so that it costs no more than what it allows.
  for i in 1 .. cardinality(p_execution_ids) loop
    v_room := v_room - (
      select count(*) from (
        select from flowgres.executions as c
        where c.tenant_id = p_tenant_id and c.parent_execution_id = p_execution_ids[i]
        limit greatest(v_room, 0)) as n);
    v_room := v_room - (
      select count(*) from (
        select from flowgres.step_executions as s
        where s.tenant_id = p_tenant_id and s.execution_id = p_execution_ids[i]
        limit greatest(v_room, 0)) as n);
    v_room := v_room - (
      select count(*) from (
        select from flowgres.step_items as s
        where s.tenant_id = p_tenant_id and s.execution_id = p_execution_ids[i]
        limit greatest(v_room, 0)) as n);
    if v_room <= 0 then
      -- The one that is too big goes alone.
      return p_execution_ids[1 : greatest(i - 1, 1)];
    end if;
  end loop;
  return p_execution_ids;
end;
$$;
comment on function flowgres.bound_past_executions(uuid, uuid[], integer) is $$The first of these executions that have no more than p_most children, steps and items together; one at least$$;

create or replace function flowgres.choose_past_executions(p_tenant_id uuid, p_execution_ids uuid[], p_before timestamptz)
  returns uuid[] language plpgsql set search_path to pg_catalog, pg_temp
  -- A few hundred short looks, whatever the planner thinks of tables that grow.
  set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off
as $$
declare
  v_ids uuid[];
  v_hidden uuid[];
  v_measured uuid;
begin
  -- With what tells of them (deliveries of notifications), which holds their output. One that somebody holds is the next round's.
  v_ids := array(
    select o.id
    from unnest(p_execution_ids) as k (id)
    cross join lateral (
      select e.id from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = k.id and e.finished_at < p_before
      for update skip locked
    ) as o);
  v_hidden := array(
    select c.id from flowgres.executions as c
    where c.tenant_id = p_tenant_id and c.parent_execution_id = any(v_ids) and c.finished_at is not null
      and flowgres.is_hidden(c.id)
    for update skip locked);
  select flowgres.uuid_v7_floor(m.measured_until) into v_measured from flowgres.metric_marks as m;
  -- Now nobody can retry one of them; whether something still needs it is asked in a statement that sees all of that.
  return array(
    with chosen as (
      select e.id
      from unnest(v_ids) as k (id)
      cross join lateral (
        select o.id, o.parent_execution_id from flowgres.executions as o where o.tenant_id = p_tenant_id and o.id = k.id offset 0
      ) as e
      where e.id < v_measured
        and not exists (select from flowgres.metric_open as m where m.tenant_id = p_tenant_id and m.execution_id = e.id)
        -- The instance whose transition started it has not learned of its end.
        and not exists (
          select from flowgres.instance_executions as i
          where i.tenant_id = p_tenant_id and i.execution_id = e.id and i.due_at is not null)
        and not exists (
          select from flowgres.executions as p
          where p.tenant_id = p_tenant_id and p.id = e.parent_execution_id and p.finished_at is null)
        and not exists (
          select from flowgres.executions as c
          where c.tenant_id = p_tenant_id and c.parent_execution_id = e.id
            and (c.finished_at is null or flowgres.is_hidden(c.id) and c.id <> all(v_hidden)))
    )
    select c.id from chosen as c
    union
    select e.id
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = any(v_hidden) and e.parent_execution_id in (select c.id from chosen as c));
end;
$$;
comment on function flowgres.choose_past_executions(uuid, uuid[], timestamptz) is $$Those of these executions that may go, locked: ended before a moment, measured, no parent or child that goes on

With the deliveries of notifications about them.$$;

create or replace function flowgres.apply_retentions(p_limit integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_least_seconds constant double precision := 3600;
  v_now timestamptz := flowgres.now();
  c_most_each constant integer := 20;
  v_rule flowgres.retentions;
  v_before timestamptz;
  v_ids uuid[];
  v_found integer;
  v_is_more boolean := false;
  v_is_failed boolean := false;
  v_gone uuid[];
begin
  -- Whose turn it is longest goes first, and behind all others when it is not done: no tenant keeps the rest waiting.
  select r.* into v_rule
  from flowgres.retentions as r
  where r.next_at <= v_now
  order by r.next_at
  limit 1
  for update skip locked;
  if not found then
    return jsonb_build_object('looked', 0, 'deleted', 0, 'is_due', false);
  end if;
  -- What goes wrong with one rule is undone alone, and its turn comes again: the rest go on.
  begin
    v_before := v_now - greatest(v_rule.keep_seconds, c_least_seconds) * interval '1 second';
    v_ids := flowgres.find_past_executions(
      p_rule => v_rule, p_to => flowgres.history_floor(p_at => v_before), p_limit => p_limit);
    if v_ids <> '{}' then
      v_found := cardinality(v_ids);
      v_ids := flowgres.bound_past_executions(
        p_tenant_id => v_rule.tenant_id, p_execution_ids => v_ids, p_most => c_most_each * p_limit);
      v_is_more := v_found >= p_limit or cardinality(v_ids) < v_found;
      v_gone := flowgres.choose_past_executions(p_tenant_id => v_rule.tenant_id, p_execution_ids => v_ids, p_before => v_before);
      perform flowgres.delete_executions(p_tenant_id => v_rule.tenant_id, p_execution_ids => v_gone);
    end if;
  exception when others then
    -- Of the whole server (deadlocks, full disks, shutdowns) it is no fault of the rule.
    if sqlstate ~ '^(40|53|57|58)' then
      raise;
    end if;
    raise warning 'the retention of workflow % of tenant % could not be applied: %', v_rule.workflow_id, v_rule.tenant_id, sqlerrm;
    v_gone := '{}';
    v_is_failed := true;
  end;
  update flowgres.retentions as r
  set
    -- Behind what it failed at as well: one execution that cannot go keeps no other of the rule.
    last_id = case when v_is_more then v_ids[cardinality(v_ids)] end,
    next_at = case when v_is_failed then v_now + interval '1 minute' when v_is_more then v_now else v_now + least(greatest(
      v_rule.keep_seconds / 100, 60), c_least_seconds) * interval '1 second' end
  where r.tenant_id = v_rule.tenant_id and r.workflow_id = v_rule.workflow_id;
  return jsonb_build_object(
    'looked', coalesce(cardinality(v_ids), 0), 'deleted', coalesce(cardinality(v_gone), 0), 'is_due', true);
end;
$$;
comment on function flowgres.apply_retentions(integer) is $$Delete what the retention of one workflow or tenant lets go, of up to p_limit executions or fewer big ones; to be called again while is_due

Called by runners; returns {looked, deleted, is_due}. Nothing due is one look into an index. Who dies on the way has done nothing.$$;
