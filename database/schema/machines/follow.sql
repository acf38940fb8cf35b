-- What the end of an execution does to the instance whose transition has started it: it moves on, by on_success or on_failure.
--
-- In the transaction that ends the execution, and waiting for nobody: whoever ends executions holds them, and a tenant may hold an instance
-- for as long as it likes. An instance that is held is left to the next sweep (due_at), as one that would be opened again, since that may
-- wait for a start. Nothing here fails the end of an execution: why an instance did not move is kept beside it.

set local role flowgres_owner;

create or replace function flowgres.describe_end(p_execution flowgres.executions, p_workflow_name text)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'actor', 'execution:' || (p_execution).id,
    'execution_id', (p_execution).id,
    'hops', coalesce(((p_execution).trigger ->> 'hops')::integer, 0) + 1,
    'metadata', jsonb_strip_nulls(jsonb_build_object(
      'action', 'execution_' || (p_execution).status, 'execution_id', (p_execution).id, 'workflow', p_workflow_name,
      'error', case when (p_execution).error is not null then jsonb_build_object(
        'code', (p_execution).error -> 'code', 'step', (p_execution).error -> 'step',
        'message', left((p_execution).error ->> 'message', 1000)) end)),
    'context', case
      when jsonb_typeof((p_execution).output) = 'object' and flowgres.is_light((p_execution).output) then (p_execution).output
      else '{}' end);
$$;
comment on function flowgres.describe_end(flowgres.executions, text) is $$What an ended execution sends along with the transition that follows: {actor, execution_id, hops, metadata, context}

metadata is {action, execution_id, workflow, error}, context the output, if that is an object of at most 64 KiB.$$;

create or replace function flowgres.next_state(p_link flowgres.instance_executions)
  returns text language sql immutable parallel safe
as $$
  select case (p_link).status when 'completed' then (p_link).on_success else (p_link).on_failure end;
$$;
comment on function flowgres.next_state(flowgres.instance_executions) is $$The state that the end of an execution leads to; null when it leads to none. One that was cancelled has not succeeded.$$;

create or replace function flowgres.migrated_state(p_link flowgres.instance_executions, p_state text)
  returns text language plpgsql stable
as $$
declare
  v_state text := p_state;
  v_map jsonb;
begin
  for v_map in
    select h.context -> 'map'
    from flowgres.instance_history as h
    where h.tenant_id = (p_link).tenant_id and h.instance_id = (p_link).instance_id and h.seq > (p_link).seq and h.transition_id is null
    order by h.seq
  loop
    v_state := coalesce(v_map ->> v_state, v_state);
  end loop;
  return v_state;
end;
$$;
comment on function flowgres.migrated_state(flowgres.instance_executions, text) is $$What a state is called by now, after the migrations of the instance since the execution was started.$$;

create or replace function flowgres.follow(p_tenant_id uuid, p_execution_ids uuid[], p_opens boolean)
  returns void language plpgsql
as $$
declare
  v_instance_ids uuid[];
  v_group record;
  v_refused jsonb;
  v_refusals jsonb;
begin
  v_instance_ids := array(
    select i.id
    from flowgres.instances as i
    where i.tenant_id = p_tenant_id and i.id in (
      select x.instance_id from flowgres.instance_executions as x
      where x.tenant_id = p_tenant_id and x.execution_id = any(p_execution_ids))
    order by i.id
    for no key update skip locked);
  -- A statement of its own: what was done to them before they were locked shows only now.
  update flowgres.instance_executions as x
  set due_at = null, refusal = jsonb_build_object(
    'code', 'instance_moved_on', 'message', format('the instance was moved meanwhile, and is "%s"', i.state))
  from flowgres.instances as i
  where x.tenant_id = p_tenant_id and x.execution_id = any(p_execution_ids) and x.due_at is not null
    and i.tenant_id = p_tenant_id and i.id = x.instance_id and i.id = any(v_instance_ids)
    -- What has no transition is no move: nobody has asked for another state.
    and exists (
      select from flowgres.instance_history as h
      where h.tenant_id = p_tenant_id and h.instance_id = x.instance_id and h.seq > x.seq and h.transition_id is not null);
  for v_group in
    select d.to_state, array_agg(d.id order by d.id) as ids, array_agg(d.execution_id order by d.id) as execution_ids
    from (
      select i.id, i.tenant_id, i.version_id, i.completed_at, x.execution_id, flowgres.migrated_state(x, flowgres.next_state(x)) as to_state
      from flowgres.instance_executions as x
      join flowgres.instances as i on i.tenant_id = x.tenant_id and i.id = x.instance_id
      where x.tenant_id = p_tenant_id and x.execution_id = any(p_execution_ids) and x.due_at is not null
        and x.instance_id = any(v_instance_ids)
    ) as d
    where p_opens or d.completed_at is null or exists (
      select from flowgres.machine_states as s
      where s.tenant_id = d.tenant_id and s.version_id = d.version_id and s.name = d.to_state and s.is_final)
    group by d.to_state
  loop
    v_refused := flowgres.move_and_start(
      p_tenant_id => p_tenant_id, p_ids => v_group.ids, p_to => v_group.to_state, p_executed_by => 'system', p_metadata => '{}',
      p_context => '{}', p_notes => null, p_reports => true,
      p_own => array(
        select flowgres.describe_end(p_execution => e, p_workflow_name => w.name)
        from unnest(v_group.execution_ids) with ordinality as x (id, place)
        cross join lateral (
          select e.* from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = x.id
          offset 0
        ) as e
        join flowgres.workflows as w on w.tenant_id = p_tenant_id and w.id = e.workflow_id
        order by x.place));
    v_refusals := (select jsonb_object_agg(r.value ->> 'instance_id', r.value) from jsonb_array_elements(v_refused) as r (value));
    update flowgres.instance_executions as x
    set
      due_at = null, moved_to = case when w.refusal is null then v_group.to_state end,
      refusal = case when w.refusal is not null then jsonb_build_object('code', w.refusal -> 'code', 'message', w.refusal -> 'message') end
    from unnest(v_group.execution_ids, v_group.ids) as g (execution_id, instance_id)
    cross join lateral (select v_refusals -> g.instance_id::text as refusal) as w
    where x.tenant_id = p_tenant_id and x.execution_id = g.execution_id;
  end loop;
end;
$$;
comment on function flowgres.follow(uuid, uuid[], boolean) is $$Move the instances on whose executions these were: those that are due, and that nobody holds

p_opens: also those that are completed and would be opened again, which may wait for a start of the same entity. The others stay due.$$;

set local role flowgres_engine;

create or replace function flowgres.follow_ends(p_tenant_ids uuid[], p_execution_ids uuid[])
  returns void language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_tenant_ids uuid[];
  v_ids uuid[];
begin
  with ended as (
    update flowgres.instance_executions as x
    set
      status = e.status, ended_at = v_now,
      due_at = case when case e.status when 'completed' then x.on_success else x.on_failure end is not null then v_now end
    from unnest(p_tenant_ids, p_execution_ids) as p (tenant_id, id)
    cross join lateral (
      select e.status from flowgres.executions as e where e.tenant_id = p.tenant_id and e.id = p.id
      offset 0
    ) as e
    where x.tenant_id = p.tenant_id and x.execution_id = p.id
    returning x.tenant_id, x.execution_id, x.due_at
  )
  select array_agg(e.tenant_id), array_agg(e.execution_id) into v_tenant_ids, v_ids from ended as e where e.due_at is not null;
  if v_ids is null then
    return;
  end if;
  -- What goes wrong is undone alone, and left to the next sweep, which comes to each by itself.
  begin
    perform flowgres.follow(p_tenant_id => t.id, p_execution_ids => t.execution_ids, p_opens => false)
    from (
      select e.tenant_id as id, array_agg(e.execution_id) as execution_ids
      from unnest(v_tenant_ids, v_ids) as e (tenant_id, execution_id)
      group by e.tenant_id
      order by e.tenant_id
    ) as t;
  exception when others then
    if sqlstate ~ '^(40|53|55|57|58)' then
      raise;
    end if;
    raise warning 'instances could not be moved on: %', sqlerrm;
  end;
end;
$$;
comment on function flowgres.follow_ends(uuid[], uuid[]) is $$Keep how these executions have ended, and move on the instances whose transitions started them

Whoever ends executions calls it with those that a transition has started, in the same transaction, behind all else. Waits for nobody.$$;

create or replace function flowgres.follow_pending(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp set lock_timeout to '100ms'
as $$
declare
  c_patience constant interval := interval '7 days';
  v_now timestamptz := flowgres.now();
  v_tenant_ids uuid[];
  v_ids uuid[];
  v_opens boolean := true;
  v_count integer := 0;
begin
  select array_agg(d.tenant_id), array_agg(d.execution_id) into v_tenant_ids, v_ids
  from (
    select x.tenant_id, x.execution_id
    from flowgres.instance_executions as x
    where x.due_at <= v_now
    order by x.due_at
    limit p_limit
    for update skip locked
  ) as d;
  for i in 1 .. coalesce(cardinality(v_ids), 0) loop
    begin
      perform flowgres.follow(p_tenant_id => v_tenant_ids[i], p_execution_ids => array[v_ids[i]], p_opens => v_opens);
    exception when others then
      if sqlstate ~ '^(40|53|57|58)' then
        raise;
      elsif sqlstate ~ '^(55|23505)' then
        -- Somebody starts the same entity: later it can be seen what has come of that. Once in a sweep is waited for such a one.
        v_opens := false;
      else
        raise warning 'an instance could not be moved on: %', sqlerrm;
        -- What is wrong here may be put right: it is tried again, each time after as long again as it has taken, for a week.
        update flowgres.instance_executions as x
        set
          due_at = case when x.ended_at > v_now - c_patience then v_now + greatest(interval '1 minute', v_now - x.ended_at) end,
          refusal = jsonb_build_object('code', 'internal_error', 'message', left(sqlerrm, 1000))
        where x.tenant_id = v_tenant_ids[i] and x.execution_id = v_ids[i];
      end if;
    end;
  end loop;
  -- Those that are held still are a later sweep's, when the others have had their turn.
  update flowgres.instance_executions as x
  set due_at = v_now + interval '1 s'
  from unnest(v_tenant_ids, v_ids) as d (tenant_id, id)
  where x.tenant_id = d.tenant_id and x.execution_id = d.id and x.due_at <= v_now;
  get diagnostics v_count = row_count;
  return coalesce(cardinality(v_ids), 0) - v_count;
end;
$$;
comment on function flowgres.follow_pending(integer) is $$Move on instances that somebody held when their executions ended, a bounded number; returns how many are settled.$$;
