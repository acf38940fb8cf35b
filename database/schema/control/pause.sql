-- Executions that are paused: their rows of the queue are held, and their clock stands still. What runs at that moment ends and is
-- recorded; what becomes ready by it is held as well (move_ready), as the lock of the execution says that it is paused.

set local role flowgres_owner;

create or replace function flowgres.pause_held(
  p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_cause uuid default null, p_at timestamptz default null
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_level uuid[] := p_execution_ids;
  v_causes uuid[] := case when p_cause is null then p_execution_ids else array_fill(p_cause, array[cardinality(p_execution_ids)]) end;
  v_paused uuid[];
  v_seqs integer[];
  v_details jsonb[];
  v_problems jsonb := flowgres.list_ended(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids);
  v_is_root boolean := true;
begin
  -- Level by level, as cancel_tree goes: who waits for the lock of an execution holds none of a deeper one.
  while v_level <> '{}' loop
    perform
    from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id and q.execution_id = any(v_level)
    order by q.execution_id, q.id
    for update;
    with paused as (
      update flowgres.executions as e
      set
        status = 'paused', paused_for = x.cause, event_seq = e.event_seq + 1, deadline_at = null, active_since = null,
        paused_at = case when e.status = 'paused' then e.paused_at else v_now end,
        active_seconds = e.active_seconds
          + coalesce(extract(epoch from greatest(least(p_at, v_now), e.active_since) - e.active_since), 0)
      from unnest(v_level, v_causes) as x (id, cause)
      where e.tenant_id = p_tenant_id and e.id = x.id and e.finished_at is null
        -- One that stands still with something else stays so by itself from here on.
        and (e.status <> 'paused' or x.cause = x.id and e.paused_for <> x.id)
      returning e.id, e.event_seq, e.paused_for
    ),
    held as (
      update flowgres.work_queue as q
      set held = true, held_for = q.execution_id
      from paused as p
      where q.tenant_id = p_tenant_id and q.execution_id = p.id
    )
    select
      array_agg(p.id order by p.id), array_agg(p.event_seq order by p.id), array_agg(p.paused_for order by p.id),
      array_agg(case when p.paused_for <> p.id then jsonb_build_object('with', p.paused_for) end order by p.id)
    into v_paused, v_seqs, v_causes, v_details
    from paused as p;
    exit when v_paused is null;
    perform flowgres.tell_acts(
      p_tenant_id => p_tenant_id, p_execution_ids => v_paused, p_seqs => v_seqs, p_type => 'execution_paused', p_actor => p_actor,
      p_reason => p_reason, p_details => v_details, p_audited => case when v_is_root and p_cause is null then v_paused end);
    -- Of a workflow or a tenant each execution is paused for itself.
    exit when p_cause is not null;
    v_is_root := false;
    select coalesce(array_agg(c.id order by c.id), '{}'), array_agg(c.cause order by c.id) into v_level, v_causes
    from (
      select e.id, p.cause
      from unnest(v_paused, v_causes) as p (id, cause)
      join flowgres.executions as e
        on e.tenant_id = p_tenant_id and e.parent_execution_id = p.id and e.parent_queue_id is not null and e.finished_at is null
      order by e.id
      for no key update of e
    ) as c;
  end loop;
  return coalesce(v_problems, '[]');
end;
$$;
comment on function flowgres.pause_held is $$Pause executions whose locks are held, and the children that they wait for; returns those that had ended

Returns [{execution_id, code, message}]. p_cause: the workflow or tenant whose pause it is, else each is paused for itself, its
children with it. p_at is when their clock stopped, if before now. One that is paused is left as it is, but not let go with something else any more.$$;

create or replace function flowgres.pause_children(p_state flowgres.advance_state, p_reports flowgres.step_report[])
  returns void language plpgsql
as $$
begin
  perform flowgres.pause_below(p_tenant_id => r.t, p_execution_ids => array_agg(r.child order by r.child))
  from unnest(p_reports) as r
  where r.o = 'child' and r.k is not null and r.child is not null
  group by r.t;
end;
$$;
comment on function flowgres.pause_children is $$Pause the children that a step has started which was running when its execution was paused.$$;

create or replace function flowgres.pause_below(p_tenant_id uuid, p_execution_ids uuid[])
  returns void language plpgsql
as $$
declare
  v_group record;
begin
  for v_group in
    select p.paused_for as cause, array_agg(e.id order by e.id) as ids
    from flowgres.executions as e
    join flowgres.executions as p on p.tenant_id = e.tenant_id and p.id = e.parent_execution_id
    where e.tenant_id = p_tenant_id and e.id = any(p_execution_ids) and e.finished_at is null and p.status = 'paused'
      -- Children stand still with their parent, and not with the workflow or the tenant of that.
      and p.paused_for <> p.workflow_id and p.paused_for <> p.tenant_id
    group by p.paused_for
  loop
    perform flowgres.pause_held(
      p_tenant_id => p_tenant_id, p_execution_ids => v_group.ids, p_actor => 'engine', p_reason => null, p_cause => v_group.cause);
  end loop;
end;
$$;
comment on function flowgres.pause_below(uuid, uuid[]) is $$Pause those of some children that a parent which is paused waits for; their locks are held.$$;

create or replace function flowgres.resume_held(
  p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_cause uuid default null
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_level uuid[] := p_execution_ids;
  v_ids uuid[];
  v_causes uuid[];
  v_going uuid[];
  v_still uuid[];
  v_seqs integer[];
  v_problems jsonb := flowgres.list_ended(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids);
  v_is_root boolean := true;
begin
  while v_level <> '{}' loop
    select array_agg(e.id order by e.id), array_agg(e.paused_for order by e.id) into v_ids, v_causes
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = any(v_level) and e.status = 'paused' and (p_cause is null or e.paused_for = p_cause);
    exit when v_ids is null;
    v_going := v_ids;
    if not v_is_root then
      -- A child whose own workflow is paused stands still with that from here on. Under the lock of the pause: who resumes it
      -- waits for us, and sees it then.
      v_still := array(
        select e.id
        from flowgres.executions as e
        join flowgres.pauses as p on p.tenant_id = e.tenant_id and p.workflow_id = e.workflow_id
        where e.tenant_id = p_tenant_id and e.id = any(v_ids) and p.resumed_at is null
        for key share of p);
      update flowgres.executions as e
      set paused_for = e.workflow_id
      where e.tenant_id = p_tenant_id and e.id = any(v_still);
      v_going := array(select x.id from unnest(v_ids) as x (id) where x.id <> all(v_still) order by x.id);
    end if;
    perform flowgres.let_go(p_tenant_id => p_tenant_id, p_execution_ids => v_going);
    with resumed as (
      update flowgres.executions as e
      set
        status = s.status, paused_at = null, paused_for = null, event_seq = e.event_seq + 1,
        active_since = case when a.is_active then v_now end,
        deadline_at = case when a.is_active and e.phase = 'run'
          then v_now + make_interval(secs => greatest(e.timeout_seconds - e.active_seconds, 0)) end
      from (
        select
          x.id, x.retry_at,
          case
            when x.started_at is null then 'queued'
            else flowgres.derive_status(p_tenant_id => x.tenant_id, p_execution_id => x.id)
          end as status
        from flowgres.executions as x
        where x.tenant_id = p_tenant_id and x.id = any(v_going)
      ) as s
      -- The wait of one that is retried by itself is no active time (put_off).
      cross join lateral (select s.status = 'running' or s.status = 'retrying' and (s.retry_at <= v_now or s.retry_at is null) as is_active) as a
      where e.tenant_id = p_tenant_id and e.id = s.id
      returning e.id, e.event_seq
    )
    select array_agg(r.event_seq order by r.id) into v_seqs from resumed as r;
    if v_seqs is not null then
      perform flowgres.tell_acts(
        p_tenant_id => p_tenant_id, p_execution_ids => v_going, p_seqs => v_seqs, p_type => 'execution_resumed', p_actor => p_actor,
        p_reason => p_reason, p_audited => case when v_is_root and p_cause is null then v_ids end);
    end if;
    exit when p_cause is not null;
    v_is_root := false;
    -- Those that were paused with them, and not those that somebody has paused for themselves.
    v_level := array(
      select e.id
      from unnest(v_ids, v_causes) as p (id, cause)
      join flowgres.executions as e
        on e.tenant_id = p_tenant_id and e.parent_execution_id = p.id and e.parent_queue_id is not null
          and e.status = 'paused' and e.paused_for = p.cause
      order by e.id
      for no key update of e);
  end loop;
  perform flowgres.wake_runners();
  return coalesce(v_problems, '[]');
end;
$$;
comment on function flowgres.resume_held is $$Let executions whose locks are held go on, and the children that were paused with them; returns those that had ended

Returns [{execution_id, code, message}]. One that is not paused is left as it is. p_cause: only those paused for it, and of them no children.$$;

create or replace function flowgres.let_go(p_tenant_id uuid, p_execution_ids uuid[])
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  -- In the order of their age; each takes a new rank, as whatever becomes ready (next_rank).
  with rows as materialized (
    select q.tenant_id, q.execution_id, q.id
    from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id and q.execution_id = any(p_execution_ids) and q.held_for is not null
    order by q.execution_id, q.id
    for update
  )
  update flowgres.work_queue as q
  set
    held = false, held_for = null,
    rank = case when q.runner_id is null and q.due_at is null then flowgres.next_rank() else q.rank end
  from rows as r
  where q.tenant_id = r.tenant_id and q.execution_id = r.execution_id and q.id = r.id;
end;
$$;
comment on function flowgres.let_go(uuid, uuid[]) is $$Let the rows of executions that were paused stand in their lines again.$$;

create or replace function flowgres.list_ended(p_tenant_id uuid, p_execution_ids uuid[])
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select jsonb_agg(jsonb_build_object(
      'execution_id', x.id,
      'code', case when e.id is null then 'execution_not_found' else 'execution_ended' end,
      'message', case when e.id is null then format('execution %s does not exist', x.id)
        else format('execution %s is already %s', x.id, e.status) end))
    from unnest(p_execution_ids) as x (id)
    left join flowgres.executions as e on e.tenant_id = p_tenant_id and e.id = x.id
    where e.id is null or e.finished_at is not null);
end;
$$;
comment on function flowgres.list_ended(uuid, uuid[]) is $$Those of some executions that nothing can be done to: [{execution_id, code, message}]; null when there is none.$$;

create or replace function flowgres.lock_execution(p_tenant_id uuid, p_execution_id uuid)
  returns flowgres.executions language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_execution flowgres.executions;
begin
  select e.* into v_execution
  from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id)
  for no key update;
  if v_execution.id is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  end if;
  return v_execution;
end;
$$;
comment on function flowgres.lock_execution(uuid, uuid) is $$The execution that a caller acts on, locked; 404 when this tenant has none.$$;

create or replace function flowgres.raise_problem(p_problems jsonb)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_message text := p_problems -> 0 ->> 'message';
begin
  case p_problems -> 0 ->> 'code'
    when 'execution_not_found' then
      perform flowgres.fail(
        p_status => 404, p_code => 'execution_not_found', p_message => v_message, p_hint => 'List /executions.');
    when 'execution_ended' then
      perform flowgres.fail(
        p_status => 409, p_code => 'execution_ended', p_message => v_message,
        p_hint => 'Only an execution that has not ended can be paused, resumed or changed.');
    when 'execution_started' then
      perform flowgres.fail(
        p_status => 409, p_code => 'execution_started', p_message => v_message,
        p_hint => 'scheduled_at can be moved until the first step begins.');
    else
      -- Nothing is in the way.
      return;
  end case;
end;
$$;
comment on function flowgres.raise_problem(jsonb) is $$Refuse a call about one execution with what an act on many would say of it.$$;

set local role flowgres_definer;

create or replace function flowgres.pause_execution(p_execution_id uuid, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_execution flowgres.executions;
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  v_execution := flowgres.lock_execution(p_tenant_id => flowgres.require_tenant(), p_execution_id => p_execution_id);
  perform flowgres.raise_problem(
    p_problems => flowgres.pause_held(
      p_tenant_id => v_execution.tenant_id, p_execution_ids => array[p_execution_id], p_actor => flowgres.actor(), p_reason => p_reason));
  return flowgres.get_execution(p_execution_id => p_execution_id);
end;
$$;
comment on function flowgres.pause_execution(uuid, text) is $$Pause an execution, and the children that it waits for

What runs ends and is recorded; nothing else begins until it is resumed. Pausing twice is no error.$$;

create or replace function flowgres.resume_execution(p_execution_id uuid, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_execution flowgres.executions;
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  v_execution := flowgres.lock_execution(p_tenant_id => flowgres.require_tenant(), p_execution_id => p_execution_id);
  if v_execution.status = 'paused' then
    perform flowgres.refuse_while_paused(p_tenant_id => v_execution.tenant_id, p_workflow_id => v_execution.workflow_id);
  end if;
  perform flowgres.raise_problem(
    p_problems => flowgres.resume_held(
      p_tenant_id => v_execution.tenant_id, p_execution_ids => array[p_execution_id], p_actor => flowgres.actor(), p_reason => p_reason));
  return flowgres.get_execution(p_execution_id => p_execution_id);
end;
$$;
comment on function flowgres.resume_execution(uuid, text) is $$Let a paused execution go on, and the children that were paused with it

Resuming what is not paused is no error.$$;
