-- Advancing executions: steps that run once for each item of a list.
--
-- The report of the step itself brings the list (expand_steps). Each item is an iteration, which is leased, tried again and
-- recorded like a step; max_parallel rows of the queue go from item to item. The step's own row counts, under the lock of the
-- execution, and what ends last, or is one failure too many, ends it (iterate_steps).

set local role flowgres_owner;

create or replace function flowgres.read_item(
  p_tenant_id uuid, p_execution_id uuid, p_step_index smallint, p_iteration integer, p_most bigint default 9223372036854775807
)
  returns json language plpgsql stable
as $$
begin
  return (
    select case when flowgres.weight_of(i.items) <= p_most then (i.items -> (p_iteration - i.first))::json end
    from flowgres.step_items as i
    where i.tenant_id = p_tenant_id and i.execution_id = p_execution_id and i.step_index = p_step_index
      and i.first = flowgres.first_beside(p_iteration));
end;
$$;
comment on function flowgres.read_item(uuid, uuid, smallint, integer, bigint) is $$The item of an iteration; null when it lies among such as weigh more than p_most.$$;

create or replace function flowgres.read_items(
  p_tenant_id uuid, p_execution_id uuid, p_step_index smallint, p_iterations integer[], p_most bigint
)
  returns json[] language plpgsql stable
as $$
begin
  return array(
    select case when flowgres.weight_of(i.items) <= p_most then (i.items -> (n.iteration - i.first))::json end
    from unnest(p_iterations) with ordinality as n (iteration, place)
    left join flowgres.step_items as i
      on i.tenant_id = p_tenant_id and i.execution_id = p_execution_id and i.step_index = p_step_index
        and i.first = flowgres.first_beside(n.iteration)
    order by n.place);
end;
$$;
comment on function flowgres.read_items(uuid, uuid, smallint, integer[], bigint) is $$The items of these iterations, in their order; as read_item, for many at once.$$;

create or replace function flowgres.add_items(p_claimed flowgres.claimed_step[])
  returns flowgres.claimed_step[] language plpgsql stable
as $$
begin
  -- Once for all iterations of a step: a call for each would be a fifth of what a list costs.
  return array(
    select r from unnest(p_claimed) as r where r.iteration = -1
    union all
    select flowgres.make_claimed_step(
      p_queue_id => i.queue_id, p_token => i.token, p_tenant_id => i.tenant_id, p_execution_id => i.execution_id,
      p_version_id => i.version_id, p_step_index => i.step_index, p_iteration => i.iteration, p_attempt => i.attempt,
      p_generation => i.generation, p_handed => i.handed, p_item => i.own_item, p_overrides => i.overrides)
    from (
      select
        array_agg(r order by r.iteration) as rows,
        flowgres.read_items(
          p_tenant_id => r.tenant_id, p_execution_id => r.execution_id, p_step_index => r.step_index,
          p_iterations => array_agg(r.iteration order by r.iteration), p_most => flowgres.light_weight()) as items
      from unnest(p_claimed) as r
      where r.iteration >= 0
      group by r.tenant_id, r.execution_id, r.step_index
    ) as g
    cross join lateral rows from (unnest(g.rows), unnest(g.items)) as i (
      queue_id, token, tenant_id, execution_id, version_id, step_index, iteration, attempt, generation, handed, context, resume,
      is_passed_over, item, round, previous, overrides, own_item));
end;
$$;
comment on function flowgres.add_items(flowgres.claimed_step[]) is $$Steps that are handed over, each iteration with its item.$$;

create or replace function flowgres.read_previous(
  p_tenant_id uuid, p_execution_id uuid, p_step_index smallint, p_iteration integer, p_most bigint default 9223372036854775807
)
  returns json language plpgsql stable
as $$
begin
  return (
    select case when flowgres.weight_of(s.previous) <= p_most then coalesce(s.previous::json, 'null') end
    from flowgres.step_executions as s
    where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = p_step_index and s.iteration = p_iteration);
end;
$$;
comment on function flowgres.read_previous(uuid, uuid, smallint, integer, bigint) is $$What the round before gave to a step that repeats

Null when it weighs more than p_most, the word null when it gave nothing.$$;

create or replace function flowgres.write_items(p_tenant_id uuid, p_execution_id uuid, p_step_index smallint, p_items jsonb)
  returns integer language plpgsql
as $$
begin
  insert into flowgres.step_items (tenant_id, execution_id, step_index, first, items)
  select p_tenant_id, p_execution_id, p_step_index, p.first, p.items
  from (
    select flowgres.first_beside(e.place::integer - 1) as first, jsonb_agg(e.value order by e.place) as items
    from jsonb_array_elements(p_items) with ordinality as e (value, place)
    group by 1
  ) as p;
  return jsonb_array_length(p_items);
end;
$$;
comment on function flowgres.write_items(uuid, uuid, smallint, jsonb) is $$Write the items of a step, a hundred to a row; returns how many.$$;

create or replace function flowgres.expand_steps(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_ready flowgres.ready_step[];
begin
  with opened as materialized (
    select
      o.slot, o.tenant_id, o.execution_id, o.queue_id, o.step_index, o.step_type, w.capability, c.count,
      least(c.count, coalesce((w.iterates ->> 'max_parallel')::numeric::integer, 100)) as parallel
    from unnest(p_state.outcomes) as o
    join flowgres.workflow_steps as w
      on w.tenant_id = o.tenant_id and w.version_id = p_state.version_ids[o.slot] and w.index = o.step_index
    cross join lateral flowgres.write_items(
      p_tenant_id => o.tenant_id, p_execution_id => o.execution_id, p_step_index => o.step_index, p_items => o.output) as c (count)
    where o.outcome = 'expand'
  ),
  counted as (
    update flowgres.step_executions as s
    set item_count = o.count, next_item = o.parallel, done_count = 0, failed_count = 0
    from opened as o
    where s.tenant_id = o.tenant_id and s.execution_id = o.execution_id and s.step_index = o.step_index and s.iteration = -1
  )
  select
    array_agg(flowgres.make_ready_step(
      p_slot => o.slot, p_queue_id => case when i.number = 0 then o.queue_id end, p_step_index => o.step_index,
      p_capability => o.capability, p_only_computes => flowgres.only_computes(o.step_type), p_iteration => i.number)
      order by o.slot, o.step_index, i.number)
  into v_ready
  from opened as o
  cross join lateral generate_series(0, o.parallel - 1) as i (number);
  p_state.ready := p_state.ready || v_ready;
end;
$$;
comment on function flowgres.expand_steps(flowgres.advance_state) is $$Write the lists that were reported, and make the first iterations ready

The row of the step goes to the first one; as many more as may run at once get rows of their own.$$;

create or replace function flowgres.list_undone(p_slot integer, p_step_index smallint, p_state flowgres.advance_state)
  returns void language plpgsql
as $$
declare
  v_step flowgres.workflow_steps;
  v_tenant_id uuid := p_state.tenant_ids[p_slot];
  v_execution_id uuid := p_state.execution_ids[p_slot];
  v_count integer;
begin
  select w.* into strict v_step
  from flowgres.workflow_steps as w
  where w.tenant_id = v_tenant_id and w.version_id = p_state.version_ids[p_slot] and w.index = p_step_index;
  v_count := flowgres.write_items(
    p_tenant_id => v_tenant_id, p_execution_id => v_execution_id, p_step_index => p_step_index, p_items => (
      select jsonb_agg(flowgres.read_item(
        p_tenant_id => s.tenant_id, p_execution_id => s.execution_id, p_step_index => s.step_index, p_iteration => s.iteration)::jsonb
        order by s.seq desc)
      from flowgres.step_executions as s
      where s.tenant_id = v_tenant_id and s.execution_id = v_execution_id and s.step_index = v_step.compensates and s.iteration >= 0
        and s.status = 'completed'));
  insert into flowgres.step_executions (
    tenant_id, execution_id, step_index, iteration, attempts, step, type, status, ready_at, started_at, item_count, next_item, done_count,
    failed_count, is_logged, generation)
  values (
    v_tenant_id, v_execution_id, p_step_index, -1, 1, v_step.id, v_step.type, 'running', p_state.now, p_state.now, v_count, 1, 0, 0, true,
    nullif(p_state.generations[p_slot], 1));
end;
$$;
comment on function flowgres.list_undone(integer, smallint, flowgres.advance_state) is $$Write the list of a compensation: the items whose iterations completed, the last one first

Nobody has to be asked for it, so that it begins with its first item.$$;

create or replace function flowgres.iterate_steps(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_step record;
  v_tolerated integer;
  v_needed integer;
  v_verdict text;
  v_goes_on boolean;
  v_ended flowgres.step_outcome[] := p_state.outcomes;
begin
  -- Nobody else asks for iterations that have ended, and the state is handed from part to part.
  p_state.outcomes := array(select o from unnest(v_ended) as o where o.iteration = -1 or o.edge is null);
  for v_step in
    with ended as (
      select
        o.slot, o.tenant_id, o.execution_id, o.step_index, count(*)::integer as done,
        count(*) filter (where o.outcome = 'failed')::integer as failed, array_agg(o.queue_id order by o.queue_id) as queue_ids
      from unnest(v_ended) as o
      where o.iteration >= 0 and o.edge is not null
      group by o.slot, o.tenant_id, o.execution_id, o.step_index
    )
    update flowgres.step_executions as s
    set
      done_count = s.done_count + e.done, failed_count = s.failed_count + e.failed,
      next_item = least(s.item_count, s.next_item + e.done)
    from ended as e
    join flowgres.step_executions as b
      on b.tenant_id = e.tenant_id and b.execution_id = e.execution_id and b.step_index = e.step_index and b.iteration = -1
    join flowgres.workflow_steps as w
      on w.tenant_id = e.tenant_id and w.version_id = p_state.version_ids[e.slot] and w.index = e.step_index
    where s.tenant_id = e.tenant_id and s.execution_id = e.execution_id and s.step_index = e.step_index and s.iteration = -1
    returning
      e.slot, e.step_index, e.queue_ids, b.next_item as first_item, s.next_item, s.item_count, s.done_count, s.failed_count,
      s.redo, s.finished_at, w.iterates, w.capability, w.type
  loop
    v_needed := (v_step.iterates ->> 'at_least')::numeric::integer;
    v_tolerated := flowgres.tolerated_count(
      p_tolerate => v_step.iterates -> 'tolerate', p_count => v_step.item_count, p_needed => v_needed);
    v_verdict := case
      when v_step.finished_at is not null then null
      when v_step.failed_count > v_tolerated or v_step.item_count - v_step.failed_count < v_needed then 'failed'
      when v_step.done_count - v_step.failed_count >= v_needed then 'completed'
      when v_step.done_count = v_step.item_count then case when v_needed is null then 'completed' else 'failed' end
    end;
    v_goes_on := v_step.done_count < v_step.item_count
      and (v_verdict is null or v_verdict = 'completed' and v_step.iterates ->> 'rest' is distinct from 'cancel');
    if v_goes_on then
      p_state.ready := p_state.ready || array(
        select flowgres.make_ready_step(
          p_slot => v_step.slot, p_queue_id => v_step.queue_ids[i.number], p_step_index => v_step.step_index,
          p_capability => v_step.capability, p_only_computes => flowgres.only_computes(v_step.type),
          p_iteration => flowgres.iteration_at(
            p_place => v_step.first_item + i.number - 1, p_count => v_step.item_count, p_redo => v_step.redo))
        from generate_series(1, v_step.next_item - v_step.first_item) as i (number));
      p_state.ready := nullif(p_state.ready, '{}');
    elsif v_step.done_count < v_step.item_count then
      p_state := flowgres.cancel_steps(
        p_slots => array[v_step.slot], p_indexes => array[v_step.step_index], p_spares_always => false,
        p_reason => 'its step has ended', p_state => p_state, p_is_rest => true);
    elsif v_step.finished_at is not null then
      -- The step had what it needed long ago; now its last iteration is over as well.
      p_state.newly_resolved[v_step.slot] := p_state.newly_resolved[v_step.slot] + 1;
    end if;
    if v_verdict is not null then
      p_state := flowgres.end_iterated(
        p_slot => v_step.slot, p_step_index => v_step.step_index, p_verdict => v_verdict, p_tolerated => v_tolerated,
        p_goes_on => v_goes_on, p_state => p_state);
    end if;
  end loop;
end;
$$;
comment on function flowgres.iterate_steps(flowgres.advance_state) is $$Count the iterations that ended, send their rows to the next items

And end the steps that have all they need, or too many failures. Every step once, however many of its iterations are in the batch.$$;

create or replace function flowgres.iteration_at(p_place integer, p_count integer, p_redo integer[])
  returns integer language sql immutable parallel safe
as $$
  select case when p_redo is null then p_place else p_redo[p_place - p_count + cardinality(p_redo) + 1] end;
$$;
comment on function flowgres.iteration_at(integer, integer, integer[]) is $$Which iteration has its turn at this place of a list

Of a list that was retried those that had completed come first, and what runs again last.$$;

create or replace function flowgres.tolerated_count(p_tolerate jsonb, p_count integer, p_needed integer)
  returns integer language sql immutable parallel safe
as $$
  select case jsonb_typeof(p_tolerate)
    when 'number' then (p_tolerate #>> '{}')::numeric::integer
    when 'string' then floor(rtrim(p_tolerate #>> '{}', '%')::numeric * p_count / 100)::integer
    -- Without a word on it, as many as leave enough.
    else greatest(p_count - coalesce(p_needed, p_count), 0)
  end;
$$;
comment on function flowgres.tolerated_count(jsonb, integer, integer) is $$How many iterations of a list may fail: a number, or a percentage of them.$$;

create or replace function flowgres.end_iterated(
  p_slot integer, p_step_index smallint, p_verdict text, p_tolerated integer, p_goes_on boolean, inout p_state flowgres.advance_state
)
  language plpgsql
as $$
declare
  v_tenant_id uuid := p_state.tenant_ids[p_slot];
  v_execution_id uuid := p_state.execution_ids[p_slot];
  v_outcome flowgres.step_outcome;
  v_step flowgres.workflow_steps;
  v_row flowgres.step_executions;
begin
  select w.* into strict v_step
  from flowgres.workflow_steps as w
  where w.tenant_id = v_tenant_id and w.version_id = p_state.version_ids[p_slot] and w.index = p_step_index;
  v_outcome.slot := p_slot;
  v_outcome.tenant_id := v_tenant_id;
  v_outcome.execution_id := v_execution_id;
  v_outcome.step_index := p_step_index;
  v_outcome.iteration := -1;
  v_outcome.outcome := p_verdict;
  v_outcome.step := v_step.id;
  v_outcome.step_type := v_step.type;
  v_outcome.join_rule := v_step.join_rule;
  v_outcome.cancels := v_step.cancel_indexes;
  v_outcome.seq := p_state.last_seqs[p_slot] + 1;
  -- Their size first: together they may be more than a value can hold.
  if p_verdict = 'completed' and (
    select sum(octet_length(r.output::text)) from flowgres.step_executions as r
    where r.tenant_id = v_tenant_id and r.execution_id = v_execution_id and r.step_index = p_step_index and r.iteration >= 0
      and r.status = 'completed') > (flowgres.setting(v_tenant_id, 'max_output_bytes'))::bigint
  then
    v_outcome.outcome := 'failed';
    v_outcome.error := jsonb_build_object(
      'code', 'output_too_large', 'class', 'validation', 'message', 'the outputs of all iterations are too large together',
      'hint', 'Let each iteration give less with an output of its own.');
  elsif p_verdict = 'completed' then
    -- Each number once, with the output of its iteration if there is one; grouped, as a join would look for each number.
    v_outcome.output := (
      select jsonb_agg(o.output order by o.number)
      from (
        select u.number, (array_agg(u.output) filter (where u.output is not null))[1] as output
        from (
          select r.iteration as number, r.output
          from flowgres.step_executions as r
          where r.tenant_id = v_tenant_id and r.execution_id = v_execution_id and r.step_index = p_step_index and r.iteration >= 0
            and r.status = 'completed'
          union all
          select i.number, null::jsonb
          from flowgres.step_executions as s
          cross join lateral generate_series(0, s.item_count - 1) as i (number)
          where s.tenant_id = v_tenant_id and s.execution_id = v_execution_id and s.step_index = p_step_index and s.iteration = -1
        ) as u
        group by u.number
      ) as o);
  else
    v_outcome.error := (
      select jsonb_build_object(
        'code', 'iterations_failed', 'class', 'iteration',
        'message', format(
          '%s of %s iterations failed, %s; the first is number %s: %s', s.failed_count, s.item_count,
          case when s.failed_count <= p_tolerated then format('and %s had to be done', v_step.iterates ->> 'at_least')
            else format('of which %s may', p_tolerated) end,
          r.iteration, r.error ->> 'message'),
        'details', jsonb_build_object('failed', s.failed_count, 'items', s.item_count, 'iteration', r.iteration, 'error', r.error))
      from flowgres.step_executions as s
      left join lateral (
        select r.iteration, r.error from flowgres.step_executions as r
        where r.tenant_id = s.tenant_id and r.execution_id = s.execution_id and r.step_index = s.step_index and r.iteration >= 0
          and r.status = 'failed'
        order by r.iteration
        limit 1
      ) as r on true
      where s.tenant_id = v_tenant_id and s.execution_id = v_execution_id and s.step_index = p_step_index and s.iteration = -1);
  end if;
  v_outcome.edge := case
    when v_outcome.outcome = 'completed' then 'taken'
    else case v_step.on_error when 'continue' then 'taken' when 'skip' then 'dead' else 'failed' end end;
  v_outcome.is_unhandled := v_outcome.edge = 'failed' and not v_step.failure_handled;
  update flowgres.step_executions as s
  set
    status = v_outcome.outcome, edge = v_outcome.edge, output = v_outcome.output, error = v_outcome.error, seq = v_outcome.seq,
    finished_at = p_state.now, is_logged = true,
    -- Less than there are means from here on: some are under way.
    done_count = case when p_goes_on then s.done_count else s.item_count end
  where s.tenant_id = v_tenant_id and s.execution_id = v_execution_id and s.step_index = p_step_index and s.iteration = -1
  returning s.* into v_row;
  insert into flowgres.events (tenant_id, execution_id, seq, at, type, level, step, message, details)
  values (
    v_tenant_id, v_execution_id, v_outcome.seq, p_state.now, 'step_' || v_outcome.outcome,
    case v_outcome.outcome when 'failed' then 'error' else 'info' end, v_step.id, v_outcome.error ->> 'message',
    jsonb_strip_nulls(jsonb_build_object('items', v_row.item_count, 'failed', nullif(v_row.failed_count, 0), 'error', v_outcome.error)));
  p_state.last_seqs[p_slot] := v_outcome.seq;
  -- While iterations are under way the execution must not end; its last one will count the step.
  p_state.newly_resolved[p_slot] := p_state.newly_resolved[p_slot] + (not p_goes_on)::integer;
  p_state.newly_completed[p_slot] := p_state.newly_completed[p_slot] + (v_outcome.outcome = 'completed')::integer;
  p_state.outcomes := p_state.outcomes || v_outcome;
  if v_step.children <> '{}' then
    p_state.frontier := p_state.frontier || flowgres.make_resolved_step(
      p_slot => p_slot, p_queue_id => null, p_step_index => p_step_index, p_step => v_step.id, p_join_rule => v_step.join_rule,
      p_children => v_step.children, p_untaken => null, p_edge => v_outcome.edge, p_outcome => v_outcome.outcome);
  end if;
end;
$$;
comment on function flowgres.end_iterated is $$End a step by its iterations: their outputs in the order of the items, or what went wrong

It takes part in the rest of the advance as if a runner had reported it.$$;
