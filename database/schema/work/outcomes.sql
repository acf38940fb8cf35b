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

create or replace function flowgres.may_retry(p_error jsonb, p_retry_errors text[], p_attempt smallint, p_max_attempts smallint)
  returns boolean language sql immutable parallel safe
as $$
  -- The same definition and the same data fail the same way again: of these no policy makes a second attempt. A step type that
  -- says itself whether it may be tried again knows; what the step's policy then says is how often.
  select p_attempt < case when p_error ->> 'class' = 'lease_expired' then greatest(p_max_attempts, 3) else p_max_attempts end
    and case p_error -> 'retryable'
      when 'true' then true
      when 'false' then false
      else array[
        p_error ->> 'class', p_error #>> '{details,status}',
        -- 503 is one of 5xx, for whoever names that.
        substring(p_error #>> '{details,status}' from '^([1-5])[0-9]{2}$') || 'xx'] && p_retry_errors
    end
    and (p_error ->> 'class') not in ('definition', 'expression', 'validation');
$$;
comment on function flowgres.may_retry(jsonb, text[], smallint, smallint) is $$Whether a failure is tried again

Attempts are left, the step type says so or the step retries its class, status or class of statuses, and that class can pass.$$;

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
declare
  -- Variables of their own: an element of an array within a composite is read from a copy of all of it.
  v_event_seqs integer[] := p_state.event_seqs;
  v_started_flags boolean[] := p_state.started_flags;
  v_failing_flags boolean[] := p_state.failing_flags;
  v_tenant_ids uuid[] := p_state.tenant_ids;
  v_execution_ids uuid[] := p_state.execution_ids;
begin
  with located as materialized (
    -- The slot of a report is the rank of its execution among the locked ones, which are sorted the same way.
    select r.*, (dense_rank() over (order by r.x))::integer as slot
    from unnest(p_reports) as r
    where r.x = any(p_state.execution_ids)
      -- A step that ended while its announcement still waited to be sent: the end says it all.
      and (r.o <> 'started' or not exists (
        select from unnest(p_reports) as f where f.x = r.x and f.q = r.q and f.k = r.k and f.o <> 'started'))
    order by r.x, r.q
  ),
  held as materialized (
    -- The fence: the row must still be leased to this runner, under this token, for this step. It is locked: its own runner
    -- may be giving it back at this very moment, and then the report is passed over like one whose execution is held.
    select
      l.slot, l.t, l.x, l.q, l.s, l.o, l.ms, l."out", l.error, l.taken, l.detail, l.logs, l.seconds, l.ahead, l.child, l.waits,
      q.version_id, q.iteration, q.attempt, q.generation, q.is_announced, q.is_resumed, q.ready_at, q.round, q.past_attempts,
      q.overrides
    from located as l
    cross join lateral (
      select
        q.version_id, q.iteration, q.attempt, q.generation, q.is_announced, q.resume is not null as is_resumed, q.ready_at,
        q.round, q.past_attempts, q.overrides
      from flowgres.work_queue as q
      -- Not "=": the index on runners must not be used to find a row by its key.
      where q.tenant_id = l.t and q.execution_id = l.x and q.id = l.q
        and q.runner_id is not distinct from p_state.runner_id and q.token = l.k and q.step_index = l.s
      for update skip locked
    ) as q
  ),
  reported as (
    select
      h.slot, h.t, h.x, h.q, 0 as place, h.version_id, h.s, h.iteration, h.attempt, h.generation, h.is_announced, h.is_resumed,
      h.ready_at, h.o, h.ms, h."out", h.error, h.taken, h.detail, h.logs, h.seconds, h.child, h.waits, h.round, h.past_attempts,
      h.overrides
    from held as h
    union all
    select
      h.slot, h.t, h.x, h.q, a.place::integer, h.version_id, a.s, -1, 1::smallint, h.generation, false, false,
      p_state.now, a.o, a.ms, a."out", a.error, a.taken, a.detail, a.logs, null, null, null, null, null, null
    from held as h
    cross join lateral rows from (
      jsonb_to_recordset(h.ahead) as (
        s smallint, o text, ms double precision, "out" jsonb, error jsonb, taken text[], detail jsonb, logs jsonb)
    ) with ordinality as a (s, o, ms, "out", error, taken, detail, logs, place)
    where h.ahead is not null and h.iteration = -1 and not v_failing_flags[h.slot]
      and a.o in ('completed', 'skipped', 'failed')
  ),
  judged as (
    select
      r.*, w.*,
      case
        -- The list of a foreach; of an empty one nothing is to be done.
        when r.o = 'expand' and r.iteration = -1 and w.iterates is not null and jsonb_typeof(r."out") = 'array' then case
          when jsonb_array_length(r."out") < (w.iterates ->> 'at_least')::numeric then 'failed'
          when r."out" = '[]' then 'completed'
          else 'expand' end
        -- Whoever makes something else of a list does not know what it is.
        when r.iteration = -1 and w.iterates ? 'items' and r.o in ('completed', 'suspended', 'child', 'detached', 'moved', 'park')
          then 'failed'
        -- The same of rounds.
        when r.o = 'completed' then case when w.repeats is null then 'completed' else 'failed' end
        when r.o = 'enough' then 'completed'
        when r.o = 'again' and w.repeats is not null
          and coalesce(r.round, 1) < coalesce((w.repeats ->> 'max_times')::numeric, 100) and r.attempt < 32000 then 'again'
        when r.o = 'failed' and flowgres.may_retry(
          p_error => r.error, p_retry_errors => w.retry_errors, p_attempt => (r.attempt - coalesce(r.past_attempts, 0))::smallint, p_max_attempts => w.max_attempts)
          then 'retrying'
        -- A step that took its runner with it is tried a few times whatever its own policy: the runner may not be its fault.
        when r.o = 'lost' and r.attempt - coalesce(r.past_attempts, 0) + r.is_resumed::integer >= greatest(w.max_attempts, 3) then 'failed'
        when r.o in ('skipped', 'lost', 'suspended', 'child', 'detached', 'moved', 'park', 'started', 'cancelled') then r.o
        else 'failed'
      end as outcome
    from reported as r
    cross join lateral (
      select
        w.id, w.type, w.children, w.branches, w.next_index, w.failure_handled, w.join_rule, w.cancel_indexes, w.is_early, w.iterates,
        w.repeats,
        -- The step's policy, as far as nobody has said another one for this execution.
        coalesce(r.overrides ->> 'on_error', w.on_error) as on_error,
        coalesce((r.overrides ->> 'max_attempts')::smallint, w.max_attempts) as max_attempts,
        case when r.overrides ? 'retry_errors' then array(select jsonb_array_elements_text(r.overrides -> 'retry_errors'))
          else w.retry_errors end as retry_errors,
        coalesce((r.overrides ->> 'retry_delay_seconds')::double precision, w.retry_delay_seconds) as retry_delay_seconds,
        coalesce((r.overrides ->> 'retry_factor')::double precision, w.retry_factor) as retry_factor,
        coalesce((r.overrides ->> 'retry_max_delay_seconds')::double precision, w.retry_max_delay_seconds) as retry_max_delay_seconds,
        coalesce((r.overrides ->> 'retry_jitter')::boolean, w.retry_jitter) as retry_jitter,
        coalesce((r.overrides ->> 'timeout_seconds')::double precision, w.timeout_seconds) as timeout_seconds
      from flowgres.workflow_steps as w
      where w.tenant_id = r.t and w.version_id = r.version_id and w.index = r.s
      offset 0
    ) as w
  ),
  linked as (
    -- A step run ahead counts when it hangs on the one before it alone, and that one completed: then nothing but this report
    -- could have made it ready. What does not count is dropped, and so is one that is to be tried again: its step becomes
    -- ready as ever.
    select
      k.*, bool_and(k.follows) over chain as is_linked, lead(k.follows) over chain is true as is_followed
    from (
      select
        j.*,
        j.place = 0 or coalesce(
          j.outcome <> 'retrying'
          and j.s = lag(case when j.outcome = 'completed' then j.next_index end) over (partition by j.q order by j.place), false)
        as follows
      from judged as j
    ) as k
    window chain as (partition by k.q order by k.place)
  ),
  cancelling as materialized (
    select c.slot, c.q, c.cancel_indexes
    from (
      select jsonb_agg(jsonb_build_array(l.slot, l.q, l.s, l.cancel_indexes) order by l.slot, l.q, l.place) as given
      from linked as l
      where l.is_linked and l.outcome = 'completed' and l.iteration = -1 and l.cancel_indexes <> '{}'
    ) as g
    cross join lateral flowgres.standing_cancels(p_given => g.given) as c
    -- Mostly there are none.
    where g.given is not null
  ),
  outcomes as materialized (
    select
      l.slot, l.t, l.x, l.q, l.place, l.version_id, l.s, l.iteration, l.attempt, l.generation, l.outcome, l.id, l.type,
      l.join_rule, l.children, l.cancel_indexes, l.is_followed, e.edge,
      -- A condition that failed and goes on has taken no branch; what hangs on it outside of its branches sees a taken edge.
      case when l.branches is not null and e.edge = 'taken' then flowgres.untaken_children(
        p_tenant_id => l.t, p_version_id => l.version_id, p_branches => l.branches,
        p_taken => case when l.outcome = 'completed' then l.taken end) end as untaken,
      l.outcome = 'failed' and l.on_error = 'fail' and not l.failure_handled and l.iteration = -1 as is_unhandled,
      l.is_announced, l.is_resumed,
      -- The step has a row already: it was tried, announced, suspended, or marked because it was decided early.
      l.attempt > 1 or l.generation > 1 or l.is_announced or l.is_resumed or l.is_early or l.repeats is not null as is_recorded,
      case when l.repeats is not null and (l.iterates is null or l.iteration >= 0) then coalesce(l.round, 1) end as round,
      l.ready_at,
      p_state.now - make_interval(secs => greatest(coalesce(l.ms, 0), 0) / 1000) as began_at,
      case l.outcome
        when 'retrying' then p_state.now + make_interval(secs => flowgres.backoff_seconds(
          p_delay_seconds => l.retry_delay_seconds, p_factor => l.retry_factor,
          p_max_delay_seconds => l.retry_max_delay_seconds, p_has_jitter => l.retry_jitter,
          p_attempt => (l.attempt - coalesce(l.past_attempts, 0))::smallint,
          p_error => l.error))
        when 'suspended' then case when l.seconds is null then 'infinity'
          else p_state.now + make_interval(secs => greatest(l.seconds, 0)) end
        when 'child' then coalesce(p_state.now + make_interval(secs => l.timeout_seconds), 'infinity')
        -- What it is bounded by is the whole wait. Of a step that has sent a request the timeout was that of the request; of a task it
        -- is what a worker may take, from its claim.
        when 'park' then coalesce(p_state.now + make_interval(
          secs => case when l.waits like any('{callback:%,worker:%}') then l.seconds else least(l.seconds, l.timeout_seconds) end), 'infinity')
        when 'again' then p_state.now + make_interval(secs => nullif((l.repeats ->> 'delay')::double precision, 0))
      end as due_at,
      l.child, l.waits,
      case when l.outcome in ('completed', 'expand', 'again', 'moved', 'park') then l."out" end as output,
      case when l.outcome in ('failed', 'retrying', 'lost') then coalesce(l.error, case
        when l.o = 'expand' then jsonb_build_object(
          'code', 'too_few_items', 'class', 'validation', 'message', format(
            'the list has %s items, and at_least asks for %s', jsonb_array_length(l."out"), l.iterates ->> 'at_least'))
        when l.repeats is not null and l.o = 'again' and l.attempt >= 32000 then jsonb_build_object(
          'code', 'too_many_attempts', 'class', 'repeat', 'message', 'the rounds of this step took 32,000 attempts',
          'hint', 'Let a sub_workflow do a part of the rounds.')
        when l.repeats is not null and l.o = 'again' then jsonb_build_object(
          'code', 'repeat_exhausted', 'class', 'repeat', 'message', format(
            'after %s rounds until is still not true', coalesce(l.round, 1)),
          'hint', 'Raise max_times, or set on_error if that may be.', 'details', jsonb_build_object('rounds', coalesce(l.round, 1)))
        when l.repeats is not null and l.o = 'completed' then jsonb_build_object(
          'code', 'runner_outdated', 'class', 'internal', 'message', 'the runner of this step does not know repeat',
          'hint', 'Upgrade all runners.')
        when l.iterates is not null then jsonb_build_object(
          'code', 'runner_outdated', 'class', 'internal', 'message', 'the runner of this step does not know foreach',
          'hint', 'Upgrade all runners.') end,
        jsonb_build_object('code', 'report_invalid', 'message', 'the runner sent no error', 'class', 'internal')) end as error,
      l.detail, n.logs,
      -- Its events: the start, unless somebody has told of it; the lines it logged; the outcome itself. The hidden outputs step
      -- has events only when it fails.
      case when l.type = 'outputs' and l.outcome <> 'failed' then 0
        else (not l.is_announced and l.outcome not in ('skipped', 'started', 'cancelled'))::integer end as start_count,
      case when l.type = 'outputs' and l.outcome <> 'failed' then 0 else coalesce(jsonb_array_length(n.logs), 0) end as log_count,
      case when l.type = 'outputs' and l.outcome <> 'failed' or l.outcome = 'started' and l.is_announced then 0 else 1 end
      as end_count
    from linked as l
    cross join lateral (
      select case
        when l.outcome = 'completed' then 'taken'
        when l.outcome in ('skipped', 'cancelled') then 'dead'
        -- What a failed iteration means its step decides, with all of them.
        when l.outcome = 'failed' and l.iteration >= 0 then 'failed'
        when l.outcome = 'failed' then case l.on_error when 'continue' then 'taken' when 'skip' then 'dead' else 'failed' end
      end as edge
    ) as e
    cross join lateral (select case when jsonb_typeof(l.logs) = 'array' then l.logs end as logs) as n
    -- Of two of the same batch of which one cancels the other, the one that is older in the queue is first: what is said of the other
    -- is passed over, and when it is said again its lease is gone.
    where l.is_linked and (not l.is_early or not exists (
      select from cancelling as c where c.slot = l.slot and c.q < l.q and l.s = any(c.cancel_indexes)))
  ),
  numbered as materialized (
    select
      o.*, (v_event_seqs[o.slot] + (not v_started_flags[o.slot])::integer
        + sum(o.start_count + o.log_count + o.end_count) over (partition by o.slot order by o.q, o.place))::integer as seq,
      -- The row of a step that ended at its first report tells when it began and ended; whatever else there is to tell has rows.
      o.edge is null or o.is_recorded or o.log_count > 0 as is_logged
    from outcomes as o
  ),
  written as (
    -- Inserting where a row may exist costs more, and most steps end at their first report.
    insert into flowgres.step_executions (
      tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, untaken, runner_id, ready_at,
      started_at, finished_at, output, error, seq, is_logged)
    select
      n.t, n.x, n.s, n.iteration, n.attempt, n.id, n.type, n.outcome, n.edge, n.untaken, p_state.runner_id, n.ready_at,
      case when n.outcome not in ('skipped', 'cancelled') then n.began_at end, p_state.now, n.output, n.error,
      case when n.end_count > 0 then n.seq end, nullif(n.is_logged, false)
    from numbered as n
    where n.edge is not null and not n.is_recorded
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, began_at, type, level, step, message, details)
    select
      n.t, n.x, v.seq, v.at, v.began_at, v.type, v.level, flowgres.step_label(n.id, n.iteration), v.message, v.details
    from numbered as n
    cross join lateral (
      select
        n.seq, case when n.outcome = 'started' then n.began_at else p_state.now end as at,
        case when n.start_count > 0 and n.log_count = 0 then n.began_at end as began_at,
        case when n.outcome = 'expand' then 'step_expanded' when n.outcome in ('suspended', 'child', 'detached', 'moved', 'park') then 'step_waiting'
          when n.outcome = 'again' then 'step_repeated' else 'step_' || n.outcome end as type,
        case when n.outcome = 'failed' then 'error' when n.outcome in ('retrying', 'lost') then 'warning' else 'info' end as level,
        n.error ->> 'message' as message,
        case
          when n.outcome = 'expand' then jsonb_build_object('items', jsonb_array_length(n.output))
          when n.outcome = 'again' then jsonb_strip_nulls(jsonb_build_object('round', n.round, 'due_at', n.due_at))
          when n.error is not null or n.due_at is not null or n.child is not null then flowgres.describe_outcome(
            p_attempt => n.attempt, p_error => n.error, p_due_at => n.due_at, p_child_execution_id => n.child)
            || case when n.outcome = 'park' then jsonb_build_object('waits_for', n.waits) else '{}' end end as details
      union all
      select n.seq - n.log_count - 1, n.began_at, null, 'step_started', 'info', null, null
      where n.start_count > 0 and n.log_count > 0
      union all
      select
        n.seq - n.log_count - 1 + l.line::integer, p_state.now, null, 'log', coalesce(l.value ->> 'level', 'info'),
        l.value ->> 'message', null
      from jsonb_array_elements(n.logs) with ordinality as l (value, line)
    ) as v
    where n.is_logged and n.end_count > 0
  ),
  begun as (
    -- The first event of all needs no row either: it is number 1, at the moment when the execution started.
    insert into flowgres.events (tenant_id, execution_id, seq, at, type)
    select v_tenant_ids[b.slot], v_execution_ids[b.slot], v_event_seqs[b.slot] + 1, b.began_at, 'execution_started'
    from (select o.slot, min(o.began_at) as began_at from outcomes as o group by o.slot) as b
    where not v_started_flags[b.slot] and v_event_seqs[b.slot] > 0
  ),
  totals as (
    select
      n.slot, max(n.seq) as last_seq, count(*) filter (where n.edge is not null and n.iteration = -1) as resolved,
      count(*) filter (where n.outcome = 'completed' and n.iteration = -1) as completed, min(n.began_at) as began_at,
      count(*) as report_count
    from (
      select n.slot, n.seq, n.edge, n.outcome, n.iteration, n.began_at from numbered as n
      union all
      -- Those whose reports were all refused have their place in the arrays as well.
      select s.slot, v_event_seqs[s.slot], null, null, null, null from generate_subscripts(p_state.execution_ids, 1) as s (slot)
    ) as n
    group by n.slot
  )
  select t.*, s.*
  into
    p_state.touched_slots, p_state.last_seqs, p_state.newly_resolved, p_state.newly_completed, p_state.began_at,
    p_state.held_queue_ids, p_state.lease_count, p_state.moving_slots, p_state.done_slots, p_state.done_queue_ids,
    p_state.frontier, p_state.outcomes
  from (
    select
      array_agg(t.slot order by t.slot) filter (where t.report_count > 1), array_agg(t.last_seq order by t.slot),
      array_agg(t.resolved::integer order by t.slot), array_agg(t.completed::integer order by t.slot),
      array_agg(t.began_at order by t.slot)
    from totals as t
  ) as t
  cross join (
    select
      array_agg(n.q) filter (where n.place = 0), count(*) filter (where n.place = 0 and n.outcome <> 'started'),
      array_agg(n.slot) filter (where n.outcome in ('started', 'lost', 'detached', 'moved') or n.outcome = 'again' and n.due_at is null),
      array_agg(n.slot) filter (where n.place = 0 and n.edge is not null),
      array_agg(n.q) filter (where n.place = 0 and n.edge is not null),
      array_agg(flowgres.make_resolved_step(
        p_slot => n.slot, p_queue_id => n.q, p_step_index => n.s, p_step => n.id, p_join_rule => n.join_rule,
        p_children => n.children, p_untaken => n.untaken, p_edge => n.edge, p_outcome => n.outcome))
        filter (where n.edge is not null and n.iteration = -1 and not n.is_followed and n.children <> '{}'),
      array_agg(flowgres.make_step_outcome(
        p_slot => n.slot, p_tenant_id => n.t, p_execution_id => n.x, p_queue_id => n.q, p_step_index => n.s,
        p_iteration => n.iteration, p_attempt => n.attempt, p_generation => n.generation, p_outcome => n.outcome,
        p_step => n.id, p_step_type => n.type, p_join_rule => n.join_rule, p_edge => n.edge, p_untaken => n.untaken,
        p_is_unhandled => n.is_unhandled, p_is_resumed => n.is_resumed, p_is_recorded => n.is_recorded, p_seq => n.seq,
        p_ready_at => n.ready_at, p_began_at => n.began_at, p_due_at => n.due_at,
        p_waits_for => case n.outcome
          when 'retrying' then 'retry' when 'suspended' then 'timer' when 'child' then 'child:' || n.child when 'park' then n.waits
          when 'again' then case when n.due_at is not null then 'round' end end,
        p_child_execution_id => n.child,
        -- An iteration that was written as it is has no more to say than that it ended.
        p_output => case when n.iteration = -1 or n.is_recorded or n.outcome in ('moved', 'park') then n.output end, p_error => n.error, p_detail => n.detail,
        p_cancels => n.cancel_indexes, p_round => n.round))
        filter (where n.edge is null or n.is_recorded or n.error is not null or n.detail is not null or n.type = 'stop'
          or n.iteration >= 0 or n.cancel_indexes <> '{}' or n.outcome in ('skipped', 'cancelled') and n.join_rule = 'failed')
    from numbered as n
  ) as s;
end;
$$;
comment on function flowgres.record_outcomes(flowgres.step_report[], flowgres.advance_state) is $$Drop what the fence refuses, decide what each report means, write the steps that ended and the events

A failure becomes a retry when attempts are left and its class is one that the step retries. One statement: what it decides is
needed by several of its parts, and handing rows from statement to statement costs more than all else.$$;
