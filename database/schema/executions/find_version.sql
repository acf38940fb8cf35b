-- Which version is started, and whether it may be.

set local role flowgres_owner;

create or replace function flowgres.find_version(p_workflow flowgres.workflows, p_version integer, p_kind text default 'dag')
  returns flowgres.workflow_versions language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_version flowgres.workflow_versions;
begin
  perform flowgres.check_kind(p_workflow => p_workflow, p_kind => p_kind);
  select v.* into v_version
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id
    -- Where none is active, the newest that was meant to be is the one to speak of.
    and (v.version = coalesce(p_version, (p_workflow).active_version)
      or coalesce(p_version, (p_workflow).active_version) is null and v.state <> 'draft')
  order by v.version desc
  limit 1;
  if v_version.state = 'invalid' and (p_version is not null or (p_workflow).active_version is null) then
    perform flowgres.fail_version(p_workflow => p_workflow, p_version => v_version);
  end if;
  if p_version is null and (p_workflow).status <> 'active' then
    perform flowgres.fail(
      p_status => 409, p_code => 'workflow_not_active',
      p_message => format('workflow %L is %s', (p_workflow).name, (p_workflow).status),
      p_hint => format('Activate it: flowgres workflows activate %s', (p_workflow).name));
  end if;
  if v_version.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'version_not_found',
      p_message => format('workflow %L has no version %s', (p_workflow).name, p_version),
      p_hint => 'List /workflow_versions.');
  end if;
  if v_version.state = 'draft' then
    perform flowgres.fail(
      p_status => 409, p_code => 'version_not_ready',
      p_message => format('version %s of workflow %L is a draft', v_version.version, (p_workflow).name),
      p_hint => format(
        'Activate it: flowgres workflows activate %s --version %s', (p_workflow).name, v_version.version));
  end if;
  return v_version;
end;
$$;
comment on function flowgres.find_version(flowgres.workflows, integer, text) is $$The version to start: the one asked for, else the active one; refuses a workflow of another kind.$$;

create or replace function flowgres.check_tenant_may_start(p_tenant_id uuid)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_status text;
begin
  select t.status into v_status from flowgres.tenants as t where t.tenant_id = p_tenant_id;
  if v_status = 'suspended' then
    perform flowgres.fail(
      p_status => 403, p_code => 'tenant_suspended', p_message => 'this tenant is suspended',
      p_hint => 'Ask the operator of this installation.');
  end if;
end;
$$;
comment on function flowgres.check_tenant_may_start(uuid) is $$Refuse starts of a suspended tenant.$$;

create or replace function flowgres.find_active_version(p_tenant_id uuid, p_workflow_id uuid)
  returns flowgres.workflow_versions language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
  v_version flowgres.workflow_versions;
begin
  -- No more than a start needs: definitions can be large.
  select
    v.tenant_id, v.id, v.workflow_id, v.version, v.step_count, v.hidden_step_count, v.root_indexes, v.inputs,
    v.takes_additional_inputs, v.timeout_seconds, v.priority, v.correlation_path, v.start_rule, v.max_retries,
    v.concurrency
  into
    v_version.tenant_id, v_version.id, v_version.workflow_id, v_version.version, v_version.step_count,
    v_version.hidden_step_count, v_version.root_indexes, v_version.inputs, v_version.takes_additional_inputs,
    v_version.timeout_seconds, v_version.priority, v_version.correlation_path, v_version.start_rule, v_version.max_retries,
    v_version.concurrency
  from flowgres.tenants as t
  join flowgres.workflows as w on w.tenant_id = t.tenant_id
  join flowgres.workflow_versions as v on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.active_version
  where t.tenant_id = p_tenant_id and t.status <> 'suspended' and w.id = p_workflow_id
    and w.kind = 'dag' and w.deleted_at is null and w.status = 'active' and v.state not in ('draft', 'invalid');
  if v_version.id is null then
    perform flowgres.check_tenant_may_start(p_tenant_id);
    v_workflow := flowgres.find_workflow(p_tenant_id => p_tenant_id, p_workflow => p_workflow_id::text);
    v_version := flowgres.find_version(p_workflow => v_workflow, p_version => null);
  end if;
  return v_version;
end;
$$;
comment on function flowgres.find_active_version(uuid, uuid) is $$The version of a workflow that a trigger starts now

Refuses what any start refuses. Holds no more of it than a start needs: definitions can be large.$$;
