-- Advancing executions, first part: take the locks, check the fences, decide what each report means.

set local role flowgres_owner;

create or replace function flowgres.backoff_seconds(p_step flowgres.workflow_steps, p_attempt smallint, p_error jsonb)
  returns double precision language sql volatile set search_path to ''
as $$
  select greatest(
    b.bound * case when (p_step).retry_jitter then random() else 1 end,
    -- A longer Retry-After wins, but nobody makes us wait longer than an hour.
    case when jsonb_typeof(p_error -> 'retry_after') = 'number'
      then least((p_error ->> 'retry_after')::double precision, 3600) else 0 end)
  from (select least(
    (p_step).retry_delay_seconds * power((p_step).retry_factor, least(p_attempt - 1, 100)),
    (p_step).retry_max_delay_seconds) as bound) as b;
$$;
comment on function flowgres.backoff_seconds(flowgres.workflow_steps, smallint, jsonb) is $$Seconds until the next attempt: exponential, capped, with full jitter.$$;

create or replace function flowgres.untaken_children(p_step flowgres.workflow_steps, p_taken text[])
  returns smallint[] language sql stable set search_path to ''
as $$
  select array_agg(distinct w.index)
  from jsonb_each((p_step).branches) as b (name, targets)
  cross join jsonb_array_elements_text(b.targets) as t (index)
  join flowgres.workflow_steps as w
    on w.tenant_id = (p_step).tenant_id and w.version_id = (p_step).version_id and w.index = t.index::smallint
  where w.id <> all(coalesce(p_taken, '{}'));
$$;
comment on function flowgres.untaken_children(flowgres.workflow_steps, text[]) is $$Children listed on branches that were not taken.$$;

create or replace function flowgres.lock_executions(p_reports flowgres.step_report[], inout p_state flowgres.advance_state)
  language plpgsql set search_path to ''
as $$
begin
  -- In the order of their ids, as everywhere: then no two callers can wait for each other.
  -- NO KEY: a plain FOR UPDATE would conflict with the KEY SHARE of foreign keys.
  select
    array_agg(l.tenant_id), array_agg(l.id), array_agg(l.event_seq), array_agg(l.resolved_count),
    array_agg(l.total_count), array_agg(l.is_failing), array_agg(l.is_started),
    array_agg(l.status = 'running' and l.is_started and not l.is_failing)
  into
    p_state.tenant_ids, p_state.execution_ids, p_state.event_seqs, p_state.resolved_counts,
    p_state.total_counts, p_state.failing_flags, p_state.started_flags,
    p_state.plain_flags
  from (select distinct r.t, r.x from unnest(p_reports) as r order by r.x) as wanted
  cross join lateral (
    select
      e.tenant_id, e.id, e.event_seq, e.resolved_count::integer as resolved_count,
      e.step_count + e.hidden_step_count as total_count, e.is_failing, e.started_at is not null as is_started,
      e.finished_at, e.status
    from flowgres.executions as e
    where e.tenant_id = wanted.t and e.id = wanted.x
    for no key update
  ) as l
  where l.finished_at is null;
end;
$$;
comment on function flowgres.lock_executions(flowgres.step_report[], flowgres.advance_state) is $$Lock the executions of a batch and number them by slot.$$;

create or replace function flowgres.decide_outcomes(p_reports flowgres.step_report[], inout p_state flowgres.advance_state)
  language plpgsql set search_path to ''
as $$
declare
  v_now timestamptz := p_state.now;
begin
  with located as materialized (
    -- The slot of a report is the rank of its execution among the locked ones, which are sorted the same way.
    select r.*, dense_rank() over (order by r.x) as slot
    from unnest(p_reports) as r
    where r.x = any(p_state.execution_ids)
      -- A step that ended while its announcement still waited to be sent: the end says it all.
      and (r.o <> 'started' or not exists (
        select from unnest(p_reports) as f where f.x = r.x and f.q = r.q and f.k = r.k and f.o <> 'started'))
  ),
  held as materialized (
    -- The fence: the row must still be leased to this runner, under this token, for this step (a step run ahead is judged
    -- below by the one before it). It is not locked: a leased
    -- row is changed only under the lock of its execution, which we hold, or given back by its own runner.
    select
      l.*, coalesce(l.p, 0::smallint) as place, q.version_id, q.iteration, q.generation, q.priority, q.claimed_at,
      case when l.p > 0 then 1::smallint else q.attempt end as attempt,
      q.is_announced and coalesce(l.p, 0) = 0 as is_announced,
      case when l.p > 0 then v_now else q.ready_at end as ready_at,
      q.resume is not null and coalesce(l.p, 0) = 0 as is_resumed
    from located as l
    cross join lateral (
      select q.* from flowgres.work_queue as q
      -- Not "=": the index on runners must not be used to find a row by its key.
      where q.tenant_id = l.t and q.execution_id = l.x and q.id = l.q
        and q.runner_id is not distinct from p_state.runner_id and q.token = l.k and (q.step_index = l.s or l.p > 0)
      offset 0
    ) as q
  ),
  judged as (
    select
      h.*, w::flowgres.workflow_steps as step,
      case
        when h.o = 'failed' and h.attempt < w.max_attempts and (h.error ->> 'class') = any(w.retry_errors) then 'retrying'
        -- A step that took its runner with it is tried a few times whatever its own policy: the runner may not be its fault.
        when h.o = 'lost' and h.attempt + h.is_resumed::integer >= greatest(w.max_attempts, 3) then 'failed'
        when h.o in ('completed', 'skipped', 'failed', 'lost', 'suspended', 'child', 'started') then h.o
        else 'failed'
      end as outcome
    from held as h
    cross join lateral (
      select w.* from flowgres.workflow_steps as w
      where w.tenant_id = h.t and w.version_id = h.version_id and w.index = h.s
      offset 0
    ) as w
  ),
  linked as (
    -- A step run ahead counts when it hangs only on the one before it, and that one completed: then nothing but this report
    -- could have made it ready. What does not count is dropped, and its step becomes ready as ever.
    select j.*, j.place = 0 or bool_and(j.place = 0 or coalesce(
      j.outcome in ('completed', 'skipped', 'failed') and j.iteration = -1 and not p_state.failing_flags[j.slot]
      and (j.step).dependencies = array[j.before] and (j.step).join_rule <> 'failed' and j.before_leads_on, false)) over chain
      as is_linked
    from (
      select j.*, lag(j.s) over chain as before,
        lag(j.outcome = 'completed' and (j.step).branches is null and cardinality((j.step).children) = 1) over chain
        as before_leads_on
      from judged as j
      window chain as (partition by j.slot, j.q order by j.place)
    ) as j
    window chain as (partition by j.slot, j.q order by j.place)
  )
  select array_agg(
    row(
      j.slot, j.t, j.x, j.q, j.place, j.version_id, j.s, j.iteration, j.attempt, j.generation, j.outcome, (j.step).id, (j.step).type,
      (j.step).children,
      case when j.outcome = 'completed' and (j.step).branches is not null
        then flowgres.untaken_children(p_step => j.step, p_taken => j.taken) end,
      case j.outcome
        when 'completed' then 'taken'
        when 'skipped' then 'dead'
        when 'failed' then case (j.step).on_error when 'continue' then 'taken' when 'skip' then 'dead' else 'failed' end
      end,
      j.outcome = 'failed' and (j.step).on_error = 'fail' and not (j.step).failure_handled,
      j.is_announced, j.is_resumed,
      j.attempt > 1 or j.generation > 1 or j.is_announced or j.is_resumed
        or (j.step).join_rule in ('any', 'failed') or (j.step).gates <> '{}',
      j.ready_at,
      v_now - make_interval(secs => greatest(coalesce(j.ms, 0), 0) / 1000),
      case j.outcome
        when 'retrying' then v_now + make_interval(secs =>
          flowgres.backoff_seconds(p_step => j.step, p_attempt => j.attempt, p_error => j.error))
        when 'suspended' then case when j.seconds is null then 'infinity'
          else v_now + make_interval(secs => greatest(j.seconds, 0)) end
        when 'child' then 'infinity'
      end,
      j.priority, null::uuid,
      case when j.outcome = 'completed' then j."out" end,
      case when j.outcome in ('failed', 'retrying', 'lost') then coalesce(j.error, jsonb_build_object(
        'code', 'report_invalid', 'message', 'the runner sent no error', 'class', 'internal')) end,
      j.detail, j.logs, j.workflow, j.version, j.input
    )::flowgres.step_outcome order by j.slot, j.q, j.place)
  into p_state.outcomes
  from linked as j
  where j.is_linked;
  p_state := flowgres.summarise_outcomes(p_state => p_state);
end;
$$;
comment on function flowgres.decide_outcomes(flowgres.step_report[], flowgres.advance_state) is $$Drop what the fence refuses, and decide what each report means

A failure becomes a retry when attempts are left and its class is one that the step retries.$$;

create or replace function flowgres.summarise_outcomes(inout p_state flowgres.advance_state)
  language plpgsql set search_path to ''
as $$
begin
  select
    bool_or(o.outcome = 'child'),
    bool_or(o.is_unhandled),
    bool_or(o.edge is null or o.is_recorded),
    bool_or(o.outcome in ('failed', 'retrying', 'lost') or (o.outcome = 'completed' and o.detail is not null)),
    bool_or(o.logs is not null),
    bool_or(o.edge is null),
    bool_or(not p_state.started_flags[o.slot]),
    bool_or(o.place > 0),
    array_agg(o.slot) filter (where o.outcome in ('started', 'lost')),
    array_agg(
      row(o.slot, o.tenant_id, o.execution_id, o.version_id, o.queue_id, o.step_index, o.step, o.children, o.untaken,
        o.edge, o.outcome)::flowgres.resolved_step) filter (where o.edge is not null and o.iteration = -1)
  into
    p_state.has_children, p_state.has_unhandled, p_state.has_recorded, p_state.has_attempts, p_state.has_logs,
    p_state.has_parked, p_state.has_beginning, p_state.has_ahead, p_state.active_slots, p_state.resolved
  from unnest(p_state.outcomes) as o;
end;
$$;
comment on function flowgres.summarise_outcomes(flowgres.advance_state) is $$Say once what a batch contains, so that the statements that it does not need are left out.$$;

create or replace function flowgres.start_children(inout p_state flowgres.advance_state)
  language plpgsql set search_path to ''
as $$
declare
  v_outcome flowgres.step_outcome;
  v_workflow flowgres.workflows;
  v_version flowgres.workflow_versions;
  v_depth smallint;
  v_position integer := 0;
  v_message text;
  v_code text;
begin
  foreach v_outcome in array p_state.outcomes loop
    v_position := v_position + 1;
    continue when v_outcome.outcome <> 'child';
    begin
      select e.depth + 1 into v_depth
      from flowgres.executions as e where e.tenant_id = v_outcome.tenant_id and e.id = v_outcome.execution_id;
      if v_depth > (flowgres.setting(v_outcome.tenant_id, 'max_sub_workflow_depth'))::integer then
        perform flowgres.fail(
          p_status => 422, p_code => 'nesting_too_deep', p_message => format('level %s of sub-workflows is too deep', v_depth));
      end if;
      v_workflow := flowgres.find_workflow(p_tenant_id => v_outcome.tenant_id, p_workflow => v_outcome.workflow);
      v_version := flowgres.find_version(p_workflow => v_workflow, p_version => v_outcome.version);
      v_outcome.child_execution_id := flowgres.uuid_v7(p_state.now);
      perform flowgres.insert_executions(
        p_version => v_version,
        p_ids => array[v_outcome.child_execution_id],
        p_inputs => array[flowgres.check_input(p_inputs => v_version.inputs, p_input => coalesce(v_outcome.input, '{}'))],
        p_now => p_state.now,
        p_priority => v_outcome.priority,
        p_trigger_type => 'sub_workflow',
        p_created_by => 'execution:' || v_outcome.execution_id,
        p_depth => v_depth,
        p_parent_execution_id => v_outcome.execution_id,
        p_parent_step_index => v_outcome.step_index,
        p_parent_queue_id => v_outcome.queue_id);
    exception when others then
      -- What a user can cause here (no such workflow, bad input, too deep) ends this step and not its batch.
      get stacked diagnostics v_message = message_text, v_code = constraint_name;
      if sqlstate not like 'FG%' then
        raise;
      end if;
      v_outcome.child_execution_id := null;
      v_outcome.outcome := 'failed';
      v_outcome.due_at := null;
      v_outcome.error := jsonb_build_object('code', v_code, 'message', v_message, 'class', 'child');
      select
        case w.on_error when 'continue' then 'taken' when 'skip' then 'dead' else 'failed' end,
        w.on_error = 'fail' and not w.failure_handled
      into v_outcome.edge, v_outcome.is_unhandled
      from flowgres.workflow_steps as w
      where w.tenant_id = v_outcome.tenant_id and w.version_id = v_outcome.version_id and w.index = v_outcome.step_index;
    end;
    p_state.outcomes[v_position] := v_outcome;
  end loop;
  p_state := flowgres.summarise_outcomes(p_state => p_state);
end;
$$;
comment on function flowgres.start_children(flowgres.advance_state) is $$Start the child executions that sub_workflow steps ask for; a step whose child cannot start fails.$$;
