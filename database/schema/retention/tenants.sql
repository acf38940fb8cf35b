-- Tenants that are suspended or deleted, and back again: acts of operators. Purging is in purge.sql.

set local role flowgres_engine;

create or replace function flowgres.tenant_locked(p_slug text)
  returns flowgres.tenants language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant flowgres.tenants;
begin
  perform flowgres.require_operator();
  select t.* into v_tenant
  from flowgres.tenants as t
  where t.tenant_id = flowgres.tenant_of_slug(p_slug => p_slug)
  for no key update;
  if v_tenant.tenant_id is null then
    -- Purged while this waited for the lock.
    perform flowgres.tenant_of_slug(p_slug => p_slug);
  end if;
  return v_tenant;
end;
$$;
comment on function flowgres.tenant_locked(text) is $$The tenant of a slug, locked until the end of the transaction; for operators alone.$$;

create or replace function flowgres.describe_tenant(p_tenant_id uuid)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_counted constant integer := 10000;
begin
  return (
    select jsonb_build_object(
      'tenant_id', t.tenant_id, 'slug', t.slug, 'name', t.name, 'status', t.status, 'created_at', t.created_at,
      'deleted_at', t.deleted_at, 'deleted_by', t.deleted_by,
      'open_executions', (
        select count(*)
        from (select distinct q.execution_id from flowgres.work_queue as q where q.tenant_id = p_tenant_id limit c_most_counted) as o),
      'purge', (select p.step from flowgres.tenant_purges as p where p.tenant_id = p_tenant_id))
    from flowgres.tenants as t
    where t.tenant_id = p_tenant_id);
end;
$$;
comment on function flowgres.describe_tenant(uuid) is $$A tenant as the acts of operators answer with it; open_executions are counted up to 10,000.$$;

create or replace function flowgres.show_tenant(p_slug text)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.require_operator();
  return flowgres.describe_tenant(p_tenant_id => flowgres.tenant_of_slug(p_slug => p_slug));
end;
$$;
comment on function flowgres.show_tenant(text) is $$What an operator may know of a tenant at a glance.$$;

create or replace function flowgres.suspend_tenant(p_slug text, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant flowgres.tenants := flowgres.tenant_locked(p_slug => p_slug);
begin
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  if v_tenant.status <> 'suspended' then
    update flowgres.tenants as t
    set status = 'suspended', updated_at = flowgres.now()
    where t.tenant_id = v_tenant.tenant_id;
    perform flowgres.audit_act(
      p_tenant_id => v_tenant.tenant_id, p_action => 'tenant_suspended', p_subject => v_tenant.slug, p_reason => p_reason);
  end if;
  return flowgres.describe_tenant(p_tenant_id => v_tenant.tenant_id);
end;
$$;
comment on function flowgres.suspend_tenant(text, text) is $$Refuse keys, tokens, starts and webhooks of a tenant; what runs goes on.$$;

create or replace function flowgres.restore_tenant(p_slug text, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant flowgres.tenants := flowgres.tenant_locked(p_slug => p_slug);
begin
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  if exists (select from flowgres.tenant_purges as p where p.tenant_id = v_tenant.tenant_id) then
    perform flowgres.fail(
      p_status => 409, p_code => 'tenant_purge_begun', p_message => format('the tenant %L is being purged', v_tenant.slug),
      p_hint => 'A purge cannot be undone. An export made before it holds what there was.');
  end if;
  if v_tenant.status = 'suspended' then
    update flowgres.tenants as t
    set
      -- One that was paused before, or meanwhile, stands still as it did.
      status = case when flowgres.is_standing_still(p_tenant_id => t.tenant_id, p_workflow_id => flowgres.system_tenant_id())
        then 'paused' else 'active' end,
      deleted_at = null, deleted_by = null, updated_at = flowgres.now()
    where t.tenant_id = v_tenant.tenant_id;
    perform flowgres.audit_act(
      p_tenant_id => v_tenant.tenant_id, p_action => 'tenant_restored', p_subject => v_tenant.slug, p_reason => p_reason);
  end if;
  return flowgres.describe_tenant(p_tenant_id => v_tenant.tenant_id);
end;
$$;
comment on function flowgres.restore_tenant(text, text) is $$Take a suspension or a deletion back. What was cancelled stays cancelled.$$;

create or replace function flowgres.cancel_tenant(p_tenant_id uuid, p_limit integer)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_ids uuid[];
begin
  v_ids := array(
    select distinct q.execution_id from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id
    order by q.execution_id
    limit p_limit);
  -- Parents are older than their children, so those that are found are locked in their order too.
  if v_ids <> '{}' then
    perform flowgres.cancel_tree(
      p_tenant_id => p_tenant_id, p_execution_ids => v_ids, p_reason => 'the tenant was deleted', p_actor => flowgres.actor(),
      p_limit => 2 * p_limit);
  end if;
  return cardinality(v_ids);
end;
$$;
comment on function flowgres.cancel_tenant(uuid, integer) is $$Cancel executions of a tenant, the oldest first, about so many; returns how many were found. Waits for who holds them.$$;

create or replace function flowgres.delete_tenant(p_slug text, p_reason text, p_limit integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant flowgres.tenants;
begin
  perform flowgres.require_operator();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  select t.* into v_tenant
  from flowgres.tenants as t
  where t.tenant_id = flowgres.tenant_of_slug(p_slug => p_slug);
  if v_tenant.deleted_at is null then
    v_tenant := flowgres.tenant_locked(p_slug => p_slug);
  else
    -- Who restores it waits for this call, or is seen here: nothing of a tenant that is back is cancelled.
    select t.* into v_tenant from flowgres.tenants as t where t.tenant_id = v_tenant.tenant_id for share;
    if v_tenant.tenant_id is null then
      perform flowgres.tenant_of_slug(p_slug => p_slug);
    elsif v_tenant.deleted_at is null then
      return flowgres.describe_tenant(p_tenant_id => v_tenant.tenant_id);
    end if;
  end if;
  if v_tenant.deleted_at is null then
    -- To be seen by all before anything is cancelled, and no lock of an execution is waited for behind this one.
    update flowgres.tenants as t
    set status = 'suspended', deleted_at = flowgres.now(), deleted_by = flowgres.actor(), updated_at = flowgres.now()
    where t.tenant_id = v_tenant.tenant_id;
    perform flowgres.audit_act(
      p_tenant_id => v_tenant.tenant_id, p_action => 'tenant_deleted', p_subject => v_tenant.slug, p_reason => p_reason);
  else
    perform flowgres.cancel_tenant(p_tenant_id => v_tenant.tenant_id, p_limit => least(greatest(coalesce(p_limit, 500), 1), 5000));
  end if;
  return flowgres.describe_tenant(p_tenant_id => v_tenant.tenant_id);
end;
$$;
comment on function flowgres.delete_tenant(text, text, integer) is $$Delete a tenant: it is suspended at the first call, and each further one cancels what has not ended, until open_executions is 0

Its rows and its slug stay until it is purged, and restore_tenant takes it back until then. A call beside which another restores the tenant
cancels nothing, and answers with deleted_at null.$$;
