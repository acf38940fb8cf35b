-- Advancing executions, first part: take the locks, start the children that were asked for.

set local role flowgres_owner;

-- The parts of the advance have no search_path of their own: the functions that runners call have set it, and setting it again in
-- each part would cost a tenth of a small call.

create or replace function flowgres.lock_executions(p_reports flowgres.step_report[], inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_first uuid;
  v_last uuid;
begin
  -- Bounds that are known before the plan starts keep it to the partitions that it needs.
  select r.x into v_first from unnest(p_reports) as r order by r.x limit 1;
  select r.x into v_last from unnest(p_reports) as r order by r.x desc limit 1;
  -- In the order of their ids, as everywhere: then no two callers can wait for each other.
  -- NO KEY: a plain FOR UPDATE would conflict with the KEY SHARE of foreign keys.
  select
    array_agg(l.tenant_id), array_agg(l.id), array_agg(l.event_seq), array_agg(l.resolved_count),
    array_agg(l.total_count), array_agg(l.is_failing), array_agg(l.is_started),
    array_agg(l.status = 'running' and l.is_started)
  into
    p_state.tenant_ids, p_state.execution_ids, p_state.event_seqs, p_state.resolved_counts,
    p_state.total_counts, p_state.failing_flags, p_state.started_flags,
    p_state.running_flags
  from (select distinct r.t, r.x from unnest(p_reports) as r order by r.x) as wanted
  cross join lateral (
    select
      e.tenant_id, e.id, e.event_seq, e.resolved_count::integer as resolved_count,
      e.step_count + e.hidden_step_count as total_count, e.is_failing, e.started_at is not null as is_started,
      e.finished_at, e.status
    from flowgres.executions as e
    where e.tenant_id = wanted.t and e.id = wanted.x and e.id between v_first and v_last
    for no key update
  ) as l
  where l.finished_at is null;
end;
$$;
comment on function flowgres.lock_executions(flowgres.step_report[], flowgres.advance_state) is $$Lock the executions of a batch and number them by slot.$$;

create or replace function flowgres.start_children(p_state flowgres.advance_state, inout p_reports flowgres.step_report[])
  language plpgsql
as $$
declare
  v_report flowgres.step_report;
  v_position integer := 0;
  v_depth smallint;
  v_priority smallint;
  v_workflow flowgres.workflows;
  v_version flowgres.workflow_versions;
  v_message text;
  v_code text;
begin
  foreach v_report in array p_reports loop
    v_position := v_position + 1;
    continue when v_report.o <> 'child';
    v_report.child := null;
    select q.priority, e.depth + 1 into v_priority, v_depth
    from flowgres.work_queue as q
    join flowgres.executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
    where q.tenant_id = v_report.t and q.execution_id = v_report.x and q.id = v_report.q
      and q.runner_id is not distinct from p_state.runner_id and q.token = v_report.k and q.step_index = v_report.s
      and e.finished_at is null;
    -- Without the lease there is no child; the report is dropped with the others that the fence refuses.
    continue when not found;
    begin
      if v_depth > (flowgres.setting(v_report.t, 'max_sub_workflow_depth'))::integer then
        perform flowgres.fail(
          p_status => 422, p_code => 'nesting_too_deep', p_message => format('level %s of sub-workflows is too deep', v_depth));
      end if;
      v_workflow := flowgres.find_workflow(p_tenant_id => v_report.t, p_workflow => v_report.workflow);
      v_version := flowgres.find_version(p_workflow => v_workflow, p_version => v_report.version);
      v_report.child := flowgres.uuid_v7(p_state.now);
      perform flowgres.insert_executions(
        p_version => v_version,
        p_ids => array[v_report.child],
        p_inputs => array[flowgres.check_input(p_inputs => v_version.inputs, p_input => coalesce(v_report.input, '{}'))],
        p_now => p_state.now,
        p_priority => v_priority,
        p_trigger_type => 'sub_workflow',
        p_created_by => 'execution:' || v_report.x,
        p_depth => v_depth,
        p_parent_execution_id => v_report.x,
        p_parent_step_index => v_report.s,
        p_parent_queue_id => v_report.q);
    exception when others then
      -- What a user can cause here (no such workflow, bad input, too deep) ends this step and not its batch.
      get stacked diagnostics v_message = message_text, v_code = constraint_name;
      if sqlstate not like 'FG%' then
        raise;
      end if;
      v_report.child := null;
      v_report.o := 'refused';
      v_report.error := jsonb_build_object('code', v_code, 'message', v_message, 'class', 'child');
    end;
    p_reports[v_position] := v_report;
  end loop;
end;
$$;
comment on function flowgres.start_children(flowgres.advance_state, flowgres.step_report[]) is $$Start the child executions that sub_workflow steps ask for

Puts the id of the child into its report; a report whose child cannot start becomes refused, which is a failure without retry.$$;
