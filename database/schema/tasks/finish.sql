-- What workers say of the tasks that they have claimed: that they still work, what came of it, that it failed, or that they give it back.

set local role flowgres_owner;

create or replace function flowgres.find_task(p_task_id text)
  returns flowgres.tasks language plpgsql stable
as $$
declare
  v_task flowgres.tasks;
begin
  if p_task_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/' then
    select t.* into v_task
    from flowgres.tasks as t
    where t.tenant_id = flowgres.require_tenant() and t.execution_id = left(p_task_id, 36)::uuid and t.id = p_task_id;
  end if;
  if v_task.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'task_not_found', p_message => format('task %L does not exist', left(p_task_id, 200)),
      p_hint => 'claim_tasks returns task_id and token.');
  end if;
  perform flowgres.require_queue(p_queue => v_task.queue);
  return v_task;
end;
$$;
comment on function flowgres.find_task(text) is $$A task of the caller's tenant and of a queue that the caller serves; refuses all others.$$;

create or replace function flowgres.hold_task(p_task_id text, p_token bigint)
  returns flowgres.tasks language plpgsql
as $$
declare
  v_task flowgres.tasks := flowgres.find_task(p_task_id => p_task_id);
begin
  perform flowgres.require_read_committed();
  -- The execution first, as ever: who waits here holds nothing.
  perform from flowgres.executions as e
  where e.tenant_id = v_task.tenant_id and e.id = v_task.execution_id
  for no key update;
  perform from flowgres.work_queue as q
  where q.tenant_id = v_task.tenant_id and q.execution_id = v_task.execution_id and q.id = v_task.queue_id
    and q.token = p_token and q.waits_for like 'task:%' and q.resume ->> 'task_id' = p_task_id
  for update;
  if found then
    return flowgres.find_task(p_task_id => p_task_id);
  end if;
  v_task := flowgres.find_task(p_task_id => p_task_id);
  if v_task.token = p_token and v_task.finished_at is not null then
    -- It was said before.
    return v_task;
  end if;
  if v_task.finished_at is null and exists (
    select from flowgres.step_executions as s
    where s.tenant_id = v_task.tenant_id and s.execution_id = v_task.execution_id and s.step_index = v_task.step_index
      and s.iteration = v_task.iteration and s.status = 'cancelled')
  then
    perform flowgres.fail(
      p_status => 409, p_code => 'task_cancelled', p_message => format('task %s was cancelled', p_task_id),
      p_hint => 'Stop: nobody wants its result any more.');
  end if;
  perform flowgres.fail(
    p_status => 409, p_code => 'lease_lost', p_message => format('the lease of task %s is over', p_task_id),
    p_hint => 'It ran out, or somebody else has the task: stop, and claim the next one. extend_task keeps it.');
end;
$$;
comment on function flowgres.hold_task(text, bigint) is $$Lock a task that the caller has, under this token

One that is finished under this very token is returned too. Refuses with 409 lease_lost or task_cancelled.$$;

create or replace function flowgres.refuse_other_end(p_task flowgres.tasks)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.fail(
    p_status => 409, p_code => 'task_finished',
    p_message => format('task %s has %s already, with something else', p_task.id, p_task.status),
    p_hint => 'What was said first counts.');
end;
$$;
comment on function flowgres.refuse_other_end(flowgres.tasks) is $$Refuse what contradicts the end of a task.$$;

create or replace function flowgres.describe_task(p_task flowgres.tasks)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'task_id', p_task.id, 'token', p_task.token, 'execution_id', p_task.execution_id, 'queue', p_task.queue, 'status', p_task.status,
    'worker', p_task.worker, 'attempt', p_task.attempt, 'progress', p_task.progress, 'lease_until', p_task.lease_until);
$$;
comment on function flowgres.describe_task(flowgres.tasks) is $$What the calls about a task answer.$$;

create or replace function flowgres.end_task(p_task flowgres.tasks, p_status text, p_output jsonb, p_error jsonb)
  returns jsonb language plpgsql
as $$
declare
  v_task flowgres.tasks;
  v_now timestamptz := flowgres.now();
begin
  update flowgres.work_queue as q
  set
    due_at = null, waits_for = null, claimed_at = null, ready_at = v_now, rank = flowgres.next_rank(), is_new = false,
    -- For a runner again, who makes of it what the step says.
    capability = 'core', resume = jsonb_build_object('task_id', p_task.id, 'status', p_status)
  where q.tenant_id = p_task.tenant_id and q.execution_id = p_task.execution_id and q.id = p_task.queue_id;
  update flowgres.tasks as t
  set status = p_status, output = p_output, error = p_error, finished_at = v_now
  where t.tenant_id = p_task.tenant_id and t.execution_id = p_task.execution_id and t.id = p_task.id
  returning t.* into v_task;
  perform flowgres.wake_runners();
  return flowgres.describe_task(p_task => v_task);
end;
$$;
comment on function flowgres.end_task(flowgres.tasks, text, jsonb, jsonb) is $$Write down what came of a task, and have its step go on.$$;

create or replace function flowgres.read_task_error(p_error jsonb, p_retry boolean)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_error jsonb := case jsonb_typeof(p_error) when 'string' then jsonb_build_object('message', p_error) else p_error end;
begin
  if v_error is null or jsonb_typeof(v_error) <> 'object'
    or coalesce(jsonb_typeof(v_error -> 'message'), 'null') <> 'string' or length(v_error ->> 'message') not between 1 and 2000
    or v_error ? 'code' and coalesce(v_error ->> 'code', '') !~ '^[a-z][a-z0-9_]{0,62}$'
    or v_error ? 'retry_after' and jsonb_typeof(v_error -> 'retry_after') <> 'number'
  then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'error must say what happened, in at most 2000 characters',
      p_details => 'error', p_hint => 'A text, or {"message": "...", "code": "lower_case", "details": ..., "retry_after": seconds}.');
  end if;
  if octet_length((v_error -> 'details')::text) > 16384 then
    perform flowgres.fail(
      p_status => 413, p_code => 'payload_too_large', p_message => 'the details of the error are larger than 16384 bytes',
      p_details => 'error', p_hint => 'Store large data elsewhere and pass a reference.');
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'code', coalesce(v_error -> 'code', '"task_failed"'), 'message', v_error -> 'message', 'retry_after', v_error -> 'retry_after'))
    || case when v_error ? 'details' then jsonb_build_object('details', v_error -> 'details') else '{}' end
    || jsonb_build_object('retryable', coalesce(p_retry, true));
end;
$$;
comment on function flowgres.read_task_error(jsonb, boolean) is $$Why a task failed, in the form in which it is stored: {code, message, details, retry_after, retryable}.$$;

set local role flowgres_definer;

create or replace function flowgres.extend_task(p_task_id text, p_token bigint, p_lease_seconds double precision, p_progress jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_task flowgres.tasks;
  v_until timestamptz;
  v_now timestamptz;
begin
  perform flowgres.require_lease_seconds(p_seconds => p_lease_seconds);
  if octet_length(p_progress::text) > 4096 then
    perform flowgres.fail(
      p_status => 413, p_code => 'progress_too_large', p_message => 'progress is larger than 4096 bytes', p_details => 'progress',
      p_hint => 'Say how far it is: a number from 0 to 1, or a small object.');
  end if;
  v_task := flowgres.hold_task(p_task_id => p_task_id, p_token => p_token);
  v_now := flowgres.now();
  if v_task.finished_at is not null or v_task.ends_at <= v_now then
    perform flowgres.fail(
      p_status => 409, p_code => 'lease_lost', p_message => format('the time of task %s is over', p_task_id),
      p_hint => 'It is finished, or the timeout of its step has passed: stop, and claim the next one.');
  end if;
  v_until := least(v_now + make_interval(secs => coalesce(p_lease_seconds, v_task.lease_seconds)), v_task.ends_at);
  update flowgres.work_queue as q set due_at = v_until
  where q.tenant_id = v_task.tenant_id and q.execution_id = v_task.execution_id and q.id = v_task.queue_id;
  update flowgres.tasks as t
  set
    lease_until = v_until, progress = coalesce(p_progress, t.progress),
    progress_count = t.progress_count + (p_progress is not null and t.progress_count < 100)::integer
  where t.tenant_id = v_task.tenant_id and t.execution_id = v_task.execution_id and t.id = v_task.id
  returning t.* into v_task;
  -- Events are kept: as many as an attempt may log lines.
  if p_progress is not null and v_task.progress_count < 100 then
    perform flowgres.tell_of_task(
      p_tenant_id => v_task.tenant_id, p_execution_id => v_task.execution_id, p_type => 'task_progress',
      p_step => (
        select flowgres.step_label(s.step, s.iteration)
        from flowgres.step_executions as s
        where s.tenant_id = v_task.tenant_id and s.execution_id = v_task.execution_id and s.step_index = v_task.step_index
          and s.iteration = v_task.iteration),
      p_details => jsonb_build_object('worker', v_task.worker, 'progress', p_progress));
  end if;
  return flowgres.describe_task(p_task => v_task);
end;
$$;
comment on function flowgres.extend_task(text, bigint, double precision, jsonb) is $$Keep a task for longer, from now on, and say how far it is.$$;

create or replace function flowgres.complete_task(p_task_id text, p_token bigint, p_output jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_output jsonb := coalesce(p_output, 'null');
  v_most bigint := (flowgres.setting(flowgres.require_tenant(), 'max_output_bytes'))::bigint;
  v_task flowgres.tasks;
begin
  perform flowgres.check_payload(p_tenant_id => flowgres.require_tenant(), p_payload => v_output, p_what => 'the output');
  if pg_column_size(v_output) > v_most / 100 and octet_length(v_output::text) > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'output_too_large', p_message => format('the output is larger than %s bytes', v_most),
      p_details => 'output', p_hint => 'Store large data elsewhere and give a reference.');
  end if;
  v_task := flowgres.hold_task(p_task_id => p_task_id, p_token => p_token);
  if v_task.finished_at is null then
    return flowgres.end_task(p_task => v_task, p_status => 'completed', p_output => v_output, p_error => null);
  elsif v_task.output is distinct from v_output then
    perform flowgres.refuse_other_end(p_task => v_task);
  end if;
  return flowgres.describe_task(p_task => v_task);
end;
$$;
comment on function flowgres.complete_task(text, bigint, jsonb) is $$End a task with its output; the same again answers the same.$$;

create or replace function flowgres.fail_task(p_task_id text, p_token bigint, p_error jsonb, p_retry boolean)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_error jsonb := flowgres.read_task_error(p_error => p_error, p_retry => p_retry);
  v_task flowgres.tasks;
begin
  perform flowgres.check_payload(p_tenant_id => flowgres.require_tenant(), p_payload => v_error, p_what => 'the error');
  v_task := flowgres.hold_task(p_task_id => p_task_id, p_token => p_token);
  if v_task.finished_at is null then
    return flowgres.end_task(p_task => v_task, p_status => 'failed', p_output => null, p_error => v_error);
  elsif v_task.error is distinct from v_error then
    perform flowgres.refuse_other_end(p_task => v_task);
  end if;
  return flowgres.describe_task(p_task => v_task);
end;
$$;
comment on function flowgres.fail_task(text, bigint, jsonb, boolean) is $$End an attempt of a task as failed; whether another follows is the step's to say.$$;

create or replace function flowgres.return_tasks(p_tasks jsonb)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_task flowgres.tasks;
  v_count integer := 0;
begin
  for v_task in
    select t.*
    from jsonb_array_elements(p_tasks) as r (value)
    join flowgres.tasks as t
      on t.tenant_id = flowgres.require_tenant() and t.execution_id = left(r.value ->> 0, 36)::uuid and t.id = r.value ->> 0
        and t.token = (r.value ->> 1)::bigint
    where t.status = 'claimed'
    order by t.execution_id, t.queue_id
  loop
    perform flowgres.require_queue(p_queue => v_task.queue);
    perform from flowgres.executions as e
    where e.tenant_id = v_task.tenant_id and e.id = v_task.execution_id
    for no key update skip locked;
    continue when not found;
    update flowgres.work_queue as q
    set
      due_at = 'infinity', waits_for = 'worker:' || v_task.queue, claimed_at = null, rank = flowgres.next_rank(),
      resume = q.resume - 'ends_at'
    where q.tenant_id = v_task.tenant_id and q.execution_id = v_task.execution_id and q.id = v_task.queue_id
      and q.token = v_task.token and q.waits_for like 'task:%';
    continue when not found;
    update flowgres.tasks as t
    set status = 'waiting', worker = null, token = null, claimed_at = null, ends_at = null, lease_until = null
    where t.tenant_id = v_task.tenant_id and t.execution_id = v_task.execution_id and t.id = v_task.id;
    v_count := v_count + 1;
  end loop;
  return v_count;
end;
$$;
comment on function flowgres.return_tasks(jsonb) is $$Give tasks back that nobody has begun, as [[task, token], ...]; returns how many

For the front, whose caller went away before it had them. One whose execution is held stays, until its lease ends.$$;
