-- Tenants that stand still: their own administrators pause them, and operators, whose pause is theirs alone to end.

set local role flowgres_engine;

create or replace function flowgres.tenant_to_act_on(p_tenant text)
  returns uuid language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_own uuid := flowgres.tenant_id();
begin
  if p_tenant is null then
    return flowgres.require_tenant();
  elsif p_tenant = v_own::text or exists (select from flowgres.tenants as t where t.tenant_id = v_own and t.slug = p_tenant) then
    return flowgres.require_tenant();
  end if;
  perform flowgres.require_operator();
  return flowgres.tenant_of_slug(p_slug => p_tenant);
end;
$$;
comment on function flowgres.tenant_to_act_on(text) is $$The tenant of a slug, the caller's own when there is none; another than one's own is an operator's to name.$$;

create or replace function flowgres.change_standing(p_tenant text, p_reason text, p_is_pause boolean)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.tenant_to_act_on(p_tenant => p_tenant);
  v_is_changed boolean;
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  perform from flowgres.tenants as t where t.tenant_id = v_tenant_id for no key update;
  if p_is_pause then
    v_is_changed := flowgres.begin_pause(
      p_tenant_id => v_tenant_id, p_workflow_id => flowgres.system_tenant_id(), p_actor => flowgres.actor(), p_reason => p_reason);
    if flowgres.is_operator() then
      -- Whoever has paused it before.
      update flowgres.pauses as p
      set is_by_operator = true
      where p.tenant_id = v_tenant_id and p.workflow_id = flowgres.system_tenant_id() and not p.is_by_operator;
    end if;
  else
    if not flowgres.is_operator() and exists (
      select from flowgres.pauses as p
      where p.tenant_id = v_tenant_id and p.workflow_id = flowgres.system_tenant_id() and p.resumed_at is null and p.is_by_operator)
    then
      perform flowgres.fail(
        p_status => 403, p_code => 'insufficient_role', p_message => 'an operator has paused this tenant',
        p_hint => 'Ask the operator of this installation to resume it.');
    end if;
    v_is_changed := flowgres.end_pause(p_tenant_id => v_tenant_id, p_workflow_id => flowgres.system_tenant_id());
  end if;
  if v_is_changed then
    -- One that is suspended stays so.
    update flowgres.tenants as t
    set status = case when p_is_pause then 'paused' else 'active' end
    where t.tenant_id = v_tenant_id and t.status <> 'suspended';
    perform flowgres.audit_act(
      p_tenant_id => v_tenant_id, p_action => case when p_is_pause then 'tenant_paused' else 'tenant_resumed' end,
      p_subject => v_tenant_id::text, p_reason => p_reason);
  end if;
  return (
    select jsonb_build_object(
      'tenant_id', t.tenant_id, 'slug', t.slug, 'name', t.name, 'status', t.status, 'is_paused', p.tenant_id is not null,
      'paused_at', p.paused_at, 'paused_by', p.paused_by)
    from flowgres.tenants as t
    left join flowgres.pauses as p
      on p.tenant_id = t.tenant_id and p.workflow_id = flowgres.system_tenant_id() and p.resumed_at is null
    where t.tenant_id = v_tenant_id);
end;
$$;
comment on function flowgres.change_standing(text, text, boolean) is $$Pause or resume a tenant; returns what it is then.$$;

create or replace function flowgres.pause_tenant(p_tenant text default null, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.change_standing(p_tenant => p_tenant, p_reason => p_reason, p_is_pause => true);
end;
$$;
comment on function flowgres.pause_tenant(text, text) is $$Let nothing of a tenant go on until it is resumed

Starts are accepted and wait. Administrators name no tenant and pause their own; operators name any by its slug.$$;

create or replace function flowgres.resume_tenant(p_tenant text default null, p_reason text default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.change_standing(p_tenant => p_tenant, p_reason => p_reason, p_is_pause => false);
end;
$$;
comment on function flowgres.resume_tenant(text, text) is $$Let a paused tenant go on

What an operator has paused, an operator resumes.$$;
