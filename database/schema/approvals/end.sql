-- What ends an approval, and what time does to one: reminders, and the end of its time.

set local role flowgres_owner;

create or replace function flowgres.approval_expires_at(p_ended_at timestamptz)
  returns timestamptz language sql stable set search_path to pg_catalog, pg_temp
as $$
  -- As long as executions are kept, which is the installation's to say.
  select p_ended_at + make_interval(days => (flowgres.setting(flowgres.system_tenant_id(), 'log_retention_days'))::integer);
$$;
comment on function flowgres.approval_expires_at(timestamptz) is $$How long an approval that has ended is kept.$$;

create or replace function flowgres.wake_decided(p_approval flowgres.approvals, p_queue_row flowgres.work_queue)
  returns void language plpgsql
as $$
begin
  -- At once, and not by a note: at its time the row would go on without the decision, which somebody was told to have made.
  perform flowgres.wake_rows(
    p_tenant_ids => array[(p_approval).tenant_id], p_execution_ids => array[(p_approval).execution_id],
    p_queue_ids => array[(p_queue_row).id], p_tokens => array[(p_queue_row).token],
    p_resumes => array[jsonb_build_object('status', 'decided', 'output', flowgres.approval_output(p_approval))]);
  perform flowgres.wake_runners();
end;
$$;
comment on function flowgres.wake_decided(flowgres.approvals, flowgres.work_queue) is $$Let the step of a decided approval go on; the caller has locked its row of the queue.$$;

create or replace function flowgres.cancel_approvals(
  p_tenant_ids uuid[], p_execution_ids uuid[], p_step_indexes smallint[], p_iterations integer[], p_now timestamptz
)
  returns void language plpgsql
as $$
begin
  update flowgres.approvals as a
  set
    status = case when a.due_at <= p_now then 'timed_out' else 'cancelled' end, ended_at = p_now, next_at = null,
    expires_at = flowgres.approval_expires_at(p_ended_at => p_now)
  from unnest(p_tenant_ids, p_execution_ids, p_step_indexes, p_iterations) as x (tenant_id, execution_id, step_index, iteration)
  cross join lateral (
    select p.ctid as place
    from flowgres.approvals as p
    where p.tenant_id = x.tenant_id and p.execution_id = x.execution_id and p.step_index = x.step_index and p.iteration = x.iteration
      and p.status = 'pending'
    offset 0
  ) as l
  where a.ctid = l.place;
end;
$$;
comment on function flowgres.cancel_approvals(uuid[], uuid[], smallint[], integer[], timestamptz) is $$End what cancelled steps had asked for

The caller holds the locks of their executions.$$;

create or replace function flowgres.remind_of(p_state flowgres.advance_state)
  returns integer language plpgsql
as $$
declare
  v_approvals flowgres.approvals[];
  v_slots integer[];
  v_last_seqs integer[];
begin
  with due as materialized (
    select s.slot, a.id
    from generate_subscripts(p_state.execution_ids, 1) as s (slot)
    join flowgres.approvals as a
      on a.tenant_id = p_state.tenant_ids[s.slot] and a.execution_id = p_state.execution_ids[s.slot] and a.next_at <= p_state.now
        and a.due_at <= p_state.now is not true
  ),
  reminded as (
    update flowgres.approvals as a
    set
      reminder_count = a.reminder_count + 1,
      -- Those that nobody was there to tell are not told now.
      next_at = case when a.reminder_count >= 99 then a.due_at else least(a.due_at, a.requested_at + make_interval(
        secs => a.remind_seconds * (floor(extract(epoch from p_state.now - a.requested_at)::double precision / a.remind_seconds) + 1))) end
    from due as d
    where a.tenant_id = p_state.tenant_ids[d.slot] and a.id = d.id
    returning d.slot, a::flowgres.approvals as approval
  ),
  numbered as materialized (
    select
      r.slot, r.approval, p_state.event_seqs[r.slot] + row_number() over (partition by r.slot order by (r.approval).id)::integer as seq
    from reminded as r
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, level, step, message, details)
    select
      (n.approval).tenant_id, (n.approval).execution_id, n.seq, p_state.now, 'approval_reminder', 'info',
      flowgres.step_label((n.approval).step, (n.approval).iteration), (n.approval).title,
      jsonb_build_object(
        'reminder', (n.approval).reminder_count, 'approved_count', flowgres.count_approvals((n.approval).decisions),
        'quorum', (n.approval).quorum)
    from numbered as n
  ),
  counted as (
    update flowgres.executions as e
    set event_seq = l.seq
    from (select n.slot, max(n.seq) as seq from numbered as n group by n.slot) as l
    where e.tenant_id = p_state.tenant_ids[l.slot] and e.id = p_state.execution_ids[l.slot]
  )
  select array_agg(n.approval order by (n.approval).id) into v_approvals from numbered as n;
  if v_approvals is null then
    return 0;
  end if;
  perform flowgres.tell_streams(
    p_tenant_ids => p_state.tenant_ids, p_execution_ids => p_state.execution_ids, p_event_seqs => p_state.event_seqs,
    p_now => p_state.now);
  return flowgres.tell_of_approvals(p_approvals => v_approvals, p_event => 'approval_reminder');
end;
$$;
comment on function flowgres.remind_of(flowgres.advance_state) is $$Remind of what is pending in these executions for another interval; returns how many were told

An event of the execution each, and what notifications ask for. A hundred of one approval: then whoever is told has not heard the others.$$;

set local role flowgres_engine;

create or replace function flowgres.fire_approvals(
  p_limit integer, out p_picked integer, out p_moved integer, out p_next_seconds double precision
)
  language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_of_one constant integer := 500;
  v_now timestamptz := flowgres.now();
  v_tenant_ids uuid[];
  v_ids uuid[];
  v_state flowgres.advance_state;
  -- One entry of the index, however many there are: mostly nothing is due.
  v_first timestamptz := (select a.next_at from flowgres.approvals as a where a.next_at is not null order by a.next_at limit 1);
begin
  p_picked := 0;
  p_moved := 0;
  if v_first is null or v_first > v_now then
    p_next_seconds := extract(epoch from v_first - v_now);
    return;
  end if;
  perform flowgres.require_original();
  select array_agg(l.tenant_id), array_agg(l.id) into v_tenant_ids, v_ids
  from (
    select e.tenant_id, e.id
    from (
      select d.tenant_id, d.execution_id, row_number() over (partition by d.tenant_id order by d.next_at) as turn
      from (
        select l.tenant_id, l.execution_id, min(l.next_at) as next_at
        from flowgres.tenants as n
        -- Of each tenant its first ones, whatever others have waiting.
        cross join lateral (
          select a.tenant_id, a.execution_id, a.next_at from flowgres.approvals as a
          where a.tenant_id = n.tenant_id and a.next_at <= v_now order by a.next_at limit c_most_of_one
        ) as l
        group by l.tenant_id, l.execution_id
      ) as d
    ) as t
    join flowgres.executions as e on e.tenant_id = t.tenant_id and e.id = t.execution_id
    -- In turns: a tenant with a thousand of them at once delays nobody else's. What somebody holds is the next look's.
    order by t.turn, e.id
    limit p_limit
    for no key update of e skip locked
  ) as l;
  if v_ids is not null then
    v_now := flowgres.now();
    -- Judged again under the locks. The step itself goes on by its row in the queue, and needs nothing of this: the execution may have
    -- ended by now.
    update flowgres.approvals as a
    set
      status = 'timed_out', ended_at = v_now, next_at = null,
      expires_at = flowgres.approval_expires_at(p_ended_at => v_now)
    from unnest(v_tenant_ids, v_ids) as x (tenant_id, id)
    where a.tenant_id = x.tenant_id and a.execution_id = x.id and a.next_at <= v_now and a.due_at <= v_now;
    v_state := flowgres.hold_executions(p_execution_ids => v_ids, p_tenant_ids => v_tenant_ids);
    p_picked := cardinality(v_ids);
    if v_state.execution_ids is not null then
      p_moved := flowgres.remind_of(p_state => v_state);
    end if;
  end if;
  p_next_seconds := (
    select extract(epoch from a.next_at - flowgres.now())
    from flowgres.approvals as a
    where a.next_at > v_now order by a.next_at limit 1);
end;
$$;
comment on function flowgres.fire_approvals(integer) is $$Remind of approvals that are pending for too long, and end those whose time is over, of p_limit executions at most

Returns of how many executions, how many reminders were sent, and in how many seconds the next approval is due (null when none is). Each
tenant has its turn.$$;
