-- Workers claim tasks of a queue: each the caller's tenant's own, fenced by a token that grows with every claim.
--
-- Who has the row of a step in the queue has the lock of its execution as well: the engine passes such an execution over, and waits
-- for nobody, however long the transaction of a caller stays open.

set local role flowgres_owner;

create or replace function flowgres.require_queue(p_queue text)
  returns text language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_queue is null or p_queue !~ '^[a-z][a-z0-9_-]{0,62}$' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'queue must be the name of a queue', p_details => 'queue',
      p_hint => 'A lower-case letter, then letters, digits, - and _, 63 at most.');
  end if;
  -- Only those who have authenticated somebody are believed; a login of one's own serves what its tenant has.
  if session_user in ('flowgres_authenticator', 'flowgres_front') and current_setting('role') = 'flowgres_worker'
    and not coalesce(nullif(current_setting('flowgres.roles', true), ''), '[]')::jsonb ? ('queue:' || p_queue)
  then
    perform flowgres.fail(
      p_status => 403, p_code => 'queue_not_served', p_message => format('this worker does not serve the queue %s', p_queue),
      p_details => 'queue', p_hint => 'Make a key for it: create_api_key with role worker and queues.');
  end if;
  return p_queue;
end;
$$;
comment on function flowgres.require_queue(text) is $$The name of a queue; refuses one that the caller does not serve.$$;

create or replace function flowgres.require_lease_seconds(p_seconds double precision)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if not p_seconds between 1 and 86400 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'lease_seconds must lie between 1 and 86400 (a day)',
      p_details => 'lease_seconds', p_hint => 'For longer: extend_task again and again.');
  end if;
end;
$$;
comment on function flowgres.require_lease_seconds(double precision) is $$Refuse a lease that is too short or too long; null is the one that the step has.$$;

create or replace function flowgres.tell_of_task(p_tenant_id uuid, p_execution_id uuid, p_step text, p_type text, p_details jsonb)
  returns void language plpgsql
as $$
declare
  v_seq integer;
  v_now timestamptz := flowgres.now();
begin
  update flowgres.executions as e set event_seq = e.event_seq + 1
  where e.tenant_id = p_tenant_id and e.id = p_execution_id
  returning e.event_seq into v_seq;
  insert into flowgres.events (tenant_id, execution_id, seq, at, type, step, details, actor)
  values (p_tenant_id, p_execution_id, v_seq, v_now, p_type, p_step, p_details, flowgres.actor());
  perform flowgres.tell_streams(
    p_tenant_ids => array[p_tenant_id], p_execution_ids => array[p_execution_id], p_event_seqs => array[v_seq - 1], p_now => v_now);
end;
$$;
comment on function flowgres.tell_of_task(uuid, uuid, text, text, jsonb) is $$Add an event of a task; the caller holds the lock of the execution.$$;

create or replace function flowgres.pick_tasks(p_tenant_id uuid, p_queue text, p_limit integer, p_paused uuid[] default null)
  returns tid[] language plpgsql
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off set jit to off
as $$
begin
  return array(
    select l.place
    from (
      select q.ctid as place, q.tenant_id, q.execution_id
      from flowgres.work_queue as q
      where q.tenant_id = p_tenant_id and q.capability = 'task:' || p_queue and q.capability like 'task:%'
        and (q.due_at < 'infinity') is false and not q.held and (p_paused is null or q.version_id <> all(p_paused))
      order by q.priority, q.rank
      -- No more than this are passed by because somebody else is just taking them.
      limit 1000
    ) as c
    cross join lateral (
      select e.id from flowgres.executions as e
      where e.tenant_id = c.tenant_id and e.id = c.execution_id and e.finished_at is null
      for no key update skip locked
    ) as e
    cross join lateral (
      select q.ctid as place from flowgres.work_queue as q
      where q.ctid = c.place and q.tenant_id = p_tenant_id and q.capability = 'task:' || p_queue and q.due_at = 'infinity' and not q.held
      for update skip locked
    ) as l
    limit p_limit);
end;
$$;
comment on function flowgres.pick_tasks is $$Lock tasks of a queue that wait, the first in their order whose executions nobody holds

p_paused are versions whose workflow stands still.$$;

create or replace function flowgres.await_task(p_tenant_id uuid, p_queue text)
  returns boolean language plpgsql
  set lock_timeout to '500ms' set enable_seqscan to off set enable_bitmapscan to off set enable_sort to off set jit to off
as $$
declare
  v_id uuid;
begin
  -- Nothing else is held: to wait for one execution makes no circle.
  select q.execution_id into v_id
  from flowgres.work_queue as q
  where q.tenant_id = p_tenant_id and q.capability = 'task:' || p_queue and q.capability like 'task:%'
    and (q.due_at < 'infinity') is false and not q.held
  order by q.priority, q.rank
  limit 1;
  if v_id is null then
    return false;
  end if;
  perform from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = v_id for no key update;
  return true;
exception when lock_not_available then
  return false;
end;
$$;
comment on function flowgres.await_task(uuid, text) is $$Wait until the execution of the first task of a queue is free; false when there is none, or that takes too long

Workers of a foreach would else find nothing while one of them takes the next item of the same execution.$$;

set local role flowgres_definer;

create or replace function flowgres.claim_tasks(p_queue text, p_worker text, p_limit integer, p_lease_seconds double precision)
  returns setof jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off set jit to off
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_queue text := flowgres.require_queue(p_queue => p_queue);
  v_worker text := flowgres.require_text(p_argument => 'worker', p_value => p_worker, p_max_length => 200);
  v_now timestamptz;
  v_rows tid[];
  v_paused uuid[];
  v_row tid;
  v_task flowgres.tasks;
  v_workflow text;
  v_step text;
begin
  perform flowgres.require_read_committed();
  perform flowgres.require_lease_seconds(p_seconds => p_lease_seconds);
  if p_limit is null or p_limit not between 1 and 100 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'limit must lie between 1 and 100', p_details => 'limit');
  end if;
  if exists (select from flowgres.pauses as p where p.tenant_id = v_tenant_id and p.resumed_at is null) then
    -- Null where all of the tenant stands still.
    v_paused := flowgres.paused_versions(p_tenant_id => v_tenant_id);
    if v_paused is null then
      return;
    end if;
  end if;
  v_rows := flowgres.pick_tasks(p_tenant_id => v_tenant_id, p_queue => v_queue, p_limit => p_limit, p_paused => v_paused);
  if v_rows = '{}' and flowgres.await_task(p_tenant_id => v_tenant_id, p_queue => v_queue) then
    v_rows := flowgres.pick_tasks(p_tenant_id => v_tenant_id, p_queue => v_queue, p_limit => p_limit, p_paused => v_paused);
  end if;
  -- Not before the locks, so that events follow time.
  v_now := flowgres.now();
  foreach v_row in array v_rows loop
    update flowgres.tasks as t
    set
      status = 'claimed', worker = v_worker, token = q.token + 1, claimed_at = v_now, attempt = q.attempt,
      ends_at = v_now + make_interval(secs => t.timeout_seconds),
      lease_until = least(
        v_now + make_interval(secs => coalesce(p_lease_seconds, t.lease_seconds)), v_now + make_interval(secs => t.timeout_seconds)),
      progress = null
    from flowgres.work_queue as q
    where q.ctid = v_row and t.tenant_id = q.tenant_id and t.execution_id = q.execution_id and t.id = q.resume ->> 'task_id'
    returning t.* into v_task;
    update flowgres.work_queue as q
    set
      token = v_task.token, claimed_at = v_now, due_at = v_task.lease_until, waits_for = 'task:' || v_worker,
      resume = q.resume || jsonb_strip_nulls(jsonb_build_object('ends_at', v_task.ends_at))
    where q.tenant_id = v_task.tenant_id and q.execution_id = v_task.execution_id and q.id = v_task.queue_id;
    select w.name, s.id into v_workflow, v_step
    from flowgres.executions as e
    join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    join flowgres.workflow_steps as s on s.tenant_id = e.tenant_id and s.version_id = e.version_id and s.index = v_task.step_index
    where e.tenant_id = v_task.tenant_id and e.id = v_task.execution_id;
    perform flowgres.tell_of_task(
      p_tenant_id => v_tenant_id, p_execution_id => v_task.execution_id, p_type => 'task_claimed',
      p_step => flowgres.step_label(v_step, v_task.iteration),
      p_details => jsonb_build_object('queue', v_queue, 'worker', v_worker, 'attempt', v_task.attempt, 'lease_until', v_task.lease_until));
    return next jsonb_build_object(
      'task_id', v_task.id, 'token', v_task.token, 'execution_id', v_task.execution_id, 'workflow', v_workflow, 'step', v_step,
      'iteration', nullif(v_task.iteration, -1), 'attempt', v_task.attempt, 'payload', v_task.payload,
      'lease_until', v_task.lease_until);
  end loop;
end;
$$;
comment on function flowgres.claim_tasks(text, text, integer, double precision) is $$Take up to p_limit tasks of a queue of the caller's tenant, by priority, then by age

Each with a token, which the other calls about it must name: it grows with every claim, so whoever has an older one has lost the task.$$;
