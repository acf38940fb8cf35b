-- Why executions do not move.

set local role flowgres_owner;

create or replace view flowgres_api.execution_why with (security_invoker = true) as
-- What has a row of the queue.
select
  q.tenant_id,
  q.execution_id,
  w.id as step,
  nullif(q.iteration, -1) as iteration,
  r.reason,
  d.since,
  d.detail,
  flowgres.helping_call(
    p_reason => r.reason, p_execution_id => q.execution_id, p_step => w.id, p_iteration => nullif(q.iteration, -1), p_detail => d.detail)
  as suggestion,
  flowgres.helping_command(
    p_reason => r.reason, p_execution_id => q.execution_id, p_step => w.id, p_iteration => nullif(q.iteration, -1), p_detail => d.detail)
  as command
from flowgres.work_queue as q
join flowgres.workflow_steps as w
  on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
cross join lateral (
  select flowgres.queue_reason(
    q.tenant_id, q.execution_id, q.runner_id, q.due_at, q.held, q.waits_for, q.capability, (select flowgres.now()),
    (select flowgres.serving_runners()), q.version_id, q.held_for, (select flowgres.standing_still())) as reason
) as r
-- The facts are looked up for rows that are shown with them, and for no others.
cross join lateral (
  select flowgres.explain_row(
    r.reason, q.tenant_id, q.execution_id, q.id, q.version_id, q.step_index, q.iteration, q.attempt - coalesce(q.past_attempts, 0),
    q.runner_id, q.due_at, q.ready_at, q.claimed_at, q.waits_for, q.capability) as found
  offset 0
) as x
cross join lateral (select (x.found).since, (x.found).detail) as d
where not flowgres.is_hidden(q.execution_id)
union all
-- Steps that nothing has come to yet: what they wait for has not ended.
select
  x.tenant_id,
  x.execution_id,
  w.id,
  null,
  'waits_for_steps',
  flowgres.uuid_v7_time(x.execution_id),
  jsonb_build_object('steps', (
    select coalesce(jsonb_agg(p.id order by p.index), '[]')
    from flowgres.workflow_steps as p
    where p.tenant_id = x.tenant_id and p.version_id = x.version_id and p.index = any(w.dependencies)
      and not exists (
        select from flowgres.step_executions as s
        where s.tenant_id = x.tenant_id and s.execution_id = x.execution_id and s.step_index = p.index and s.iteration = -1
          and s.finished_at is not null))),
  null,
  null
from (select distinct q.tenant_id, q.execution_id, q.version_id from flowgres.work_queue as q) as x
join flowgres.workflow_steps as w on w.tenant_id = x.tenant_id and w.version_id = x.version_id and w.section = 'steps'
where w.type <> 'outputs' and not flowgres.is_hidden(x.execution_id)
  and not exists (
    select from flowgres.work_queue as q
    where q.tenant_id = x.tenant_id and q.execution_id = x.execution_id and q.step_index = w.index)
  and not exists (
    select from flowgres.step_executions as s
    where s.tenant_id = x.tenant_id and s.execution_id = x.execution_id and s.step_index = w.index and s.iteration = -1
      and s.finished_at is not null)
union all
-- Those that will not move again by themselves.
select
  e.tenant_id,
  e.id,
  e.error ->> 'step',
  null,
  'ended',
  e.finished_at,
  jsonb_build_object('status', e.status, 'error', e.error),
  case when e.status = 'failed' then flowgres.helping_call(
    p_reason => 'ended', p_execution_id => e.id, p_step => null, p_iteration => null, p_detail => '{}') end,
  case when e.status = 'failed' then flowgres.helping_command(
    p_reason => 'ended', p_execution_id => e.id, p_step => null, p_iteration => null, p_detail => '{}') end
from flowgres.executions as e
where e.status in ('failed', 'cancelled') and not flowgres.is_hidden(e.id);

comment on view flowgres_api.execution_why is $$Why executions do not move

One row for each step that has not ended: why, since when, and the call that helps. An execution that failed or was cancelled has one row,
one that has completed none. Ask for one with execution_id=eq.ID; to list what is stuck, say reason=neq.ended.$$;
comment on column flowgres_api.execution_why.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.execution_why.execution_id is $$The execution$$;
comment on column flowgres_api.execution_why.step is $$The step's id in the definition; of an execution that failed the step whose error ended it$$;
comment on column flowgres_api.execution_why.iteration is $$Number of a foreach iteration, from 0; null for the step itself$$;
comment on column flowgres_api.execution_why.reason is $$Why it does not move, in a word

running, runner_silent, queued, runners_full, no_runner, scheduled, waits_for_steps, _retry, _timer, _child, _signal, _event, _first_of,
_callback, _approval, _task, _limit, _concurrency, _host, paused_execution, _workflow, _tenant, held, waits (what has no word of its own), or
ended.$$;
comment on column flowgres_api.execution_why.since is $$Since when$$;
comment on column flowgres_api.execution_why.detail is $$The facts: WHY.md lists them by reason$$;
comment on column flowgres_api.execution_why.suggestion is $$The request that helps; null when nothing has to be done, or nothing can be$$;
comment on column flowgres_api.execution_why.command is $$The same as a command$$;

create or replace function flowgres_api.execution_why(flowgres_api.executions)
  returns setof flowgres_api.execution_why language sql stable rows 5
as $$
  select x.* from flowgres_api.execution_why as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id;
$$;
comment on function flowgres_api.execution_why(flowgres_api.executions) is $$Why an execution does not move, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.execution_why)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.execution_why) is $$The execution that does not move, for embedding.$$;
