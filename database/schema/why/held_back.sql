-- What somebody holds back: by a pause, or by a limit that is taken.

set local role flowgres_owner;

create or replace function flowgres.standing_still()
  returns jsonb language plpgsql stable
as $$
begin
  return (
    select jsonb_build_object(
      'tenants', coalesce(jsonb_agg(p.tenant_id) filter (where p.workflow_id = '00000000-0000-0000-0000-000000000000'), '[]'),
      'is_any_workflow', coalesce(bool_or(p.workflow_id <> '00000000-0000-0000-0000-000000000000'), false))
    from flowgres.pauses as p
    where p.resumed_at is null);
end;
$$;
comment on function flowgres.standing_still() is $$What stands still of what the caller sees: {tenants, is_any_workflow}. Asked once a query.$$;

create or replace function flowgres.is_version_still(p_tenant_id uuid, p_version_id uuid)
  returns boolean language plpgsql stable
as $$
begin
  return exists (
    select from flowgres.workflow_versions as v
    join flowgres.pauses as p on p.tenant_id = v.tenant_id and p.workflow_id = v.workflow_id and p.resumed_at is null
    where v.tenant_id = p_tenant_id and v.id = p_version_id);
end;
$$;
comment on function flowgres.is_version_still(uuid, uuid) is $$Whether the workflow of a version is paused.$$;

create or replace function flowgres.held_reason(p_tenant_id uuid, p_execution_id uuid, p_held_for uuid)
  returns text language plpgsql stable
as $$
begin
  return case
    when p_held_for is null then 'held'
    when p_held_for <> p_execution_id then 'paused_workflow'
    else coalesce((
      select case e.paused_for when e.workflow_id then 'paused_workflow' when e.tenant_id then 'paused_tenant' else 'paused_execution' end
      from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = p_execution_id), 'held') end;
end;
$$;
comment on function flowgres.held_reason(uuid, uuid, uuid) is $$Who holds a row back that is held.$$;

create or replace function flowgres.explain_pause(p_reason text, p_tenant_id uuid, p_execution_id uuid, out since timestamptz, out detail jsonb)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_execution record;
begin
  select e.paused_at, e.paused_for, e.workflow_id, w.name, t.slug into v_execution
  from flowgres.executions as e
  left join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  left join flowgres.tenants as t on t.tenant_id = e.tenant_id
  where e.tenant_id = p_tenant_id and e.id = p_execution_id;
  if p_reason = 'paused_execution' then
    since := v_execution.paused_at;
    select jsonb_build_object('by', v.actor, 'reason', v.message) into detail
    from (
      select v.type, v.actor, v.message
      from flowgres.events as v
      where v.tenant_id = p_tenant_id and v.execution_id = v_execution.paused_for
      order by v.seq desc
      limit 1000
    ) as v
    where v.type = 'execution_paused'
    limit 1;
    detail := coalesce(detail, '{"by": null, "reason": null}')
      || jsonb_strip_nulls(jsonb_build_object('with', nullif(v_execution.paused_for, p_execution_id)));
    return;
  end if;
  select p.paused_at, jsonb_build_object('by', p.paused_by, 'reason', p.reason) into since, detail
  from flowgres.pauses as p
  where p.tenant_id = p_tenant_id and p.workflow_id = case p_reason
    when 'paused_workflow' then v_execution.workflow_id else '00000000-0000-0000-0000-000000000000' end;
  detail := coalesce(detail, '{"by": null, "reason": null}') || case p_reason
    when 'paused_workflow' then jsonb_build_object('workflow', v_execution.name)
    else jsonb_build_object('tenant', v_execution.slug) end;
end;
$$;
comment on function flowgres.explain_pause(text, uuid, uuid) is $$Of a step that is paused: {by, reason}, and the workflow, the tenant, or with which execution it was

The step goes on when the last of several pauses is over; told is the one that holds it now.$$;

set local role flowgres_engine;

create or replace function flowgres.explain_limit(p_tenant_id uuid, p_version_id uuid, p_capability text)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set enable_sort to off
as $$
declare
  v_limit flowgres.limits;
  v_rule jsonb;
begin
  if p_tenant_id is distinct from flowgres.tenant_id() and not flowgres.is_operator() then
    return '{}';
  elsif p_capability like 'refused:%' then
    return '{"is_refused": true}';
  elsif p_capability like 'limit:@%' then
    select v.concurrency into v_rule
    from flowgres.workflow_versions as v
    where v.tenant_id = p_tenant_id and v.id = p_version_id;
  else
    select l.* into v_limit
    from flowgres.limits as l
    where l.tenant_id = p_tenant_id and l.kind = 'step' and l.name = substr(p_capability, 7);
  end if;
  return case
    when p_capability like 'limit:@%' then jsonb_build_object(
      'key', case when v_rule ? 'key' then substr(p_capability, 45) end, 'capacity', v_rule -> 'limit',
      'when_full', coalesce(v_rule ->> 'when_full', 'queue'))
    else jsonb_build_object(
      'name', substr(p_capability, 7), 'is_set', v_limit.name is not null, 'capacity', v_limit.capacity,
      'per_seconds', v_limit.per_seconds) end
    || jsonb_build_object('held_by', coalesce((
      select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
        'execution_id', s.execution_id, 'step', w.id, 'iteration', nullif(s.iteration, -1), 'since', s.taken_at)))
      from (
        select s.* from flowgres.limit_slots as s
        where s.tenant_id = p_tenant_id and s.line = p_capability and flowgres.slot_is_held(s)
        order by s.execution_id, s.queue_id
        limit 5
      ) as s
      join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
      left join flowgres.workflow_steps as w
        on w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.index = s.step_index), '[]'));
end;
$$;
comment on function flowgres.explain_limit(uuid, uuid, text) is $$What a row in the line of a limit waits for

Of steps {name, is_set, capacity, per_seconds, held_by}, of executions {key, capacity, when_full, held_by}. held_by has five at most: {execution_id, step, iteration, since}. Of another tenant's line a caller learns nothing.$$;
