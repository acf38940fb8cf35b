-- Advancing executions, first part: take the locks, start the children that were asked for.

set local role flowgres_owner;

-- The parts of the advance have no search_path of their own: the functions that runners call have set it, and setting it again in
-- each part would cost a tenth of a small call.

create or replace function flowgres.lock_executions(
  p_tenant_ids uuid[], p_execution_ids uuid[], inout p_state flowgres.advance_state
)
  language plpgsql
as $$
declare
  v_first uuid;
  v_last uuid;
  v_locked integer;
  v_seen uuid[];
begin
  -- Bounds that are known before the plan starts keep it to the partitions that it needs.
  select x.id into v_first from unnest(p_execution_ids) as x (id) order by x.id limit 1;
  select x.id into v_last from unnest(p_execution_ids) as x (id) order by x.id desc limit 1;
  -- Nobody waits here: what somebody else holds is passed over, and its results are sent again. So one held execution does
  -- not keep the others of a batch, and two batches cannot wait for each other.
  -- NO KEY: a plain FOR UPDATE would conflict with the KEY SHARE of foreign keys.
  select
    array_agg(l.tenant_id) filter (where l.is_open), array_agg(l.id) filter (where l.is_open),
    array_agg(l.version_id) filter (where l.is_open), array_agg(l.event_seq) filter (where l.is_open),
    array_agg(l.resolved_count) filter (where l.is_open), array_agg(l.total_count) filter (where l.is_open),
    array_agg(l.priority) filter (where l.is_open), array_agg(l.generation) filter (where l.is_open),
    array_agg(l.phase <> 'run') filter (where l.is_open), array_agg(l.is_started) filter (where l.is_open),
    array_agg(l.status = 'running' and l.is_started) filter (where l.is_open),
    array_agg(l.status = 'paused') filter (where l.is_open), count(*), array_agg(l.id)
  into
    p_state.tenant_ids, p_state.execution_ids, p_state.version_ids, p_state.event_seqs, p_state.resolved_counts,
    p_state.total_counts, p_state.priorities, p_state.generations, p_state.failing_flags, p_state.started_flags,
    p_state.running_flags, p_state.paused_flags, v_locked, v_seen
  from (select x.t, x.id from unnest(p_tenant_ids, p_execution_ids) as x (t, id) order by x.id) as wanted
  cross join lateral (
    select
      e.tenant_id, e.id, e.version_id, e.event_seq, e.resolved_count::integer as resolved_count,
      e.step_count + e.hidden_step_count as total_count, e.priority, e.generation, e.phase,
      e.started_at is not null as is_started, e.finished_at is null as is_open, e.status
    from flowgres.executions as e
    where e.tenant_id = wanted.t and e.id = wanted.id and e.id between v_first and v_last
    for no key update skip locked
  ) as l;
  p_state.last_seqs := p_state.event_seqs;
  -- Not before the locks: then the times of an execution never run backwards along its numbers.
  p_state.now := flowgres.now();
  if v_locked < cardinality(p_execution_ids) then
    p_state.passed_over_ids := array(
      select e.id
      from unnest(p_tenant_ids, p_execution_ids) as x (t, id)
      join flowgres.executions as e on e.tenant_id = x.t and e.id = x.id
      where e.finished_at is null and x.id <> all(coalesce(v_seen, '{}')));
  end if;
end;
$$;
comment on function flowgres.lock_executions(uuid[], uuid[], flowgres.advance_state) is $$Lock those of these executions that are free

In the order of their ids, each of which is given once; those that have not ended are numbered by slot. passed_over_ids are those that somebody else holds.$$;

create or replace function flowgres.hold_leases(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_outcome text
)
  language plpgsql
as $$
declare
  v_queue_ids bigint[];
begin
  -- Nothing for a lease that is given back meanwhile: the rows are locked before one is used, those that somebody holds are
  -- passed over. Only in executions whose locks are held: others have no slot.
  v_queue_ids := array(
    select q.id
    from unnest(p_reports) as r
    cross join lateral (
      select q.id
      from flowgres.work_queue as q
      where q.tenant_id = r.t and q.execution_id = r.x and q.id = r.q and q.runner_id is not distinct from p_state.runner_id
        and q.token = r.k and q.step_index = r.s
      for update skip locked
    ) as q
    where r.o = p_outcome and r.x = any(p_state.execution_ids));
  for i in 1..cardinality(p_reports) loop
    if p_reports[i].o = p_outcome and p_reports[i].q <> all(v_queue_ids) then
      -- What no token fits is not recorded.
      p_reports[i].k := null;
    end if;
  end loop;
end;
$$;
comment on function flowgres.hold_leases(flowgres.advance_state, flowgres.step_report[], text) is $$Lock the leases of the reports with this outcome

Those whose lease is gone, or held by somebody, lose their token.$$;

create or replace function flowgres.start_children(p_state flowgres.advance_state, inout p_reports flowgres.step_report[])
  language plpgsql
as $$
declare
  v_group record;
begin
  p_reports := flowgres.hold_leases(p_state => p_state, p_reports => p_reports, p_outcome => 'child');
  for v_group in
    select
      g.tenant_id, g.workflow, g.version, g.depth, g.priority, g.is_detached, array_agg(g.place order by g.place) as places
    from (
      select r.t as tenant_id, r.workflow, r.version, e.depth + 1 as depth, q.priority, r.detached is true as is_detached, n.place
      from generate_subscripts(p_reports, 1) as n (place)
      cross join lateral (select (p_reports[n.place]).*) as r
      join flowgres.work_queue as q on q.tenant_id = r.t and q.execution_id = r.x and q.id = r.q
      join flowgres.executions as e on e.tenant_id = r.t and e.id = r.x
      where r.o = 'child' and r.k is not null
    ) as g
    group by g.tenant_id, g.workflow, g.version, g.depth, g.priority, g.is_detached
  loop
    p_reports := flowgres.start_alike(
      p_state => p_state, p_reports => p_reports, p_places => v_group.places, p_depth => v_group.depth::smallint,
      p_priority => v_group.priority);
  end loop;
end;
$$;
comment on function flowgres.start_children(flowgres.advance_state, flowgres.step_report[]) is $$Start the child executions that sub_workflow steps ask for

Puts the id of the child into its report; a report whose child cannot start becomes refused, which is a failure without retry.
Without its lease there is no child, and the report loses its token: it is dropped with the others that the fence refuses.$$;

create or replace function flowgres.start_alike(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[], p_depth smallint,
  p_priority smallint
)
  language plpgsql
as $$
declare
  v_report flowgres.step_report := p_reports[p_places[1]];
  v_is_detached boolean := coalesce(v_report.detached, false);
  v_version flowgres.workflow_versions;
  v_ids uuid[];
  v_message text;
  v_code text;
  v_hint text;
  v_place integer;
  v_middle integer := cardinality(p_places) / 2;
begin
  -- One subtransaction for all of them: a transaction has room for few, and most groups are fine.
  begin
    if p_depth > (flowgres.setting(v_report.t, 'max_sub_workflow_depth'))::integer then
      perform flowgres.fail(
        p_status => 422, p_code => 'nesting_too_deep', p_message => format('level %s of sub-workflows is too deep', p_depth));
    end if;
    v_version := flowgres.find_version(
      p_workflow => flowgres.find_workflow(p_tenant_id => v_report.t, p_workflow => v_report.workflow),
      p_version => v_report.version);
    v_ids := flowgres.start_versions(
      p_version => v_version,
      p_inputs => array(
        select coalesce((p_reports[p.place]).input, '{}') from unnest(p_places) with ordinality as p (place, i) order by p.i),
      p_now => p_state.now,
      p_priority => p_priority,
      p_trigger_type => 'sub_workflow',
      p_depth => p_depth,
      p_parent_execution_ids => array(
        select (p_reports[p.place]).x from unnest(p_places) with ordinality as p (place, i) order by p.i),
      p_parent_step_indexes => array(
        select (p_reports[p.place]).s from unnest(p_places) with ordinality as p (place, i) order by p.i),
      p_parent_queue_ids => array(
        -- One that is detached has a parent that does not wait for it: no row of the queue.
        select case when not v_is_detached then (p_reports[p.place]).q end
        from unnest(p_places) with ordinality as p (place, i) order by p.i),
      p_triggers => array(
        select
          jsonb_build_object('type', 'sub_workflow')
          || flowgres.trace_below(
            p_execution_id => e.id, p_trigger => e.trigger,
            p_span => flowgres.attempt_span(
              p_execution_id => e.id, p_generation => q.generation, p_step_index => q.step_index, p_iteration => q.iteration,
              p_attempt => q.attempt))
        from unnest(p_places) with ordinality as p (place, i)
        cross join lateral (select (p_reports[p.place]).*) as r
        join flowgres.work_queue as q on q.tenant_id = r.t and q.execution_id = r.x and q.id = r.q
        join flowgres.executions as e on e.tenant_id = r.t and e.id = r.x
        order by p.i));
    for i in 1..cardinality(p_places) loop
      v_report := p_reports[p_places[i]];
      v_report.child := v_ids[i];
      if v_is_detached then
        v_report.o := 'detached';
      end if;
      p_reports[p_places[i]] := v_report;
    end loop;
    return;
  exception when others then
    -- What a user can cause here (no such workflow, bad input, too deep) ends this step and not its batch.
    get stacked diagnostics v_message = message_text, v_code = constraint_name, v_hint = pg_exception_hint;
    if sqlstate not like 'FG%' then
      raise;
    end if;
  end;
  if v_middle = 0 then
    v_place := p_places[1];
    v_report := p_reports[v_place];
    v_report.o := 'refused';
    v_report.error := jsonb_strip_nulls(jsonb_build_object(
      'code', v_code, 'message', v_message, 'hint', nullif(v_hint, ''), 'class', 'child'));
    p_reports[v_place] := v_report;
    return;
  end if;
  -- Somebody among them has a bad input: halve, until that one is alone.
  p_reports := flowgres.start_alike(
    p_state => p_state, p_reports => p_reports, p_places => p_places[:v_middle], p_depth => p_depth, p_priority => p_priority);
  p_reports := flowgres.start_alike(
    p_state => p_state, p_reports => p_reports, p_places => p_places[v_middle + 1:], p_depth => p_depth,
    p_priority => p_priority);
end;
$$;
comment on function flowgres.start_alike is $$Start children of one workflow, those of the reports at these places; one that cannot start is refused alone.$$;
