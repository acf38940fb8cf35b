-- Workflows and tenants that stand still. A pause is one row (pauses), however much is queued: a claim passes over tenants that stand
-- still, and holds the steps of workflows that do as it comes by them; nothing is handed over meanwhile (may_hand_over). A sweep
-- stops the clocks of executions that run, and lets go what was held after the resume.

set local role flowgres_owner;

create or replace function flowgres.is_standing_still(p_tenant_id uuid, p_workflow_id uuid)
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return exists (
    select from flowgres.pauses as p
    where p.tenant_id = p_tenant_id and p.workflow_id in (p_workflow_id, flowgres.system_tenant_id()) and p.resumed_at is null);
end;
$$;
comment on function flowgres.is_standing_still(uuid, uuid) is $$Whether a workflow is paused, or its tenant.$$;

create or replace function flowgres.refuse_while_paused(p_tenant_id uuid, p_workflow_id uuid)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if not flowgres.is_standing_still(p_tenant_id => p_tenant_id, p_workflow_id => p_workflow_id) then
    return;
  elsif flowgres.is_standing_still(p_tenant_id => p_tenant_id, p_workflow_id => flowgres.system_tenant_id()) then
    perform flowgres.fail(
      p_status => 409, p_code => 'tenant_paused', p_message => 'this tenant is paused, and none of its executions goes on',
      p_hint => 'Resume the tenant first: resume_tenant.');
  end if;
  perform flowgres.fail(
    p_status => 409, p_code => 'workflow_paused', p_message => 'the workflow of this execution is paused',
    p_hint => 'Resume the workflow first: resume_workflow.');
end;
$$;
comment on function flowgres.refuse_while_paused(uuid, uuid) is $$Refuse to let an execution go on whose workflow or tenant is paused.$$;

create or replace function flowgres.paused_versions(p_tenant_id uuid)
  returns uuid[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return case when not flowgres.is_standing_still(p_tenant_id => p_tenant_id, p_workflow_id => flowgres.system_tenant_id()) then array(
    select v.id
    from flowgres.pauses as p
    join flowgres.workflow_versions as v on v.tenant_id = p.tenant_id and v.workflow_id = p.workflow_id
    where p.tenant_id = p_tenant_id and p.resumed_at is null) end;
end;
$$;
comment on function flowgres.paused_versions(uuid) is $$Versions of workflows that stand still; null when all of the tenant does.$$;

create or replace function flowgres.hold_paused(p_rows tid[], out rows tid[], out is_any_held boolean)
  language plpgsql
as $$
declare
  v_tenant_ids uuid[];
  v_workflow_ids uuid[];
begin
  -- Mostly what stands still is others': each tenant is looked up by its key.
  select array_agg(distinct q.tenant_id) into v_tenant_ids from flowgres.work_queue as q where q.ctid = any(p_rows);
  if not exists (
    select
    from unnest(v_tenant_ids) as t (id)
    cross join lateral (
      select from flowgres.pauses as p
      where p.tenant_id = t.id and p.resumed_at is null and p.workflow_id <> flowgres.system_tenant_id()
      offset 0
    ) as p)
  then
    rows := p_rows;
    is_any_held := false;
    return;
  end if;
  -- Held only under the lock of the pause: who resumes waits for us, and sees then what we have held. One that is being
  -- resumed is not waited for, and its rows are left where they are.
  select array_agg(p.tenant_id), array_agg(p.workflow_id) into v_tenant_ids, v_workflow_ids
  from (
    select p.tenant_id, p.workflow_id from flowgres.pauses as p
    where p.resumed_at is null and p.workflow_id <> flowgres.system_tenant_id()
      and p.tenant_id = any(v_tenant_ids)
    for key share skip locked
  ) as p;
  with picked as materialized (
    select q.ctid as row_id, p.workflow_id, p.workflow_id is not null and (p.tenant_id, p.workflow_id) in (
      select l.t, l.w from unnest(v_tenant_ids, v_workflow_ids) as l (t, w)) as is_held
    from flowgres.work_queue as q
    join flowgres.workflow_versions as v on v.tenant_id = q.tenant_id and v.id = q.version_id
    left join flowgres.pauses as p
      on p.tenant_id = v.tenant_id and p.workflow_id = v.workflow_id and p.resumed_at is null
    where q.ctid = any(p_rows)
  ),
  held as (
    update flowgres.work_queue as q
    set held = true, held_for = p.workflow_id
    from picked as p
    where p.is_held and q.ctid = p.row_id
  )
  select coalesce(array_agg(p.row_id) filter (where p.workflow_id is null), '{}'), coalesce(bool_or(p.is_held), false)
  into rows, is_any_held
  from picked as p;
end;
$$;
comment on function flowgres.hold_paused(tid[]) is $$Of some locked rows those whose workflow goes on; the others are held from here on.$$;

create or replace function flowgres.settle_pause(p_pause flowgres.pauses, p_limit integer)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_is_tenant boolean := (p_pause).workflow_id = flowgres.system_tenant_id();
  v_cause uuid := case when v_is_tenant then (p_pause).tenant_id else (p_pause).workflow_id end;
  v_ids uuid[];
  v_rows tid[];
begin
  if (p_pause).resumed_at is null then
    -- Those whose clock runs. What else there is stands still by itself: it has none, and what would be claimed of it is held.
    v_ids := array(
      select e.id
      from flowgres.executions as e
      where e.tenant_id = (p_pause).tenant_id and e.status in ('running', 'retrying') and e.finished_at is null
        and (v_is_tenant or e.workflow_id = (p_pause).workflow_id)
      order by e.id
      limit p_limit
      for no key update skip locked);
    if v_ids <> '{}' then
      perform flowgres.pause_held(
        p_tenant_id => (p_pause).tenant_id, p_execution_ids => v_ids, p_actor => (p_pause).paused_by, p_reason => (p_pause).reason,
        p_cause => v_cause, p_at => (p_pause).paused_at);
    end if;
    return cardinality(v_ids) >= p_limit;
  end if;
  v_ids := array(
    select e.id
    from flowgres.executions as e
    where e.tenant_id = (p_pause).tenant_id and e.status = 'paused' and e.paused_for = v_cause
      -- Where the other pause still holds it, that one has it now.
      and not flowgres.is_standing_still(p_tenant_id => e.tenant_id, p_workflow_id => e.workflow_id)
    order by e.id
    limit p_limit
    for no key update skip locked);
  if v_ids <> '{}' then
    perform flowgres.resume_held(
      p_tenant_id => (p_pause).tenant_id, p_execution_ids => v_ids, p_actor => 'engine', p_reason => null, p_cause => v_cause);
  end if;
  v_rows := array(
    select q.ctid
    from flowgres.work_queue as q
    where q.held_for = v_cause
    order by q.rank
    limit p_limit
    for update skip locked);
  if v_rows <> '{}' then
    update flowgres.work_queue as q
    set
      held = false, held_for = null,
      rank = case when q.runner_id is null and q.due_at is null then n.rank else q.rank end
    from (
      select r.row_id, flowgres.next_rank() as rank from unnest(v_rows) with ordinality as r (row_id, i) order by r.i
    ) as n
    where q.ctid = n.row_id;
    perform flowgres.wake_runners();
  end if;
  if v_ids <> '{}' or v_rows <> '{}' then
    return true;
  end if;
  -- What somebody holds at this moment is a later sweep's.
  delete from flowgres.pauses as p
  where p.tenant_id = (p_pause).tenant_id and p.workflow_id = (p_pause).workflow_id and p.resumed_at is not null
    and not exists (select from flowgres.work_queue as q where q.held_for = v_cause)
    and not exists (
      select from flowgres.executions as e
      where e.tenant_id = (p_pause).tenant_id and e.status = 'paused' and e.paused_for = v_cause);
  return false;
end;
$$;
comment on function flowgres.settle_pause(flowgres.pauses, integer) is $$Stop the clocks of what runs under a pause, or let go what it held; whether there is more to do at once

The pause is locked by the caller. Nobody is waited for.$$;

create or replace function flowgres.stop_clocks(
  p_tenant_ids uuid[], p_execution_ids uuid[], out tenant_ids uuid[], out ids uuid[]
)
  language plpgsql
as $$
declare
  v_group record;
begin
  for v_group in
    select
      e.tenant_id, p.cause, p.paused_at, p.paused_by, p.reason, array_agg(e.id order by e.id) as ids
    from unnest(p_tenant_ids, p_execution_ids) as x (tenant_id, id)
    join flowgres.executions as e on e.tenant_id = x.tenant_id and e.id = x.id
    left join lateral (
      select
        case when p.workflow_id = e.workflow_id then p.workflow_id else p.tenant_id end as cause, p.paused_at, p.paused_by, p.reason
      from flowgres.pauses as p
      where p.tenant_id = e.tenant_id and p.workflow_id in (e.workflow_id, flowgres.system_tenant_id()) and p.resumed_at is null
      order by p.paused_at
      limit 1
    ) as p on true
    group by e.tenant_id, p.cause, p.paused_at, p.paused_by, p.reason
  loop
    if v_group.cause is null then
      tenant_ids := tenant_ids || array_fill(v_group.tenant_id, array[cardinality(v_group.ids)]);
      ids := ids || v_group.ids;
    else
      perform flowgres.pause_held(
        p_tenant_id => v_group.tenant_id, p_execution_ids => v_group.ids, p_actor => v_group.paused_by, p_reason => v_group.reason,
        p_cause => v_group.cause, p_at => v_group.paused_at);
    end if;
  end loop;
end;
$$;
comment on function flowgres.stop_clocks is $$Of executions whose time seems to be over, locked by the caller, those that do not stand still; the others are paused instead

A sweep would have come to them: their time ended with the pause.$$;

create or replace function flowgres.begin_pause(p_tenant_id uuid, p_workflow_id uuid, p_actor text, p_reason text)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_pause flowgres.pauses;
begin
  insert into flowgres.pauses as p (tenant_id, workflow_id, paused_at, paused_by, reason, due_at)
  values (p_tenant_id, p_workflow_id, flowgres.now(), p_actor, nullif(p_reason, ''), flowgres.now())
  on conflict (tenant_id, workflow_id) do update
  set paused_at = excluded.paused_at, paused_by = excluded.paused_by, reason = excluded.reason, resumed_at = null, due_at = excluded.due_at,
    is_by_operator = false
  where p.resumed_at is not null
  returning p.* into v_pause;
  if v_pause.tenant_id is null then
    return false;
  end if;
  perform flowgres.settle_pause(p_pause => v_pause, p_limit => 1000);
  return true;
end;
$$;
comment on function flowgres.begin_pause(uuid, uuid, text, text) is $$Let a workflow or a tenant stand still; false when it does already.$$;

create or replace function flowgres.end_pause(p_tenant_id uuid, p_workflow_id uuid)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_pause flowgres.pauses;
begin
  -- For update: who holds rows of it has its key, and is waited for. Sweeps take no such lock, and keep nobody from holding.
  perform from flowgres.pauses as p
  where p.tenant_id = p_tenant_id and p.workflow_id = p_workflow_id and p.resumed_at is null
  for update;
  update flowgres.pauses as p
  set resumed_at = flowgres.now(), due_at = flowgres.now()
  where p.tenant_id = p_tenant_id and p.workflow_id = p_workflow_id and p.resumed_at is null
  returning p.* into v_pause;
  if v_pause.tenant_id is null then
    return false;
  end if;
  -- Mostly that is all of it; the rest is let go by sweeps.
  perform flowgres.settle_pause(p_pause => v_pause, p_limit => 1000);
  perform flowgres.wake_runners();
  return true;
end;
$$;
comment on function flowgres.end_pause(uuid, uuid) is $$Let a workflow or a tenant go on; false when it does already.$$;

set local role flowgres_engine;

create or replace function flowgres.settle_pauses(p_limit integer)
  returns boolean language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_pause flowgres.pauses;
  v_is_more boolean;
  v_is_any boolean := false;
begin
  for v_pause in
    select p.* from flowgres.pauses as p
    where p.due_at <= flowgres.now()
    order by p.due_at
    limit 16
    for no key update skip locked
  loop
    v_is_more := flowgres.settle_pause(p_pause => v_pause, p_limit => p_limit);
    v_is_any := v_is_any or v_is_more;
    update flowgres.pauses as p
    -- What ran when it was paused ends within minutes, and then there is nothing to find; what was let go is looked at until it is gone.
    set due_at = flowgres.now() + case when v_is_more then interval '0' when p.resumed_at is null then interval '1 minute' else interval '1 second' end
    where p.tenant_id = v_pause.tenant_id and p.workflow_id = v_pause.workflow_id;
  end loop;
  return v_is_any;
end;
$$;
comment on function flowgres.settle_pauses(integer) is $$Stop clocks of what was paused, let go what was resumed, a bounded number; whether there is more to do at once.$$;

set local role flowgres_definer;

create or replace function flowgres.pause_workflow(p_workflow text, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  v_workflow := flowgres.find_workflow_locked(p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow);
  perform flowgres.check_kind(p_workflow => v_workflow, p_kind => 'dag');
  if flowgres.begin_pause(
    p_tenant_id => v_workflow.tenant_id, p_workflow_id => v_workflow.id, p_actor => flowgres.actor(), p_reason => p_reason)
  then
    perform flowgres.audit_act(
      p_tenant_id => v_workflow.tenant_id, p_action => 'workflow_paused', p_subject => v_workflow.id::text, p_reason => p_reason);
  end if;
  return flowgres.describe_workflow(p_workflow => v_workflow);
end;
$$;
comment on function flowgres.pause_workflow(text, text) is $$Let no execution of a workflow go on until it is resumed

Starts are accepted and wait; what runs ends and is recorded. Pausing twice is no error.$$;

create or replace function flowgres.resume_workflow(p_workflow text, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  v_workflow := flowgres.find_workflow_locked(p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow);
  if flowgres.end_pause(p_tenant_id => v_workflow.tenant_id, p_workflow_id => v_workflow.id) then
    perform flowgres.audit_act(
      p_tenant_id => v_workflow.tenant_id, p_action => 'workflow_resumed', p_subject => v_workflow.id::text, p_reason => p_reason);
  end if;
  return flowgres.describe_workflow(p_workflow => v_workflow);
end;
$$;
comment on function flowgres.resume_workflow(text, text) is $$Let a paused workflow go on; resuming one that is not paused is no error.$$;
