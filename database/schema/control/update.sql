-- Executions that are changed on their way: priority, when they begin, how long they may take.

set local role flowgres_owner;

create or replace function flowgres.check_execution_changes(p_changes jsonb)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_fault text;
begin
  if jsonb_typeof(p_changes) is distinct from 'object' or p_changes = '{}' then
    v_fault := 'changes must be an object with one of priority, scheduled_at, timeout_seconds, extend_seconds';
  elsif exists (
    select from jsonb_object_keys(p_changes) as k (name) where k.name not in ('priority', 'scheduled_at', 'timeout_seconds', 'extend_seconds'))
  then
    v_fault := format('%s cannot be changed', (
      select string_agg(quote_ident(left(k.name, 100)), ', ') from jsonb_object_keys(p_changes) as k (name)
      where k.name not in ('priority', 'scheduled_at', 'timeout_seconds', 'extend_seconds')));
  elsif p_changes ? 'priority' and coalesce(p_changes ->> 'priority', '') !~ '^[0-9]$' then
    v_fault := 'priority must be a whole number from 0 to 9';
  elsif p_changes ? 'timeout_seconds' and p_changes ? 'extend_seconds' then
    v_fault := 'timeout_seconds and extend_seconds exclude each other';
  elsif exists (
    select from jsonb_each(p_changes) as c
    where c.key in ('timeout_seconds', 'extend_seconds')
      -- A year and more is no limit any more; 5 years are.
      and (jsonb_typeof(c.value) <> 'number' or (c.value #>> '{}')::numeric not between 0.001 and 157852800))
  then
    v_fault := 'timeout_seconds and extend_seconds must be numbers of seconds above 0, five years at most';
  elsif p_changes ? 'scheduled_at' and jsonb_typeof(p_changes -> 'scheduled_at') not in ('string', 'null') then
    v_fault := 'scheduled_at must be a time, or null for now';
  end if;
  if v_fault is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'changes_invalid', p_message => v_fault, p_details => 'changes',
      p_hint => 'priority, scheduled_at, timeout_seconds and extend_seconds can be changed.');
  end if;
  if jsonb_typeof(p_changes -> 'scheduled_at') = 'string' then
    begin
      perform flowgres.check_scheduled_at(p_scheduled_at => (p_changes ->> 'scheduled_at')::timestamptz, p_now => flowgres.now());
    exception when datetime_field_overflow or invalid_datetime_format or invalid_parameter_value then
      perform flowgres.fail(
        p_status => 422, p_code => 'changes_invalid', p_message => 'scheduled_at is no time', p_details => 'changes',
        p_hint => 'Give it as 2030-01-31T08:00:00Z, or null for now.');
    end;
  end if;
end;
$$;
comment on function flowgres.check_execution_changes(jsonb) is $$Refuse changes of an execution that do not fit.$$;

create or replace function flowgres.update_held(
  p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_changes jsonb
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_problems jsonb := coalesce(flowgres.list_ended(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids), '[]');
  v_ids uuid[];
  v_begun uuid[];
  v_seqs integer[];
  v_details jsonb[];
  v_begins_at timestamptz;
begin
  select array_agg(e.id order by e.id) into v_ids
  from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id = any(p_execution_ids) and e.finished_at is null;
  if v_ids is null then
    return v_problems;
  end if;
  perform
  from flowgres.work_queue as q
  where q.tenant_id = p_tenant_id and q.execution_id = any(v_ids)
  order by q.execution_id, q.id
  for update;
  if p_changes ? 'scheduled_at' then
    v_begun := array(
      select e.id
      from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = any(v_ids) and (
        e.started_at is not null or exists (
          select from flowgres.work_queue as q
          where q.tenant_id = e.tenant_id and q.execution_id = e.id and (
            q.runner_id is not null or q.attempt > 0 or q.waits_for is distinct from 'start' and q.due_at is not null))));
    v_problems := v_problems || coalesce((
      select jsonb_agg(jsonb_build_object(
        'execution_id', b.id, 'code', 'execution_started', 'message', format('execution %s has begun', b.id)))
      from unnest(v_begun) as b (id)), '[]');
    v_ids := array(select x.id from unnest(v_ids) as x (id) where x.id <> all(v_begun) order by x.id);
    v_begins_at := (p_changes ->> 'scheduled_at')::timestamptz;
    v_begins_at := case when v_begins_at > v_now then v_begins_at end;
    update flowgres.work_queue as q
    set
      due_at = v_begins_at, waits_for = case when v_begins_at is not null then 'start' end, ready_at = coalesce(v_begins_at, v_now),
      rank = case when v_begins_at is null then flowgres.next_rank() else q.rank end
    where q.tenant_id = p_tenant_id and q.execution_id = any(v_ids);
    if v_begins_at is not null then
      perform flowgres.give_places_back(p_tenant_id => p_tenant_id, p_execution_ids => v_ids);
    end if;
  end if;
  if v_ids = '{}' then
    return v_problems;
  end if;
  with before as (
    select
      e.id,
      jsonb_build_object('changes', p_changes, 'before', jsonb_strip_nulls(jsonb_build_object(
        'priority', case when p_changes ? 'priority' then e.priority end,
        'scheduled_at', case when p_changes ? 'scheduled_at' then e.scheduled_at end,
        'timeout_seconds', case when p_changes ?| '{timeout_seconds,extend_seconds}' then e.timeout_seconds end))) as details,
      coalesce(
        (p_changes ->> 'timeout_seconds')::double precision,
        e.timeout_seconds + coalesce((p_changes ->> 'extend_seconds')::double precision, 0)) as timeout_seconds
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = any(v_ids)
  ),
  changed as (
    update flowgres.executions as e
    set
      event_seq = e.event_seq + 1, priority = coalesce((p_changes ->> 'priority')::smallint, e.priority),
      scheduled_at = case when p_changes ? 'scheduled_at' then v_begins_at else e.scheduled_at end,
      timeout_seconds = b.timeout_seconds,
      deadline_at = e.deadline_at + make_interval(secs => b.timeout_seconds - e.timeout_seconds)
    from before as b
    where e.tenant_id = p_tenant_id and e.id = b.id
    returning e.id, e.event_seq, b.details
  )
  select array_agg(c.event_seq order by c.id), array_agg(c.details order by c.id) into v_seqs, v_details from changed as c;
  perform flowgres.tell_acts(
    p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_seqs => v_seqs, p_type => 'execution_updated', p_actor => p_actor,
    p_reason => p_reason, p_details => v_details, p_audited => v_ids);
  if p_changes ? 'priority' then
    perform flowgres.put_in_line(p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_priority => (p_changes ->> 'priority')::smallint);
  end if;
  perform flowgres.wake_runners();
  return v_problems;
end;
$$;
comment on function flowgres.update_held is $$Change executions whose locks are held; returns those that could not be changed: [{execution_id, code, message}]

scheduled_at moves only what has not begun. A priority reaches the steps that are ready, those to come, and the children that are waited for.$$;

create or replace function flowgres.put_in_line(p_tenant_id uuid, p_execution_ids uuid[], p_priority smallint)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_level uuid[] := p_execution_ids;
begin
  while v_level <> '{}' loop
    -- Another line, and so a rank of its own (next_rank).
    with rows as materialized (
      select q.tenant_id, q.execution_id, q.id
      from flowgres.work_queue as q
      where q.tenant_id = p_tenant_id and q.execution_id = any(v_level) and q.priority <> p_priority
      order by q.execution_id, q.id
      for update
    )
    update flowgres.work_queue as q
    set priority = p_priority, rank = case when q.runner_id is null and q.due_at is null then flowgres.next_rank() else q.rank end
    from rows as r
    where q.tenant_id = r.tenant_id and q.execution_id = r.execution_id and q.id = r.id;
    v_level := array(
      select e.id
      from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.parent_execution_id = any(v_level) and e.parent_queue_id is not null
        and e.finished_at is null
      order by e.id
      for no key update);
    update flowgres.executions as e
    set priority = p_priority
    where e.tenant_id = p_tenant_id and e.id = any(v_level) and e.priority <> p_priority;
  end loop;
end;
$$;
comment on function flowgres.put_in_line(uuid, uuid[], smallint) is $$Move what is queued of executions, and of the children that they wait for, into the line of another priority.$$;

set local role flowgres_definer;

create or replace function flowgres.update_execution(p_execution_id uuid, p_changes jsonb, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_execution flowgres.executions;
  v_tenant_id uuid := flowgres.require_tenant();
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  perform flowgres.check_execution_changes(p_changes => p_changes);
  v_execution := flowgres.lock_execution(p_tenant_id => v_tenant_id, p_execution_id => p_execution_id);
  perform flowgres.raise_problem(
    p_problems => flowgres.update_held(
      p_tenant_id => v_tenant_id, p_execution_ids => array[p_execution_id], p_actor => flowgres.actor(), p_reason => p_reason,
      p_changes => p_changes));
  return flowgres.get_execution(p_execution_id => p_execution_id);
end;
$$;
comment on function flowgres.update_execution(uuid, jsonb, text) is $$Change the priority of an execution, when it begins, or how long it may take.$$;
