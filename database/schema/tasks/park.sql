-- Tasks: what a runner rendered is put where workers outside find it.
--
-- The row of the step in the queue is parked, and due at no time: so it is nothing that a runner's claim could see, however many there
-- are. A worker's claim parks it until the lease ends (waits_for task:<worker>). What the worker says, or that the lease has run out,
-- makes it ready for a runner, who makes an outcome of it like any other.

set local role flowgres_owner;

create or replace function flowgres.task_id(
  p_execution_id uuid, p_step text, p_iteration integer, p_round integer
)
  returns text language sql immutable parallel safe
as $$
  select p_execution_id || '/' || p_step || case when p_iteration >= 0 then '/' || p_iteration else '' end
    || case when p_round is not null then '/r' || p_round else '' end;
$$;
comment on function flowgres.task_id(uuid, text, integer, integer) is $$What a task is called: the idempotency key of its step, which all attempts share.$$;

create or replace function flowgres.open_tasks(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[]
)
  language plpgsql
as $$
declare
  v_task record;
begin
  for v_task in
    select
      n.place, r.t as tenant_id, r.x as execution_id, r.q as queue_id, r.s as step_index, q.iteration, q.attempt,
      coalesce((q.overrides ->> 'timeout_seconds')::double precision, w.timeout_seconds) as timeout_seconds,
      r.input ->> 'queue' as queue, coalesce(r.input -> 'payload', 'null') as payload,
      coalesce((r.input ->> 'lease')::double precision, 60) as lease_seconds,
      flowgres.task_id(
        p_execution_id => r.x, p_step => w.id, p_iteration => q.iteration,
        p_round => case when w.repeats is not null and (w.iterates is null or q.iteration >= 0) then coalesce(q.round, 1) end) as id
    from unnest(p_places) as n (place)
    cross join lateral (select (p_reports[n.place]).*) as r
    join flowgres.work_queue as q on q.tenant_id = r.t and q.execution_id = r.x and q.id = r.q
    join flowgres.workflow_steps as w on w.tenant_id = r.t and w.version_id = q.version_id and w.index = r.s
    order by r.x, r.q
  loop
    if v_task.queue is null or v_task.queue !~ '^[a-z][a-z0-9_-]{0,62}$' then
      p_reports[v_task.place].o := 'failed';
      p_reports[v_task.place].error := jsonb_build_object(
        'code', 'config_invalid', 'class', 'validation', 'message', 'queue is not the name of a queue',
        'hint', 'A lower-case letter, then letters, digits, - and _, 63 at most.');
      continue;
    end if;
    insert into flowgres.tasks as t (
      tenant_id, execution_id, id, step_index, iteration, queue_id, queue, payload, lease_seconds, timeout_seconds, attempt,
      created_at, status)
    values (
      v_task.tenant_id, v_task.execution_id, v_task.id, v_task.step_index, v_task.iteration, v_task.queue_id, v_task.queue,
      v_task.payload, v_task.lease_seconds, v_task.timeout_seconds, v_task.attempt, p_state.now, 'waiting')
    on conflict (tenant_id, execution_id, id) do update
    set
      queue_id = excluded.queue_id, queue = excluded.queue, payload = excluded.payload, lease_seconds = excluded.lease_seconds,
      timeout_seconds = excluded.timeout_seconds, attempt = excluded.attempt, created_at = excluded.created_at, status = 'waiting',
      worker = null, token = null, claimed_at = null, ends_at = null, lease_until = null, progress = null, progress_count = 0,
      output = null, error = null, finished_at = null;
    p_reports[v_task.place].waits := 'worker:' || v_task.queue;
    p_reports[v_task.place]."out" := jsonb_build_object('task_id', v_task.id);
  end loop;
end;
$$;
comment on function flowgres.open_tasks(flowgres.advance_state, flowgres.step_report[], integer[]) is $$Write down what workers are to do, for the steps that ask for it

The row of the queue says whose work it is, and is resumed with the id of the task.$$;

create or replace function flowgres.read_task(p_tenant_id uuid, p_resume jsonb, p_most bigint)
  returns jsonb language plpgsql stable
as $$
begin
  return coalesce((
    select case
      when flowgres.weight_of(t.output) > p_most and current_setting('flowgres.fetches_resumes', true) = 'on' then '"left"'
      else p_resume || jsonb_build_object(
        'output', t.output, 'error', t.error, 'worker', t.worker, 'claimed_at', t.claimed_at, 'lease_until', t.lease_until) end
    from flowgres.tasks as t
    where t.tenant_id = p_tenant_id and t.execution_id = left(p_resume ->> 'task_id', 36)::uuid and t.id = p_resume ->> 'task_id'),
    p_resume);
end;
$$;
comment on function flowgres.read_task(uuid, jsonb, bigint) is $$What the step of a task goes on with: what its worker said. See read_resume.$$;
