-- Advancing executions, third part: the steps that are not done at their first report, and reports that come too late.

set local role flowgres_owner;

create or replace function flowgres.record_unusual(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
begin
  insert into flowgres.step_executions as s (
    tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, untaken, runner_id,
    child_execution_id, ready_at, started_at, finished_at, due_at, output, error, seq, is_logged, round, previous, generation)
  select
    o.tenant_id, o.execution_id, o.step_index, o.iteration, o.attempt, o.step, o.step_type,
    case o.outcome
      when 'again' then case when o.due_at is null then 'ready' else 'waiting' end when 'suspended' then 'waiting' when 'child' then 'waiting' when 'park' then 'waiting' when 'started' then 'running' when 'lost' then 'ready'
      when 'detached' then 'ready' when 'moved' then 'ready' when 'expand' then 'running'
      else o.outcome
    end,
    o.edge, o.untaken, p_state.runner_id, o.child_execution_id, o.ready_at,
    case when o.outcome not in ('skipped', 'cancelled') then o.began_at end,
    case when o.edge is not null then p_state.now end,
    nullif(o.due_at, 'infinity'), case when o.edge is not null then o.output end, o.error, case when o.edge is not null then o.seq end, true,
    o.round + (o.outcome = 'again')::integer, case when o.outcome = 'again' then o.output end, nullif(o.generation, 1)
  from unnest(p_state.outcomes) as o
  where o.edge is null or o.is_recorded
  on conflict (tenant_id, execution_id, step_index, iteration) do update
  set
    attempts = excluded.attempts, status = excluded.status, edge = excluded.edge, untaken = excluded.untaken,
    runner_id = excluded.runner_id, child_execution_id = coalesce(excluded.child_execution_id, s.child_execution_id),
    started_at = coalesce(s.started_at, excluded.started_at), finished_at = excluded.finished_at,
    due_at = excluded.due_at, output = excluded.output, error = excluded.error, seq = excluded.seq, is_logged = true,
    round = excluded.round, generation = excluded.generation,
    -- What a round gave is there for the next one, through all its attempts.
    previous = case when excluded.edge is not null then null when excluded.round > coalesce(s.round, 1) then excluded.previous else s.previous end;

  insert into flowgres.attempts as a (
    tenant_id, execution_id, step_index, iteration, generation, attempt, step, status, runner_id, started_at,
    finished_at, error, detail, round)
  select
    o.tenant_id, o.execution_id, o.step_index, o.iteration, o.generation, o.attempt, o.step,
    case
      when o.error ->> 'code' = 'lease_expired' then 'lost' when o.outcome in ('failed', 'retrying') then 'failed' else 'completed'
    end,
    p_state.runner_id, o.began_at, p_state.now, o.error, o.detail, o.round
  from unnest(p_state.outcomes) as o
  where o.outcome in ('failed', 'retrying', 'lost', 'again') or (o.outcome = 'completed' and (o.detail is not null or o.attempt > 1))
  on conflict (tenant_id, execution_id, step_index, iteration, generation, attempt) do update
  set status = excluded.status, finished_at = excluded.finished_at, error = excluded.error, detail = excluded.detail;

  -- Of what was sent and what came back the last failed try keeps a record, and those that say that all do.
  if exists (
    select from unnest(p_state.outcomes) as o
    where o.attempt > 1 and o.outcome in ('failed', 'retrying') and o.detail ? 'request' and not o.detail ? 'record')
  then
    update flowgres.attempts as a
    set detail = a.detail - 'request' - 'response'
    from unnest(p_state.outcomes) as o
    where o.attempt > 1 and o.outcome in ('failed', 'retrying') and o.detail ? 'request' and not o.detail ? 'record'
      and a.tenant_id = o.tenant_id and a.execution_id = o.execution_id and a.step_index = o.step_index
      and a.iteration = o.iteration and a.generation = o.generation
      -- A step may repeat for 32,000 attempts: looking at each of them after each failure would take their square.
      and a.attempt between o.attempt - 1000 and o.attempt - 1
      and a.detail ? 'request' and not a.detail ? 'record';
  end if;
end;
$$;
comment on function flowgres.record_unusual(flowgres.advance_state) is $$Write the steps that go on or were written before, and the tries that say more than their step's own row

An edge means the end: only terminal outcomes have one.$$;

create or replace function flowgres.pass_over(p_reports flowgres.step_report[], p_state flowgres.advance_state)
  returns setof flowgres.claimed_step language plpgsql
as $$
begin
  -- Of a step that was cancelled under its runner's hands there is an attempt; what comes of it is kept there, and no more. Nobody
  -- is waited for: these are no executions whose locks are held, and who holds such a row has just the same to say, or removes it.
  update flowgres.attempts as a
  set
    status = 'discarded', finished_at = p_state.now, error = coalesce(l.error, a.error),
    detail = case when l."out" is null then coalesce(l.detail, a.detail)
      when pg_column_size(l."out") > 16384 then jsonb_build_object('output', null, 'dropped', 'too large')
      else jsonb_build_object('output', l."out") end
  from (
    select a.tenant_id, a.execution_id, a.step_index, a.iteration, a.generation, a.attempt, r.error, r."out", r.detail
    from unnest(p_reports) as r
    cross join lateral (
      select a.tenant_id, a.execution_id, a.step_index, a.iteration, a.generation, a.attempt
      from flowgres.attempts as a
      where a.tenant_id = r.t and a.execution_id = r.x and a.step_index = r.s and a.iteration = -1 and a.status = 'cancelled'
        and a.runner_id is not distinct from p_state.runner_id
      for update skip locked
    ) as a
    where r.o in ('completed', 'enough', 'again', 'failed', 'skipped') and r.q <> all(coalesce(p_state.held_queue_ids, '{}'))
  ) as l
  where a.tenant_id = l.tenant_id and a.execution_id = l.execution_id and a.step_index = l.step_index
    and a.iteration = l.iteration and a.generation = l.generation and a.attempt = l.attempt;

  return query
  select (flowgres.make_claimed_step(
    p_queue_id => r.q, p_token => r.k, p_tenant_id => r.t, p_execution_id => r.x, p_version_id => null, p_step_index => r.s,
    p_iteration => null, p_attempt => null, p_generation => null, p_is_passed_over => true)).*
  from unnest(p_reports) as r
  where r.q <> all(coalesce(p_state.held_queue_ids, '{}'))
    -- A start that is no news any more is no report.
    and (r.o <> 'started' or r.x = any(p_state.passed_over_ids))
    and exists (
      select from flowgres.work_queue as q
      where q.tenant_id = r.t and q.execution_id = r.x and q.id = r.q
        and q.runner_id is not distinct from p_state.runner_id and q.token = r.k and q.step_index = r.s);
end;
$$;
comment on function flowgres.pass_over(flowgres.step_report[], flowgres.advance_state) is $$What becomes of the reports of a batch that were not taken

Those whose lease is still there are passed over, because somebody holds their execution or their row: they are returned, to be
sent again. Of the others nothing is left but what is kept with a cancelled attempt.$$;
