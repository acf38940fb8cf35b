-- Advancing executions, third part: the steps that are not done at their first report, and reports that come too late.

set local role flowgres_owner;

create or replace function flowgres.record_unusual(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
begin
  insert into flowgres.step_executions as s (
    tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, untaken, runner_id,
    child_execution_id, ready_at, started_at, finished_at, due_at, output, error, seq, is_logged)
  select
    o.tenant_id, o.execution_id, o.step_index, o.iteration, o.attempt, o.step, o.step_type,
    case o.outcome
      when 'suspended' then 'waiting' when 'child' then 'waiting' when 'started' then 'running' when 'lost' then 'ready'
      else o.outcome
    end,
    o.edge, o.untaken, p_state.runner_id, o.child_execution_id, o.ready_at,
    case when o.outcome <> 'skipped' then o.began_at end,
    case when o.edge is not null then p_state.now end,
    nullif(o.due_at, 'infinity'), o.output, o.error, case when o.edge is not null then o.seq end, true
  from unnest(p_state.outcomes) as o
  where o.edge is null or o.is_recorded
  on conflict (tenant_id, execution_id, step_index, iteration) do update
  set
    attempts = excluded.attempts, status = excluded.status, edge = excluded.edge, untaken = excluded.untaken,
    runner_id = excluded.runner_id, child_execution_id = coalesce(excluded.child_execution_id, s.child_execution_id),
    started_at = coalesce(s.started_at, excluded.started_at), finished_at = excluded.finished_at,
    due_at = excluded.due_at, output = excluded.output, error = excluded.error, seq = excluded.seq, is_logged = true;

  insert into flowgres.attempts as a (
    tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at,
    finished_at, error, detail)
  select
    o.tenant_id, o.execution_id, o.step_index, o.iteration, o.generation, o.attempt, o.step,
    case
      when o.error ->> 'code' = 'lease_expired' then 'lost' when o.outcome in ('failed', 'retrying') then 'failed' else 'completed'
    end,
    p_state.runner_id, o.began_at, p_state.now, o.error, o.detail
  from unnest(p_state.outcomes) as o
  where o.outcome in ('failed', 'retrying', 'lost') or (o.outcome = 'completed' and o.detail is not null)
  on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do update
  set status = excluded.status, finished_at = excluded.finished_at, error = excluded.error, detail = excluded.detail;
end;
$$;
comment on function flowgres.record_unusual(flowgres.advance_state) is $$Write the steps that go on or were written before, and the tries that say more than their step's own row

An edge means the end: only terminal outcomes have one.$$;

create or replace function flowgres.discard_reports(p_reports flowgres.step_report[], p_state flowgres.advance_state)
  returns integer language plpgsql
as $$
declare
  v_count integer;
begin
  -- Of a step that was cancelled under its runner's hands there is an attempt; what comes of it is kept there, and no more.
  update flowgres.attempts as a
  set
    status = 'discarded', finished_at = p_state.now, error = coalesce(r.error, a.error),
    detail = case when r."out" is null then coalesce(r.detail, a.detail)
      when pg_column_size(r."out") > 16384 then jsonb_build_object('output', null, 'dropped', 'too large')
      else jsonb_build_object('output', r."out") end
  from (
    select r.t, r.x, r.s, r.o, r.error, r."out", r.detail, r.logs
    from unnest(p_reports) as r
    where r.o in ('completed', 'failed', 'skipped') and r.x <> all(coalesce(p_state.passed_over_ids, '{}'))
    order by r.x, r.s
  ) as r
  where a.tenant_id = r.t and a.execution_id = r.x and a.step_index = r.s and a.iteration = -1 and a.status = 'cancelled'
    and a.runner_id is not distinct from p_state.runner_id;
  get diagnostics v_count = row_count;
  return v_count;
end;
$$;
comment on function flowgres.discard_reports(flowgres.step_report[], flowgres.advance_state) is $$Keep what a cancelled step's runner still had to say; changes nothing else. Returns how many.$$;
