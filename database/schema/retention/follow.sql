-- Whose executions are deleted early: as the active version of a workflow says, or a setting of the tenant.

set local role flowgres_owner;

create or replace function flowgres.follow_retention(p_workflow flowgres.workflows)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_seconds double precision;
begin
  -- Before the first version there is nothing to keep; what a deleted workflow has left is kept for as long as its last one said.
  if (p_workflow).active_version is null or (p_workflow).deleted_at is not null then
    return;
  end if;
  select (v.definition #>> '{settings,retention}')::double precision into v_seconds
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id and v.version = (p_workflow).active_version;
  perform flowgres.write_retention(
    p_tenant_id => (p_workflow).tenant_id, p_workflow_id => (p_workflow).id, p_keep_seconds => v_seconds);
end;
$$;
comment on function flowgres.follow_retention(flowgres.workflows) is $$Keep the executions of a workflow for as long as its active version says, those of earlier versions too.$$;

create or replace function flowgres.follow_tenant_retention(p_tenant_id uuid)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.write_retention(
    p_tenant_id => p_tenant_id, p_workflow_id => flowgres.system_tenant_id(), p_keep_seconds => 86400 * (
      select (s.value #>> '{}')::double precision
      from flowgres.settings as s
      where s.tenant_id = p_tenant_id and s.name = 'log_retention_days'));
end;
$$;
comment on function flowgres.follow_tenant_retention(uuid) is $$Keep the executions of a tenant for as long as its own log_retention_days say.$$;

create or replace function flowgres.check_retention(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_days double precision;
begin
  if jsonb_typeof(p_definition #> '{settings,retention}') is distinct from 'number' then
    return '{}';
  end if;
  v_days := (flowgres.setting(p_tenant_id, 'log_retention_days') #>> '{}')::double precision;
  if (p_definition #>> '{settings,retention}')::double precision <= v_days * 86400 then
    return '{}';
  end if;
  return array[flowgres.problem(
    p_path => 'settings.retention', p_code => 'retention_too_long',
    p_message => format('executions are deleted after %s days here, however long the workflow keeps them', v_days),
    p_hint => 'An administrator can raise log_retention_days.')];
end;
$$;
comment on function flowgres.check_retention(uuid, jsonb) is $$A retention that is longer than that of the tenant, or else of the installation, as a warning: it changes nothing.$$;

create or replace function flowgres.write_retention(p_tenant_id uuid, p_workflow_id uuid, p_keep_seconds double precision)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if p_keep_seconds is null then
    delete from flowgres.retentions as r where r.tenant_id = p_tenant_id and r.workflow_id = p_workflow_id;
    return;
  end if;
  insert into flowgres.retentions as r (tenant_id, workflow_id, keep_seconds, next_at)
  values (p_tenant_id, p_workflow_id, p_keep_seconds, flowgres.now())
  on conflict (tenant_id, workflow_id) do update
  set keep_seconds = excluded.keep_seconds, next_at = excluded.next_at, last_id = null
  where r.keep_seconds <> excluded.keep_seconds;
end;
$$;
comment on function flowgres.write_retention(uuid, uuid, double precision) is $$Note for how long executions are kept; null: for as long as all others.$$;
