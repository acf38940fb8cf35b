-- Asking: an approval is opened in the transaction that parks its step, under the lease of the step, and told in it.

set local role flowgres_owner;

create or replace function flowgres.find_starter(p_tenant_id uuid, p_execution_id uuid)
  returns text language plpgsql stable
as $$
declare
  v_execution record;
  v_id uuid := p_execution_id;
begin
  -- What a sub_workflow step started was started by nobody: whoever started the whole is meant.
  loop
    select e.created_by, e.trigger_type, e.parent_execution_id into v_execution
    from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = v_id;
    exit when not found or v_execution.trigger_type <> 'sub_workflow' or v_execution.parent_execution_id is null;
    v_id := v_execution.parent_execution_id;
  end loop;
  return v_execution.created_by;
end;
$$;
comment on function flowgres.find_starter(uuid, uuid) is $$Who started an execution, or the one above all whose steps started it; null when that is gone

Of what a schedule or a webhook started that is the name of no caller.$$;

create or replace function flowgres.tell_of_approvals(p_approvals flowgres.approvals[], p_event text)
  returns integer language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_group record;
  v_count integer := 0;
begin
  -- Mostly nobody is told of anything.
  if not exists (select from flowgres.notifications) then
    return 0;
  end if;
  for v_group in
    select n as notification, array_agg(x.execution_id order by x.id) as ids, array_agg(x.message order by x.id) as messages
    from (
      select
        a.tenant_id, a.id, a.execution_id, a.workflow_id,
        -- How the execution stands is not settled at this moment, and it has no output.
        jsonb_set(
          flowgres.notification_message(p_event => p_event, p_execution => e::flowgres.executions, p_workflow_name => w.name, p_now => v_now)
          #- '{data,output}' #- '{data,status}',
          '{data,approval}', flowgres.approval_message(a::flowgres.approvals)) as message
      from unnest(p_approvals) as a
      cross join lateral (
        select e.* from flowgres.executions as e where e.tenant_id = a.tenant_id and e.id = a.execution_id
        offset 0
      ) as e
      join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    ) as x
    join flowgres.notifications as n
      on n.tenant_id = x.tenant_id and n.disabled_at is null and p_event = any(n.events)
      -- Of children, too: their parents do not tell that somebody is asked.
      and (n.workflow_id is null or n.workflow_id = x.workflow_id)
    group by n
  loop
    perform flowgres.start_deliveries(
      p_notification => v_group.notification, p_event => p_event, p_execution_ids => v_group.ids,
      p_message_ids => array_fill(null::uuid, array[cardinality(v_group.ids)]), p_messages => v_group.messages, p_now => v_now);
    v_count := v_count + cardinality(v_group.ids);
  end loop;
  if v_count > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_count;
end;
$$;
comment on function flowgres.tell_of_approvals(flowgres.approvals[], text) is $$Start the deliveries of these approvals: waiting_for_approval or approval_reminder; returns how many

Rows are only added, and nobody is waited for.$$;

create or replace function flowgres.open_approvals(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[]
)
  language plpgsql
as $$
declare
  v_ids uuid[] := array(select flowgres.uuid_v7(p_state.now) from unnest(p_places));
begin
  with asked as (
    select r.place, r.id, r.t, r.x, r.s, r.seconds, r.input, q.iteration, q.version_id
    from (
      select p.place, v_ids[p.nth] as id, (p_reports[p.place]).* from unnest(p_places) with ordinality as p (place, nth)
    ) as r
    join flowgres.work_queue as q on q.tenant_id = r.t and q.execution_id = r.x and q.id = r.q
  )
  insert into flowgres.approvals (
    tenant_id, id, execution_id, workflow_id, step_index, iteration, number, step, title, message, roles, approvers, not_starter,
    starter, form, quorum, remind_seconds, requested_at, due_at, next_at)
  select
    k.t, k.id, k.x, e.workflow_id, k.s, k.iteration, n.number, w.id, k.input ->> 'title', k.input ->> 'message',
    array(select r.value from jsonb_array_elements_text(k.input -> 'role') as r (value)),
    array(select r.value from jsonb_array_elements_text(k.input -> 'approvers') as r (value)),
    coalesce((k.input ->> 'not_starter')::boolean, false),
    flowgres.find_starter(p_tenant_id => k.t, p_execution_id => k.x), k.input -> 'form',
    coalesce((k.input ->> 'quorum')::numeric, 1)::smallint, m.remind_seconds, p_state.now, m.due_at,
    least(m.due_at, p_state.now + make_interval(secs => m.remind_seconds))
  from asked as k
  cross join lateral (
    select e.workflow_id from flowgres.executions as e where e.tenant_id = k.t and e.id = k.x
    offset 0
  ) as e
  join flowgres.workflow_steps as w on w.tenant_id = k.t and w.version_id = k.version_id and w.index = k.s
  cross join lateral (
    select coalesce(max(o.number), 0) + 1 as number
    from flowgres.approvals as o
    where o.tenant_id = k.t and o.execution_id = k.x and o.step_index = k.s and o.iteration = k.iteration
  ) as n
  cross join lateral (
    select
      case when k.input ? 'remind' then greatest((k.input ->> 'remind')::double precision, 60) end as remind_seconds,
      p_state.now + make_interval(secs => coalesce(k.seconds, w.timeout_seconds)) as due_at
  ) as m;
  for i in 1..cardinality(p_places) loop
    p_reports[p_places[i]].waits := 'approval:' || v_ids[i];
  end loop;
end;
$$;
comment on function flowgres.open_approvals(flowgres.advance_state, flowgres.step_report[], integer[]) is $$Open the approvals that reports ask for

Of the reports at these places, whose leases are held; waits says then what each step waits for.$$;

create or replace function flowgres.tell_of_opened(p_reports flowgres.step_report[])
  returns void language plpgsql
as $$
declare
  v_opened flowgres.approvals[];
begin
  -- When all of a batch is done: what one of its reports asked for, another may have cancelled.
  select array_agg(a::flowgres.approvals order by a.id) into v_opened
  from unnest(p_reports) as r
  cross join lateral (
    select a.* from flowgres.approvals as a
    where a.tenant_id = r.t and a.id = substr(r.waits, 10)::uuid and a.status = 'pending'
    offset 0
  ) as a
  where r.o = 'park' and r.waits like 'approval:%';
  if v_opened is not null then
    perform flowgres.tell_of_approvals(p_approvals => v_opened, p_event => 'waiting_for_approval');
  end if;
end;
$$;
comment on function flowgres.tell_of_opened(flowgres.step_report[]) is $$Tell of the approvals that reports have opened and nothing has ended since.$$;
