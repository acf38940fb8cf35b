-- Changing settings: an operator the installation's, an administrator the own tenant's within those.

set local role flowgres_engine;

create or replace function flowgres.write_installation_setting(p_name text, p_value jsonb)
  returns void language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  -- Asked again although only operators get here: this writes what holds for everybody.
  if not flowgres.is_operator() then
    perform flowgres.fail(
      p_status => 403, p_code => 'insufficient_role', p_message => 'only an operator changes settings of the installation');
  end if;
  update flowgres.settings as s
  set value = p_value, updated_at = flowgres.now()
  where s.tenant_id = flowgres.system_tenant_id() and s.name = p_name;
  perform flowgres.forget_start_weights(p_tenant_id => null, p_name => p_name);
  insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
  select flowgres.system_tenant_id(), flowgres.uuid_v7(n.now), n.now, flowgres.actor(), 'setting_changed', p_name,
    jsonb_build_object('value', p_value)
  from (select flowgres.now() as now) as n;
end;
$$;
comment on function flowgres.write_installation_setting(text, jsonb) is $$Set a default of the installation; for operators, through set_setting.$$;

set local role flowgres_definer;

create or replace function flowgres.set_setting(p_name text, p_value jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.tenant_id();
  v_value jsonb := nullif(p_value, 'null');
  v_default jsonb;
begin
  select s.value into v_default
  from flowgres.settings as s
  where s.tenant_id = flowgres.system_tenant_id() and s.name = p_name;
  if v_default is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'setting_not_found', p_message => format('setting %L does not exist', left(p_name, 100)),
      p_hint => 'List /settings.');
  end if;
  if jsonb_typeof(v_value) <> jsonb_typeof(v_default)
    or (jsonb_typeof(v_value) = 'number' and v_value::numeric not between 0 and 1e15)
  then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid',
      p_message => format('%s must be a %s', p_name, case jsonb_typeof(v_default)
        when 'number' then 'number that is not negative' else jsonb_typeof(v_default) end),
      p_details => 'value');
  end if;
  perform flowgres.check_setting(p_name => p_name, p_value => v_value);
  if p_name = 'cron_timezone' and not flowgres.is_timezone(v_value #>> '{}') then
    perform flowgres.fail(
      p_status => 422, p_code => 'timezone_unknown', p_message => 'the time zone is not known', p_details => 'value',
      p_hint => 'A name of the IANA database, such as Europe/Berlin.');
  end if;

  if v_tenant_id is null then
    if v_value is null then
      perform flowgres.fail(
        p_status => 400, p_code => 'argument_invalid', p_message => 'a setting of the installation needs a value',
        p_details => 'value');
    end if;
    perform flowgres.write_installation_setting(p_name => p_name, p_value => v_value);
    return jsonb_build_object('name', p_name, 'value', v_value, 'is_override', false);
  end if;

  if not flowgres.is_operator() then
    if p_name <> all(flowgres.tenant_settings()) then
      perform flowgres.fail(
        p_status => 403, p_code => 'setting_not_yours', p_message => format('%s belongs to the whole installation', p_name),
        p_hint => 'Ask its operator.');
    end if;
    if jsonb_typeof(v_default) = 'number' and v_value::numeric > v_default::numeric then
      perform flowgres.fail(
        p_status => 403, p_code => 'setting_above_limit',
        p_message => format('%s may be %s at most', p_name, v_default), p_details => v_default::text,
        p_hint => 'The installation sets the limit; its operator may raise it for a tenant.');
    end if;
  end if;

  if p_name = 'log_retention_days' and v_value::numeric > v_default::numeric then
    perform flowgres.fail(
      p_status => 422, p_code => 'retention_too_long', p_details => 'value',
      p_message => format('history is kept for %s days, and for no tenant longer', v_default),
      p_hint => 'Its periods are dropped for all tenants at once. An operator can raise log_retention_days of the installation.');
  end if;
  if v_value is null then
    delete from flowgres.settings as s where s.tenant_id = v_tenant_id and s.name = p_name;
  else
    insert into flowgres.settings (tenant_id, name, value, updated_at)
    values (v_tenant_id, p_name, v_value, flowgres.now())
    on conflict (tenant_id, name) do update set value = excluded.value, updated_at = excluded.updated_at;
  end if;
  perform flowgres.forget_start_weights(p_tenant_id => v_tenant_id, p_name => p_name);
  if p_name = 'log_retention_days' then
    perform flowgres.follow_tenant_retention(p_tenant_id => v_tenant_id);
  end if;
  perform flowgres.record_audit(
    p_action => 'setting_changed', p_subject => p_name, p_details => jsonb_build_object('value', v_value));
  return jsonb_build_object('name', p_name, 'value', coalesce(v_value, v_default), 'is_override', v_value is not null);
end;
$$;
comment on function flowgres.set_setting(text, jsonb) is $$Change a setting of the caller's tenant; null goes back to the installation's

An administrator may go below the installation's value, an operator anywhere; an operator without a tenant changes the installation's.$$;
