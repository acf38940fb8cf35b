-- Waking: runners that sleep, and steps that wait for somebody's end, which become ready again with what they waited for.

set local role flowgres_engine;

create or replace function flowgres.has_sleepers()
  returns boolean language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  -- In PL/pgSQL, which keeps its plan: see is_tenant_open.
  return exists (select from flowgres.runners as r where r.is_idle and r.stopped_at is null);
end;
$$;
comment on function flowgres.has_sleepers() is $$Whether a runner wants to be told of work

With the engine's eyes: whoever starts something as a tenant sees no runner.$$;

set local role flowgres_owner;

create or replace function flowgres.wake_runners()
  returns boolean language plpgsql
as $$
declare
  v_must_tell boolean := transaction_timestamp() <> statement_timestamp()
    and nullif(current_setting('request.method', true), '') is null;
begin
  -- NOTIFY takes a lock of the whole database at commit, so it is sent only when somebody sleeps. Inside a transaction
  -- block nobody knows when the commit comes, nor who sleeps by then: there it is always sent, and leaves at the commit.
  if not v_must_tell then
    v_must_tell := flowgres.has_sleepers();
  end if;
  if v_must_tell then
    perform pg_notify('flowgres_work', '');
  end if;
  return v_must_tell;
end;
$$;
comment on function flowgres.wake_runners() is $$Tell sleeping runners that there is work; returns whether it was told

The payload is empty, because any login can listen.$$;

create or replace function flowgres.wake_parked(p_tenant_ids uuid[], p_child_ids uuid[])
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_rows tid[];
  v_children uuid[];
  v_statuses text[];
begin
  -- Waits for nobody: whoever ends a child holds its lock, and who holds the parent's row may be on his way to the child.
  select array_agg(q.ctid), array_agg(c.id), array_agg(c.status) into v_rows, v_children, v_statuses
  from (
    select e.tenant_id, e.id, e.status, e.parent_execution_id, e.parent_queue_id, e.parent_step_index
    from unnest(p_tenant_ids, p_child_ids) as x (tenant_id, id)
    join flowgres.executions as e on e.tenant_id = x.tenant_id and e.id = x.id
    -- A note may be older than a retry of the child, which goes on then.
    where e.parent_execution_id is not null and e.finished_at is not null
    order by e.parent_execution_id, e.parent_queue_id
  ) as c
  cross join lateral (
    select q.ctid
    from flowgres.work_queue as q
    where q.tenant_id = c.tenant_id and q.execution_id = c.parent_execution_id and q.id = c.parent_queue_id
      and q.step_index = c.parent_step_index and q.runner_id is null and q.waits_for = 'child:' || c.id
    for update skip locked
  ) as q;
  if coalesce(cardinality(v_rows), 0) < cardinality(p_child_ids) then
    -- Somebody holds the row: told again by the next claim or sweep.
    insert into flowgres.pending_wakes (tenant_id, execution_id, requested_at)
    select e.tenant_id, e.id, v_now
    from unnest(p_tenant_ids, p_child_ids) as x (tenant_id, id)
    join flowgres.executions as e on e.tenant_id = x.tenant_id and e.id = x.id
    join flowgres.work_queue as q
      on q.tenant_id = e.tenant_id and q.execution_id = e.parent_execution_id and q.id = e.parent_queue_id
        and q.step_index = e.parent_step_index and q.waits_for = 'child:' || e.id
    where e.finished_at is not null and e.id <> all(coalesce(v_children, '{}'));
  end if;
  if v_rows is null then
    return 0;
  end if;
  -- What the child gave is read when the step is claimed: here it would lie in the queue, however large it is.
  update flowgres.work_queue as q
  set
    due_at = null, waits_for = null, ready_at = v_now, rank = flowgres.next_rank(), is_new = false,
    resume = jsonb_build_object('status', w.status, 'execution_id', w.child_id)
  from unnest(v_rows, v_children, v_statuses) as w (row_id, child_id, status)
  where q.ctid = w.row_id;
  perform flowgres.wake_runners();
  return cardinality(v_rows);
end;
$$;
comment on function flowgres.wake_parked(uuid[], uuid[]) is $$Make the steps that wait for these ended executions ready again; returns how many

A row that somebody holds is left to the next sweep (pending_wakes). One that no longer waits for this child is left alone.$$;

create or replace function flowgres.wake_later(p_tenant_ids uuid[], p_child_ids uuid[])
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  insert into flowgres.pending_wakes (tenant_id, execution_id, requested_at)
  select e.tenant_id, e.id, flowgres.now()
  from unnest(p_tenant_ids, p_child_ids) as x (tenant_id, id)
  join flowgres.executions as e on e.tenant_id = x.tenant_id and e.id = x.id
  where e.parent_execution_id is not null and e.parent_execution_id <> all(p_child_ids);
  if found then
    perform flowgres.wake_runners();
  end if;
end;
$$;
comment on function flowgres.wake_later(uuid[], uuid[]) is $$Wake the steps that wait for these ended executions once this transaction has committed, by the next claim

For a transaction that is not the engine's own: nobody knows how long it stays open, and the row of a parent must not be held so long.$$;

create or replace function flowgres.read_resume(
  p_tenant_id uuid, p_resume jsonb, p_most bigint default 9223372036854775807
)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_resume ? 'execution_id' and p_resume ->> 'status' not in ('timed_out', 'detached') then
    return coalesce((
      select
        case
          when flowgres.weight_of(e.output) > p_most and current_setting('flowgres.fetches_resumes', true) = 'on' then '"left"'
          else p_resume || jsonb_build_object('output', e.output, 'error', e.error) end
      from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = (p_resume ->> 'execution_id')::uuid), p_resume);
  end if;
  if p_resume ? 'signal_id' then
    return coalesce((
      select
        case
          when flowgres.weight_of(s.payload) + flowgres.weight_of(p_resume) > p_most and current_setting('flowgres.fetches_resumes', true) = 'on' then '"left"'
          else p_resume - 'signal_id' || jsonb_strip_nulls(jsonb_build_object(s.kind, s.name, 'key', s.key))
            || jsonb_build_object('payload', s.payload, 'received_at', s.received_at) end
      from flowgres.signals as s
      where s.tenant_id = p_tenant_id and s.id = (p_resume ->> 'signal_id')::uuid), p_resume);
  end if;
  if p_resume ? 'task_id' then
    return flowgres.read_task(p_tenant_id => p_tenant_id, p_resume => p_resume, p_most => p_most);
  end if;
  return p_resume;
end;
$$;
comment on function flowgres.read_resume(uuid, jsonb, bigint) is $$What a resumed step goes on with: of an ended child its output or error, of a signal or event what it says

"left", a text instead of the object, when the output weighs more than p_most and the runner has said that it knows that
(flowgres.fetches_resumes): get_contexts has it.$$;

set local role flowgres_engine;

create or replace function flowgres.wake_pending(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_events constant integer := 20;
  v_notes flowgres.pending_wakes[];
  v_tenant_ids uuid[];
  v_ids uuid[];
  v_queue_ids bigint[];
  v_tokens bigint[];
  v_resumes jsonb[];
  v_count integer := 0;
begin
  with due as (
    select w.tenant_id, w.id, w.requested_at, w.name is not null and w.resume is not null as is_event
    from flowgres.pending_wakes as w
    -- What this transaction has noted itself is for the next one: whoever commits meanwhile sees it then.
    where w.xmin <> pg_current_xact_id()::xid
    order by w.requested_at
    limit p_limit
    for update skip locked
  ),
  numbered as (
    select d.tenant_id, d.id, d.is_event, row_number() over (partition by d.is_event order by d.requested_at, d.id) as number from due as d
  ),
  taken as (
    -- No more events than there is room for: the others stay as they are.
    delete from flowgres.pending_wakes as w
    using numbered as d
    where w.tenant_id = d.tenant_id and w.id = d.id and (not d.is_event or d.number <= c_most_events)
    returning w.*
  )
  select array_agg(t::flowgres.pending_wakes order by t.id) into v_notes from taken as t;
  if v_notes is null then
    return 0;
  end if;
  -- What is still held comes back.
  select array_agg(n.tenant_id), array_agg(n.execution_id) into v_tenant_ids, v_ids
  from (select distinct n.tenant_id, n.execution_id from unnest(v_notes) as n where n.queue_id is null and n.name is null) as n;
  if v_ids is not null then
    v_count := flowgres.wake_parked(p_tenant_ids => v_tenant_ids, p_child_ids => v_ids);
  end if;
  select
    array_agg(n.tenant_id order by n.id), array_agg(n.execution_id order by n.id), array_agg(n.queue_id order by n.id),
    array_agg(n.token order by n.id), array_agg(n.resume order by n.id)
  into v_tenant_ids, v_ids, v_queue_ids, v_tokens, v_resumes
  from unnest(v_notes) as n
  where n.resume is not null and n.queue_id is not null;
  if v_ids is not null then
    v_count := v_count + flowgres.wake_rows(
      p_tenant_ids => v_tenant_ids, p_execution_ids => v_ids, p_queue_ids => v_queue_ids, p_tokens => v_tokens,
      p_resumes => v_resumes);
  end if;
  if exists (select from unnest(v_notes) as n where n.resume is null and (n.name is not null or n.queue_id is not null)) then
    v_count := v_count + flowgres.deliver_signals(p_notes => v_notes);
  end if;
  if exists (select from unnest(v_notes) as n where n.resume is not null and n.name is not null) then
    v_count := v_count + flowgres.follow_events(p_notes => v_notes);
  end if;
  if v_count > 0 then
    -- It may be more than this runner has room for; whoever was told of the note has found it taken.
    perform flowgres.wake_runners();
  end if;
  return v_count;
end;
$$;
comment on function flowgres.wake_pending(integer) is $$Wake the steps whose rows were held when their children ended, and those that notes ask for, a bounded number; returns how many.$$;
