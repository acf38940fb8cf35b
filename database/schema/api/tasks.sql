-- Tasks, as their workers claim them and as people look at them.

set local role flowgres_definer;

create or replace function flowgres.count_tasks()
  returns table (tenant_id uuid, queue text, waiting bigint, claimed bigint)
  language sql stable security definer set search_path to pg_catalog, pg_temp rows 10
as $$
  -- What is open alone, from an index that has nothing else.
  select
    q.tenant_id, substr(q.capability, 6), count(*) filter (where not q.due_at < 'infinity'), count(*) filter (where q.due_at < 'infinity')
  from flowgres.work_queue as q
  where q.tenant_id = flowgres.tenant_id() and q.capability like 'task:%'
  group by q.tenant_id, q.capability;
$$;
comment on function flowgres.count_tasks() is $$How many tasks of the caller's tenant are open, by queue.$$;

set local role flowgres_owner;

create or replace view flowgres_api.tasks with (security_invoker = true) as
select
  t.id,
  t.tenant_id,
  t.execution_id,
  s.id as step,
  nullif(t.iteration, -1) as iteration,
  t.queue,
  case
    when q.waits_for like 'worker:%' then 'waiting'
    when q.waits_for like 'task:%' then 'claimed'
    when t.finished_at is not null then t.status
    when q.id is null and x.status = 'cancelled' then 'cancelled'
    else 'expired'
  end as status,
  t.worker,
  t.attempt,
  t.payload,
  t.progress,
  t.output,
  t.error,
  t.created_at,
  t.claimed_at,
  t.lease_until,
  t.finished_at
from flowgres.tasks as t
join flowgres.executions as e on e.tenant_id = t.tenant_id and e.id = t.execution_id
join flowgres.workflow_steps as s on s.tenant_id = e.tenant_id and s.version_id = e.version_id and s.index = t.step_index
left join flowgres.step_executions as x
  on x.tenant_id = t.tenant_id and x.execution_id = t.execution_id and x.step_index = t.step_index and x.iteration = t.iteration
left join flowgres.work_queue as q
  on q.tenant_id = t.tenant_id and q.execution_id = t.execution_id and q.id = t.queue_id and q.resume ->> 'task_id' = t.id;

comment on view flowgres_api.tasks is $$Tasks

What steps of the type task give to workers outside: one row a step, iteration and round, of its last attempt.$$;
comment on column flowgres_api.tasks.id is $$Identifier, the same for all attempts: an idempotency key for what a worker does$$;
comment on column flowgres_api.tasks.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.tasks.execution_id is $$The execution$$;
comment on column flowgres_api.tasks.step is $$The step's id in the definition$$;
comment on column flowgres_api.tasks.iteration is $$Number of a foreach iteration, from 0; null for the step itself$$;
comment on column flowgres_api.tasks.queue is $$Which workers it is for$$;
comment on column flowgres_api.tasks.status is $$waiting, claimed, completed, failed, expired (its lease ran out) or cancelled$$;
comment on column flowgres_api.tasks.worker is $$The worker that has or had it, as it calls itself$$;
comment on column flowgres_api.tasks.attempt is $$Number of the attempt, from 1$$;
comment on column flowgres_api.tasks.payload is $$What the worker is given$$;
comment on column flowgres_api.tasks.progress is $$What the worker last said of how far it is$$;
comment on column flowgres_api.tasks.output is $$What the worker gave$$;
comment on column flowgres_api.tasks.error is $$Why it failed, as the worker said$$;
comment on column flowgres_api.tasks.created_at is $$When this attempt was there to be claimed$$;
comment on column flowgres_api.tasks.claimed_at is $$When it was claimed$$;
comment on column flowgres_api.tasks.lease_until is $$When the lease ran or runs out$$;
comment on column flowgres_api.tasks.finished_at is $$When the worker was done with it$$;

create or replace view flowgres_api.task_queues with (security_invoker = true) as
select c.queue, c.tenant_id, c.waiting, c.claimed from flowgres.count_tasks() as c;

comment on view flowgres_api.task_queues is $$Queues of tasks

Those in which anything is open.$$;
comment on column flowgres_api.task_queues.queue is $$Name of the queue$$;
comment on column flowgres_api.task_queues.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.task_queues.waiting is $$Tasks that wait for a worker$$;
comment on column flowgres_api.task_queues.claimed is $$Tasks that a worker has$$;

create or replace function flowgres_api.claim_tasks(
  queue text, worker text, "limit" integer default 1, lease_seconds double precision default null
)
  returns setof jsonb language sql
as $$
  select flowgres.claim_tasks(p_queue => queue, p_worker => worker, p_limit => "limit", p_lease_seconds => lease_seconds);
$$;
comment on function flowgres_api.claim_tasks(text, text, integer, double precision) is $$Claim tasks

For workers. Takes up to limit (1 to 100) tasks of a queue for lease_seconds (1 to 86400; without it as the step says, a minute), by
priority, then by age; an empty list when none waits. worker is what the caller calls itself. The calls about a task name its task_id and
token. To wait for one: GET /tasks/{queue} of the front. Returns [{task_id, token, execution_id, workflow, step, iteration, attempt, payload,
lease_until}].$$;

create or replace function flowgres_api.extend_task(
  task_id text, token bigint, lease_seconds double precision default null, progress jsonb default null
)
  returns jsonb language sql
as $$
  select flowgres.extend_task(p_task_id => task_id, p_token => token, p_lease_seconds => lease_seconds, p_progress => progress);
$$;
comment on function flowgres_api.extend_task(text, bigint, double precision, jsonb) is $$Keep a task for longer

For the worker that has it: for lease_seconds from now on. progress is a number from 0 to 1, or any JSON of at most 4096 bytes, which
the view tasks and the events show. 409 lease_lost when it has it no more, 409 task_cancelled when nobody wants it any more. Returns
{task_id, token, execution_id, queue, status, worker, attempt, progress, lease_until}.$$;

create or replace function flowgres_api.complete_task(task_id text, token bigint, output jsonb default null)
  returns jsonb language sql
as $$ select flowgres.complete_task(p_task_id => task_id, p_token => token, p_output => output); $$;
comment on function flowgres_api.complete_task(text, bigint, jsonb) is $$Complete a task

For the worker that has it; output becomes that of the step. The same once more answers the same, anything else 409 task_finished; 409
lease_lost when it has it no more, 409 task_cancelled when nobody wants it any more. Returns {task_id, token, execution_id, queue,
status, worker, attempt, progress, lease_until}.$$;

create or replace function flowgres_api.fail_task(task_id text, token bigint, error jsonb, retry boolean default true)
  returns jsonb language sql
as $$ select flowgres.fail_task(p_task_id => task_id, p_token => token, p_error => error, p_retry => retry); $$;
comment on function flowgres_api.fail_task(text, bigint, jsonb, boolean) is $$Fail a task

For the worker that has it; error is a text, or {message, code, details, retry_after}. It is tried again as often as the step's
retry.attempts says, unless retry is false. The same once more answers the same; 409 lease_lost when it has it no more, 409
task_cancelled when nobody wants it any more. Returns {task_id, token, execution_id, queue, status, worker, attempt, progress,
lease_until}.$$;
