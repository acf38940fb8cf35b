-- Retrying executions by hand: one, or those that a bulk job holds.

set local role flowgres_owner;

create or replace function flowgres.retry_held(
  p_tenant_id uuid, p_execution_ids uuid[], p_actor text, p_reason text, p_version integer default null, p_waits boolean default false
)
  returns jsonb language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_refused jsonb;
  v_ids uuid[];
  v_version flowgres.workflow_versions;
  v_group record;
begin
  select jsonb_agg(to_jsonb(r) - 'is_child') into v_refused
  from flowgres.retry_refusals(p_tenant_id => p_tenant_id, p_execution_ids => p_execution_ids) as r;
  v_ids := array(
    select x.id from unnest(p_execution_ids) as x (id)
    where x.id::text not in (select r.value ->> 'execution_id' from jsonb_array_elements(v_refused) as r (value))
    order by x.id);
  if p_version is null then
    if v_ids <> '{}' then
      perform flowgres.reset_executions(
        p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_actor => p_actor, p_reason => p_reason, p_waits => p_waits, p_now => v_now);
    end if;
    return coalesce(v_refused, '[]');
  end if;
  for v_group in
    select e.workflow_id, array_agg(e.id order by e.id) as ids
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = any(v_ids)
    group by e.workflow_id
    order by e.workflow_id
  loop
    v_refused := coalesce(v_refused, '[]') || flowgres.retry_on_version(
      p_tenant_id => p_tenant_id, p_workflow_id => v_group.workflow_id, p_execution_ids => v_group.ids, p_actor => p_actor,
      p_reason => p_reason, p_version => p_version, p_waits => p_waits, p_now => v_now);
  end loop;
  return coalesce(v_refused, '[]');
end;
$$;
comment on function flowgres.retry_held(uuid, uuid[], text, text, integer, boolean) is $$Retry executions whose locks are held; answers what was not done: [{execution_id, status, code, message, hint}]

Children are locked on the way, waited for if p_waits: a bulk job does not wait, and a child that somebody holds is started anew.$$;

create or replace function flowgres.lock_for_retry(p_tenant_id uuid, p_execution_id uuid)
  returns void language plpgsql
as $$
begin
  perform from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id = p_execution_id
  for no key update;
end;
$$;
comment on function flowgres.lock_for_retry(uuid, uuid) is $$Wait for the lock of an execution, as a caller may.$$;

create or replace function flowgres.refuse_retry(p_refused jsonb)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_code text := p_refused ->> 'code';
begin
  -- Each code in full: the API's document reads here what may be refused.
  if v_code in ('execution_not_found', 'version_not_found') then
    perform flowgres.fail(
      p_status => 404, p_code => case v_code when 'version_not_found' then 'version_not_found' else 'execution_not_found' end,
      p_message => p_refused ->> 'message', p_hint => p_refused ->> 'hint', p_details => p_refused ->> 'details');
  end if;
  perform flowgres.fail(
    p_status => 409, p_code => case v_code
      when 'execution_not_ended' then 'execution_not_ended' when 'execution_completed' then 'execution_completed'
      when 'execution_stopped' then 'execution_stopped' when 'execution_compensated' then 'execution_compensated'
      when 'execution_has_parent' then 'execution_has_parent' when 'workflow_deleted' then 'workflow_deleted'
      when 'version_not_ready' then 'version_not_ready' else 'version_differs' end,
    p_message => p_refused ->> 'message', p_hint => p_refused ->> 'hint', p_details => p_refused ->> 'details');
end;
$$;
comment on function flowgres.refuse_retry(jsonb) is $$Refuse a retry with what retry_held has answered.$$;

set local role flowgres_definer;

create or replace function flowgres.retry_execution(p_execution_id uuid, p_reason text, p_version integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_refused jsonb;
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  perform flowgres.check_tenant_may_start(v_tenant_id);
  perform flowgres.lock_for_retry(p_tenant_id => v_tenant_id, p_execution_id => p_execution_id);
  v_refused := flowgres.retry_held(
    p_tenant_id => v_tenant_id, p_execution_ids => array[p_execution_id], p_actor => flowgres.actor(), p_reason => p_reason,
    p_version => p_version, p_waits => true) -> 0;
  if v_refused is not null then
    perform flowgres.refuse_retry(p_refused => v_refused);
  end if;
  perform flowgres.audit_act(
    p_tenant_id => v_tenant_id, p_action => 'execution_retried', p_subject => p_execution_id::text, p_reason => p_reason,
    p_details => case when p_version is not null then jsonb_build_object('version', p_version) end);
  return flowgres.get_execution(p_execution_id => p_execution_id);
end;
$$;
comment on function flowgres.retry_execution(uuid, text, integer) is $$Retry an execution that failed or was cancelled, from the steps that failed$$;
