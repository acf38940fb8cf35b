-- What clients read of executions: history, overlaid with what work_queue knows of steps that are ready, leased or due.

set local role flowgres_owner;

create or replace view flowgres_api.executions with (security_invoker = true) as
select
  e.id,
  e.tenant_id,
  e.workflow_id,
  w.name as workflow_name,
  e.version,
  -- The stored status, as it is, so that its index serves the filter. A step that runs for long is recorded as running;
  -- step_executions shows the lease at once.
  e.status,
  e.input,
  e.output,
  e.error,
  e.priority,
  e.correlation_id,
  e.idempotency_key,
  e.trigger_type,
  e.parent_execution_id,
  e.replayed_from,
  e.generation,
  e.completed_count - (e.hidden_step_count > 0 and e.status = 'completed' and e.stop is null)::integer as steps_completed,
  e.step_count as total_steps,
  flowgres.progress_percent(e) as progress,
  e.created_by,
  e.scheduled_at,
  e.created_at,
  e.started_at,
  e.finished_at,
  extract(epoch from e.finished_at - e.started_at)::double precision as duration_seconds,
  e.version_id,
  e.depth,
  e.trigger,
  e.metadata,
  e.max_retries,
  e.timeout_seconds,
  e.deadline_at,
  e.phase,
  case when e.trigger_type = 'transition' then (e.trigger ->> 'instance_id')::uuid end as instance_id,
  case when e.status = 'paused' then e.paused_at end as paused_at,
  e.retry_count,
  case when e.status = 'retrying' and e.retry_at > flowgres.now() then e.retry_at end as retry_at
from flowgres.executions as e
left join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
-- Always true, and what the index for lists asks for: see executions_list_idx.
where e.created_at > '-infinity'::timestamptz and not flowgres.is_hidden(e.id);

comment on view flowgres_api.executions is $$Executions

Runnings of workflows. Embed workflows, workflow_versions, step_executions, attempts, execution_events, execution_why, approvals, tasks, instance_executions, parent, children, original, replays.$$;
comment on column flowgres_api.executions.id is $$Identifier, a UUID v7: sorting by it sorts by age$$;
comment on column flowgres_api.executions.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.executions.workflow_id is $$The workflow that runs$$;
comment on column flowgres_api.executions.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.executions.version is $$Version of the workflow that it started with and stays on$$;
comment on column flowgres_api.executions.status is $$queued, running, waiting, paused, retrying, completed, failed or cancelled$$;
comment on column flowgres_api.executions.input is $$What it was started with, defaults filled in$$;
comment on column flowgres_api.executions.output is $$Its result, once it has completed$$;
comment on column flowgres_api.executions.error is $$Why it failed: code, message, step$$;
comment on column flowgres_api.executions.priority is $$0 goes first, 9 last$$;
comment on column flowgres_api.executions.correlation_id is $$A name of the caller's to find it by$$;
comment on column flowgres_api.executions.idempotency_key is $$Key of the start: the same key gives the same execution$$;
comment on column flowgres_api.executions.trigger_type is $$What started it: api, sub_workflow, replay, ...$$;
comment on column flowgres_api.executions.parent_execution_id is $$The execution whose sub_workflow step started it$$;
comment on column flowgres_api.executions.replayed_from is $$The execution that it repeats$$;
comment on column flowgres_api.executions.generation is $$Counts retries of the whole execution, from 1$$;
comment on column flowgres_api.executions.steps_completed is $$Steps that have completed$$;
comment on column flowgres_api.executions.total_steps is $$Steps of its version$$;
comment on column flowgres_api.executions.progress is $$Percent of the steps that are done, skipped ones included, cancelled ones not; 100 only when completed$$;
comment on column flowgres_api.executions.created_by is $$Who started it: the token's subject, key:<prefix>, login:<name> or execution:<id>$$;
comment on column flowgres_api.executions.scheduled_at is $$When it was to begin, if later than its start call$$;
comment on column flowgres_api.executions.created_at is $$When the start was accepted$$;
comment on column flowgres_api.executions.started_at is $$When its first step began$$;
comment on column flowgres_api.executions.finished_at is $$When it ended$$;
comment on column flowgres_api.executions.duration_seconds is $$From started_at to finished_at$$;
comment on column flowgres_api.executions.version_id is $$Identifier of that version, in workflow_versions$$;
comment on column flowgres_api.executions.depth is $$Level of nesting; the root is 0$$;
comment on column flowgres_api.executions.trigger is $$What the trigger carried besides the input$$;
comment on column flowgres_api.executions.metadata is $$The caller's metadata$$;
comment on column flowgres_api.executions.max_retries is $$How often it is retried by itself after a failure that nothing handles$$;
comment on column flowgres_api.executions.retry_count is $$How often it was retried by itself since it was started, or retried by a person$$;
comment on column flowgres_api.executions.retry_at is $$When it is retried, while it waits for that; null otherwise$$;
comment on column flowgres_api.executions.timeout_seconds is $$Active time that it may take; waits do not count$$;
comment on column flowgres_api.executions.phase is $$run, or what follows a failure or a stop: always (only steps that join always still run), compensate, on_failure$$;
comment on column flowgres_api.executions.instance_id is $$The instance of a state machine whose transition started it$$;
comment on column flowgres_api.executions.paused_at is $$Since when it is paused; who did that, and why, is in execution_events$$;
comment on column flowgres_api.executions.deadline_at is $$When that time runs out; null while nothing runs$$;

create or replace view flowgres_api.step_executions with (security_invoker = true) as
select
  s.tenant_id,
  s.execution_id,
  s.step,
  nullif(s.iteration, -1) as iteration,
  s.type,
  case
    when q.id is null then s.status
    when q.runner_id is not null then 'running'
    when q.due_at is null then 'ready'
    when q.resume is not null or s.status = 'waiting' then 'waiting'
    else 'retrying'
  end as status,
  s.output,
  s.error,
  coalesce(greatest(q.attempt, s.attempts), s.attempts) as attempts,
  coalesce(s.ready_at, q.ready_at, s.started_at) as ready_at,
  coalesce(s.started_at, q.claimed_at) as started_at,
  s.finished_at,
  case when q.runner_id is null and isfinite(q.due_at) then q.due_at end as due_at,
  s.child_execution_id,
  coalesce(q.runner_id, s.runner_id) as runner_id,
  s.step_index,
  case
    when q.waits_for like 'worker:%' then format('waits for a worker of the queue %s', substr(q.waits_for, 8))
    when q.waits_for like 'task:%' then format('the worker %s has it', substr(q.waits_for, 6))
    when q.runner_id is null and q.due_at is null and q.id is not null then flowgres.unserved_reason(p_type => s.type)
  end as reason,
  s.round,
  case when q.runner_id is null then q.waits_for end as waits_for,
  s.reused_from
from flowgres.step_executions as s
left join flowgres.work_queue as q
  on q.tenant_id = s.tenant_id and q.execution_id = s.execution_id and q.step_index = s.step_index
    and q.iteration = s.iteration and s.finished_at is null
where s.type <> 'outputs' and not flowgres.is_hidden(s.execution_id)
union all
select
  q.tenant_id,
  q.execution_id,
  w.id,
  nullif(q.iteration, -1),
  w.type,
  case
    when q.runner_id is not null then 'running'
    when q.due_at is null then 'ready'
    when q.resume is not null then 'waiting'
    -- Nothing was recorded and no attempt was made: the start itself lies ahead.
    when q.attempt = 0 and coalesce(q.waits_for, '') <> 'retry' then 'waiting'
    else 'retrying'
  end,
  null,
  null,
  q.attempt,
  q.ready_at,
  q.claimed_at,
  null,
  case when q.runner_id is null and isfinite(q.due_at) then q.due_at end,
  null,
  q.runner_id,
  q.step_index,
  case when q.runner_id is null and q.due_at is null then flowgres.unserved_reason(p_type => w.type) end,
  null,
  case when q.runner_id is null then q.waits_for end,
  null
from flowgres.work_queue as q
join flowgres.workflow_steps as w
  on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
where w.type <> 'outputs' and not flowgres.is_hidden(q.execution_id) and not exists (
  select from flowgres.step_executions as s
  where s.tenant_id = q.tenant_id and s.execution_id = q.execution_id and s.step_index = q.step_index
    and s.iteration = q.iteration
);

comment on view flowgres_api.step_executions is $$Steps of executions

Steps that have begun to matter; one that still waits for its dependencies has no row. get_execution lists every step.$$;
comment on column flowgres_api.step_executions.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.step_executions.execution_id is $$The execution that it is a step of$$;
comment on column flowgres_api.step_executions.step is $$The step's id in the definition$$;
comment on column flowgres_api.step_executions.iteration is $$Number of a foreach iteration, from 0; null for the step itself$$;
comment on column flowgres_api.step_executions.type is $$Step type, such as http or transform$$;
comment on column flowgres_api.step_executions.status is $$ready, running, waiting, retrying, completed, failed, skipped or cancelled$$;
comment on column flowgres_api.step_executions.output is $$What it gave, once it has completed$$;
comment on column flowgres_api.step_executions.error is $$Its last error: code, message, class$$;
comment on column flowgres_api.step_executions.attempts is $$Attempts so far, the running one included$$;
comment on column flowgres_api.step_executions.ready_at is $$When its dependencies were met$$;
comment on column flowgres_api.step_executions.started_at is $$When its first attempt began$$;
comment on column flowgres_api.step_executions.finished_at is $$When it ended$$;
comment on column flowgres_api.step_executions.due_at is $$When it goes on: the next attempt, or the end of a delay, of the time that it waits, or of the lease of a worker$$;
comment on column flowgres_api.step_executions.child_execution_id is $$The execution that a sub_workflow step started$$;
comment on column flowgres_api.step_executions.runner_id is $$The runner that has it, or had it last$$;
comment on column flowgres_api.step_executions.step_index is $$Place of the step in its definition$$;
comment on column flowgres_api.step_executions.round is $$Of a step that repeats: the round that is under way, or how many it took$$;
comment on column flowgres_api.step_executions.reused_from is $$The execution in which it ended, when a replay took it over from there$$;
comment on column flowgres_api.step_executions.waits_for is $$What it waits for: a word with its key

start, retry, timer, child:<execution>, approval:<id>, signal:<name>/<key>, event:<name>, first_of:<these>, callback:<step>,
worker:<queue>, task:<worker>.$$;
comment on column flowgres_api.step_executions.reason is $$Why a ready step does not start, or who has it

No live runner serves its type, or none is alive; of a task, which queue it waits in, or which worker has it.$$;

create or replace view flowgres_api.attempts with (security_invoker = true) as
select
  a.tenant_id,
  a.execution_id,
  a.step,
  nullif(a.iteration, -1) as iteration,
  a.attempt,
  a.status,
  a.error,
  coalesce(a.detail ->> 'worker', flowgres.runner_name(a.runner_id)) as runner,
  a.started_at,
  a.finished_at,
  a.detail,
  a.generation,
  a.runner_id,
  a.round
from flowgres.attempts as a
where a.step <> '$outputs' and not flowgres.is_hidden(a.execution_id)
union all
-- A try that has nothing to add to its step's row is not stored twice.
select
  s.tenant_id,
  s.execution_id,
  s.step,
  nullif(s.iteration, -1),
  s.attempts,
  s.status,
  s.error,
  flowgres.runner_name(s.runner_id),
  s.started_at,
  s.finished_at,
  null,
  coalesce(s.generation, 1::smallint),
  s.runner_id,
  s.round
from flowgres.step_executions as s
where s.status in ('completed', 'failed') and s.attempts > 0 and s.type <> 'outputs' and not flowgres.is_hidden(s.execution_id)
  and not exists (
    select from flowgres.attempts as a
    where a.tenant_id = s.tenant_id and a.execution_id = s.execution_id and a.step_index = s.step_index
      and a.iteration = s.iteration and a.generation = coalesce(s.generation, 1) and a.attempt = s.attempts
      and a.finished_at >= s.started_at
  )
union all
select
  q.tenant_id,
  q.execution_id,
  w.id,
  nullif(q.iteration, -1),
  q.attempt,
  'running',
  null,
  flowgres.runner_name(q.runner_id),
  q.claimed_at,
  null,
  null,
  q.generation,
  q.runner_id,
  q.round
from flowgres.work_queue as q
join flowgres.workflow_steps as w
  on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
where q.runner_id is not null and w.type <> 'outputs' and not flowgres.is_hidden(q.execution_id);

comment on view flowgres_api.attempts is $$Attempts

Every try of every step, with its error and what it reported.$$;
comment on column flowgres_api.attempts.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.attempts.execution_id is $$The execution$$;
comment on column flowgres_api.attempts.step is $$The step's id in the definition$$;
comment on column flowgres_api.attempts.iteration is $$Number of a foreach iteration, from 0; null for the step itself$$;
comment on column flowgres_api.attempts.attempt is $$Number of the try, from 1$$;
comment on column flowgres_api.attempts.status is $$running, completed, failed, lost (its runner went away), cancelled, or discarded (cancelled, and its result came too late)$$;
comment on column flowgres_api.attempts.error is $$Why it failed: code, message, class$$;
comment on column flowgres_api.attempts.runner is $$Name of the runner that made it, or of the worker that had its task$$;
comment on column flowgres_api.attempts.started_at is $$When it began$$;
comment on column flowgres_api.attempts.finished_at is $$When it ended$$;
comment on column flowgres_api.attempts.detail is $$What the step type tells of a try, such as an HTTP request line and status; of the last failed one also request and response$$;
comment on column flowgres_api.attempts.generation is $$Generation of the execution$$;
comment on column flowgres_api.attempts.round is $$Of a step that repeats: the round that it belongs to$$;
comment on column flowgres_api.attempts.runner_id is $$Identifier of the runner that made it$$;

create or replace view flowgres_api.execution_events with (security_invoker = true) as
select v.tenant_id, v.execution_id, v.seq, v.type, v.level, v.step, v.message, v.details, v.actor, v.at
from flowgres.all_events as v
where not flowgres.is_hidden(v.execution_id);

comment on view flowgres_api.execution_events is $$Events of executions

Appended facts, numbered from 1 without gaps; logs of steps are among them (type log).$$;
comment on column flowgres_api.execution_events.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.execution_events.execution_id is $$The execution that it is a fact of$$;
comment on column flowgres_api.execution_events.seq is $$Number within the execution, from 1, without gaps$$;
comment on column flowgres_api.execution_events.type is $$What happened, such as step_completed$$;
comment on column flowgres_api.execution_events.level is $$debug, info, warning or error$$;
comment on column flowgres_api.execution_events.step is $$The step it happened to; null for the execution itself$$;
comment on column flowgres_api.execution_events.message is $$A sentence for people$$;
comment on column flowgres_api.execution_events.details is $$More, for programs$$;
comment on column flowgres_api.execution_events.actor is $$Who caused it, when somebody did$$;
comment on column flowgres_api.execution_events.at is $$When it happened$$;
