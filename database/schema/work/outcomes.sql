-- Advancing executions, second part: check the fences, decide what each report means, write down what ended.

set local role flowgres_owner;

create or replace function flowgres.backoff_seconds(
  p_delay_seconds double precision,
  p_factor double precision,
  p_max_delay_seconds double precision,
  p_has_jitter boolean,
  p_attempt smallint,
  p_error jsonb
)
  returns double precision language sql volatile set search_path to pg_catalog, pg_temp
as $$
  select greatest(
    b.bound * case when p_has_jitter then random() else 1 end,
    -- A longer Retry-After wins, but nobody makes us wait longer than an hour.
    case when jsonb_typeof(p_error -> 'retry_after') = 'number'
      then least((p_error ->> 'retry_after')::double precision, 3600) else 0 end)
  from (select least(p_delay_seconds * power(p_factor, least(p_attempt - 1, 100)), p_max_delay_seconds) as bound) as b;
$$;
comment on function flowgres.backoff_seconds is $$Seconds until the next attempt: exponential, capped, with full jitter.$$;

create or replace function flowgres.untaken_children(p_tenant_id uuid, p_version_id uuid, p_branches jsonb, p_taken text[])
  returns smallint[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array_agg(distinct w.index)
  from jsonb_each(p_branches) as b (name, targets)
  cross join jsonb_array_elements_text(b.targets) as t (index)
  join flowgres.workflow_steps as w
    on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = t.index::smallint
  where w.id <> all(coalesce(p_taken, '{}'));
$$;
comment on function flowgres.untaken_children(uuid, uuid, jsonb, text[]) is $$Children listed on branches that were not taken.$$;

create or replace function flowgres.describe_outcome(
  p_attempt smallint, p_error jsonb, p_due_at timestamptz, p_child_execution_id uuid
)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'attempt', case when p_error is not null then p_attempt end, 'error', p_error,
    'child_execution_id', p_child_execution_id, 'due_at', nullif(p_due_at, 'infinity')));
$$;
comment on function flowgres.describe_outcome(smallint, jsonb, timestamptz, uuid) is $$Details of the event of an outcome that is no plain completion.$$;

create or replace function flowgres.record_outcomes(p_reports flowgres.step_report[], inout p_state flowgres.advance_state)
  language plpgsql
as $$
begin
  with located as materialized (
    -- The slot of a report is the rank of its execution among the locked ones, which are sorted the same way.
    select r.*, (dense_rank() over (order by r.x))::integer as slot
    from unnest(p_reports) as r
    where r.x = any(p_state.execution_ids)
      -- A step that ended while its announcement still waited to be sent: the end says it all.
      and (r.o <> 'started' or not exists (
        select from unnest(p_reports) as f where f.x = r.x and f.q = r.q and f.k = r.k and f.o <> 'started'))
  ),
  held as materialized (
    -- The fence: the row must still be leased to this runner, under this token, for this step. It is not locked: a leased row is
    -- changed only under the lock of its execution, which we hold, or given back by its own runner.
    select
      l.slot, l.t, l.x, l.q, l.s, l.o, l.ms, l."out", l.error, l.taken, l.detail, l.logs, l.seconds, l.ahead, l.child,
      q.version_id, q.iteration, q.attempt, q.generation, q.is_announced, q.is_resumed, q.ready_at
    from located as l
    cross join lateral (
      select
        q.version_id, q.iteration, q.attempt, q.generation, q.is_announced, q.resume is not null as is_resumed, q.ready_at
      from flowgres.work_queue as q
      -- Not "=": the index on runners must not be used to find a row by its key.
      where q.tenant_id = l.t and q.execution_id = l.x and q.id = l.q
        and q.runner_id is not distinct from p_state.runner_id and q.token = l.k and q.step_index = l.s
      offset 0
    ) as q
  ),
  reported as (
    select
      h.slot, h.t, h.x, h.q, 0 as place, h.version_id, h.s, h.iteration, h.attempt, h.generation, h.is_announced, h.is_resumed,
      h.ready_at, h.o, h.ms, h."out", h.error, h.taken, h.detail, h.logs, h.seconds, h.child
    from held as h
    union all
    select
      h.slot, h.t, h.x, h.q, a.place::integer, h.version_id, a.s, -1, 1::smallint, h.generation, false, false,
      p_state.now, a.o, a.ms, a."out", a.error, a.taken, a.detail, a.logs, null, null
    from held as h
    cross join lateral rows from (
      jsonb_to_recordset(h.ahead) as (
        s smallint, o text, ms double precision, "out" jsonb, error jsonb, taken text[], detail jsonb, logs jsonb)
    ) with ordinality as a (s, o, ms, "out", error, taken, detail, logs, place)
    where h.ahead is not null and h.iteration = -1 and not p_state.failing_flags[h.slot]
      and a.o in ('completed', 'skipped', 'failed')
  ),
  judged as (
    select
      r.*, w.*,
      case
        when r.o = 'completed' then 'completed'
        when r.o = 'failed' and r.attempt < w.max_attempts and (r.error ->> 'class') = any(w.retry_errors) then 'retrying'
        -- A step that took its runner with it is tried a few times whatever its own policy: the runner may not be its fault.
        when r.o = 'lost' and r.attempt + r.is_resumed::integer >= greatest(w.max_attempts, 3) then 'failed'
        when r.o in ('skipped', 'lost', 'suspended', 'child', 'started') then r.o
        else 'failed'
      end as outcome
    from reported as r
    cross join lateral (
      select
        w.id, w.type, w.children, w.branches, w.next_index, w.on_error, w.failure_handled, w.max_attempts, w.retry_errors,
        w.retry_delay_seconds, w.retry_factor, w.retry_max_delay_seconds, w.retry_jitter,
        w.join_rule in ('any', 'failed') or w.gates <> '{}' as is_early
      from flowgres.workflow_steps as w
      where w.tenant_id = r.t and w.version_id = r.version_id and w.index = r.s
      offset 0
    ) as w
  ),
  linked as (
    -- A step run ahead counts when it hangs on the one before it alone, and that one completed: then nothing but this report
    -- could have made it ready. What does not count is dropped, and its step becomes ready as ever.
    select
      k.*, bool_and(k.follows) over chain as is_linked, lead(k.follows) over chain is true as is_followed
    from (
      select
        j.*,
        j.place = 0 or coalesce(
          j.s = lag(case when j.outcome = 'completed' then j.next_index end) over (partition by j.q order by j.place), false)
        as follows
      from judged as j
    ) as k
    window chain as (partition by k.q order by k.place)
  ),
  outcomes as materialized (
    select
      l.slot, l.t, l.x, l.q, l.place, l.version_id, l.s, l.iteration, l.attempt, l.generation, l.outcome, l.id, l.type, l.children,
      l.is_followed,
      case
        when l.outcome = 'completed' then 'taken'
        when l.outcome = 'skipped' then 'dead'
        when l.outcome = 'failed' then case l.on_error when 'continue' then 'taken' when 'skip' then 'dead' else 'failed' end
      end as edge,
      case when l.branches is not null and l.outcome = 'completed' then flowgres.untaken_children(
        p_tenant_id => l.t, p_version_id => l.version_id, p_branches => l.branches, p_taken => l.taken) end as untaken,
      l.outcome = 'failed' and l.on_error = 'fail' and not l.failure_handled as is_unhandled,
      l.is_announced, l.is_resumed,
      -- The step has a row already: it was tried, announced, suspended, or marked by a join that does not wait for all.
      l.attempt > 1 or l.generation > 1 or l.is_announced or l.is_resumed or l.is_early as is_recorded,
      l.ready_at,
      p_state.now - make_interval(secs => greatest(coalesce(l.ms, 0), 0) / 1000) as began_at,
      case l.outcome
        when 'retrying' then p_state.now + make_interval(secs => flowgres.backoff_seconds(
          p_delay_seconds => l.retry_delay_seconds, p_factor => l.retry_factor,
          p_max_delay_seconds => l.retry_max_delay_seconds, p_has_jitter => l.retry_jitter, p_attempt => l.attempt,
          p_error => l.error))
        when 'suspended' then case when l.seconds is null then 'infinity'
          else p_state.now + make_interval(secs => greatest(l.seconds, 0)) end
        when 'child' then 'infinity'
      end as due_at,
      l.child,
      case when l.outcome = 'completed' then l."out" end as output,
      case when l.outcome in ('failed', 'retrying', 'lost') then coalesce(l.error, jsonb_build_object(
        'code', 'report_invalid', 'message', 'the runner sent no error', 'class', 'internal')) end as error,
      l.detail, l.logs
    from linked as l
    where l.is_linked
  ),
  written as (
    -- Inserting where a row may exist costs more, and most steps end at their first report.
    insert into flowgres.step_executions (
      tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, untaken, runner_id, ready_at,
      started_at, finished_at, output, error)
    select
      o.t, o.x, o.s, o.iteration, o.attempt, o.id, o.type, o.outcome, o.edge, o.untaken, p_state.runner_id, o.ready_at,
      case when o.outcome <> 'skipped' then o.began_at end, p_state.now, o.output, o.error
    from outcomes as o
    where o.edge is not null and not o.is_recorded
  ),
  facts as (
    -- The event of the outcome itself; width 2 when it also stands for the step_started that nobody has written. The hidden
    -- outputs step has events only when it fails.
    select
      o.slot, (o.q * 64 + o.place) * 4 + 2 as position,
      case when o.type = 'outputs' and o.outcome <> 'failed' then 0
        else 1 + (not o.is_announced and o.outcome not in ('skipped', 'started'))::integer end as width,
      case when o.outcome = 'completed' then 'step_completed' when o.outcome in ('suspended', 'child') then 'step_waiting'
        else 'step_' || o.outcome end as type,
      case when o.outcome = 'failed' then 'error' when o.outcome in ('retrying', 'lost') then 'warning' else 'info' end as level,
      o.id as step, o.error ->> 'message' as message,
      case when o.error is not null or o.due_at is not null then flowgres.describe_outcome(
        p_attempt => o.attempt, p_error => o.error, p_due_at => o.due_at, p_child_execution_id => o.child) end as details,
      case when not o.is_announced and o.outcome not in ('skipped', 'started') then o.began_at end as began_at,
      case when o.outcome = 'started' then o.began_at else p_state.now end as at,
      (o.edge is not null and o.iteration = -1)::integer as resolved,
      (o.outcome = 'completed' and o.iteration = -1)::integer as completed
    from outcomes as o
    where o.outcome <> 'started' or not o.is_announced
    union all
    select
      o.slot, (o.q * 64 + o.place) * 4 + 1, 1, 'log', coalesce(l.value ->> 'level', 'info'), o.id, l.value ->> 'message', null,
      null, p_state.now, 0, 0
    from outcomes as o
    cross join jsonb_array_elements(o.logs) as l
    where o.logs is not null
    union all
    select o.slot, -1, 1, 'execution_started', 'info', null, null, null, null, min(o.began_at), 0, 0
    from outcomes as o
    where not p_state.started_flags[o.slot]
    group by o.slot
  ),
  numbered as materialized (
    select f.*, (p_state.event_seqs[f.slot] + sum(f.width) over (partition by f.slot order by f.position))::integer as seq
    from facts as f
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, level, step, message, details)
    select
      p_state.tenant_ids[n.slot], p_state.execution_ids[n.slot], n.seq, n.at, n.began_at, n.type, n.level, n.step, n.message,
      n.details
    from numbered as n
    where n.width > 0
  ),
  totals as (
    select
      n.slot, max(n.seq) as last_seq, sum(n.resolved)::integer as resolved, sum(n.completed)::integer as completed,
      min(coalesce(n.began_at, n.at)) as began_at
    from numbered as n
    group by n.slot
  )
  select t.*, s.*
  into
    p_state.touched_slots, p_state.last_seqs, p_state.newly_resolved, p_state.newly_completed, p_state.began_at,
    p_state.lease_count, p_state.moving_slots, p_state.done_slots, p_state.done_queue_ids, p_state.frontier, p_state.outcomes
  from (
    select array_agg(t.slot), array_agg(t.last_seq), array_agg(t.resolved), array_agg(t.completed), array_agg(t.began_at)
    from totals as t
  ) as t
  cross join (
    select
      count(*) filter (where o.place = 0),
      array_agg(o.slot) filter (where o.outcome in ('started', 'lost')),
      array_agg(o.slot) filter (where o.place = 0 and o.edge is not null and o.iteration = -1),
      array_agg(o.q) filter (where o.place = 0 and o.edge is not null and o.iteration = -1),
      array_agg(
        row(o.slot, o.t, o.x, o.version_id, o.q, o.s, o.id, o.children, o.untaken, o.edge, o.outcome)::flowgres.resolved_step)
        filter (where o.edge is not null and o.iteration = -1 and not o.is_followed and o.children <> '{}'),
      array_agg(
        row(
          o.slot, o.t, o.x, o.q, o.version_id, o.s, o.iteration, o.attempt, o.generation, o.outcome, o.id, o.type, o.edge,
          o.untaken, o.is_unhandled, o.is_resumed, o.is_recorded, o.ready_at, o.began_at, o.due_at, o.child, o.output, o.error,
          o.detail)::flowgres.step_outcome)
        filter (where o.edge is null or o.is_recorded or o.error is not null or o.detail is not null)
    from outcomes as o
  ) as s;
end;
$$;
comment on function flowgres.record_outcomes(flowgres.step_report[], flowgres.advance_state) is $$Drop what the fence refuses, decide what each report means, write the steps that ended and the events

A failure becomes a retry when attempts are left and its class is one that the step retries. One statement: what it decides is
needed by several of its parts, and handing rows from statement to statement costs more than all else.$$;
