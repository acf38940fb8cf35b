-- after-every-change
--
-- Who may use what. Applied last, and again after every change: a new function is private until it is named here.

set local role flowgres_owner;

do $$
declare
  v_table regclass;
begin
  -- The engine's own roles work on all tables; which rows they reach is the policies' matter. No TRUNCATE, which no policy
  -- binds, and no REFERENCES, which looks past them.
  for v_table in
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      and c.relname not in ('clock', 'migrations', 'schema_files')
  loop
    execute format('grant select, insert, update, delete on %s to flowgres_definer, flowgres_engine', v_table);
  end loop;
  -- The audit is only ever added to.
  revoke update, delete on flowgres.audit_log from flowgres_definer, flowgres_engine;

  for v_table in
    select c.oid::regclass
    from pg_catalog.pg_class as c
    where c.relnamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace) and c.relkind in ('r', 'p', 'v')
      and not c.relispartition and c.relname not in ('clock', 'secrets', 'api_keys')
  loop
    execute format('grant select on %s to flowgres_operator', v_table);
  end loop;
end
$$;

-- Reading: a view runs with its caller's rights, so the tables beneath it are granted too, never with what a view hides.
grant select on
  flowgres.tenants, flowgres.settings, flowgres.workflows, flowgres.workflow_versions, flowgres.workflow_steps,
  flowgres.step_types, flowgres.executions, flowgres.step_executions, flowgres.attempts, flowgres.events, flowgres.all_events
to flowgres_viewer;
grant select on flowgres.all_events to flowgres_engine, flowgres_definer;
grant select (tenant_id, name, created_at, updated_at, updated_by) on flowgres.secrets to flowgres_viewer, flowgres_operator;
grant select (
  tenant_id, id, name, version, capabilities, labels, concurrency, is_idle, started_at, seen_at, drained_at, stopped_at
) on flowgres.runners to flowgres_viewer;
grant select (
  tenant_id, execution_id, id, version_id, runner_id, due_at, ready_at, claimed_at, iteration, step_index, attempt,
  generation, priority, resume, held, waits_for
) on flowgres.work_queue to flowgres_viewer;
grant select (tenant_id, prefix, name, role, roles, created_by, created_at, expires_at, revoked_at)
on flowgres.api_keys to flowgres_admin;
grant select on flowgres.audit_log to flowgres_admin;

grant select on
  flowgres_api.tenants, flowgres_api.settings, flowgres_api.workflows, flowgres_api.workflow_versions,
  flowgres_api.workflow_steps, flowgres_api.executions, flowgres_api.step_executions, flowgres_api.attempts,
  flowgres_api.execution_events, flowgres_api.secrets, flowgres_api.runners
to flowgres_viewer, flowgres_operator;
grant select on flowgres_api.api_keys, flowgres_api.audit_log to flowgres_admin, flowgres_operator;

-- Functions are granted by name: there are no overloads, and a wrong name is an error here and not a hole.
create or replace function flowgres.grant_functions(p_schema text, p_names text[], p_roles text)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_name text;
  v_function regprocedure;
  v_is_found boolean;
begin
  foreach v_name in array p_names loop
    v_is_found := false;
    for v_function in
      select p.oid::regprocedure
      from pg_catalog.pg_proc as p
      where p.pronamespace = p_schema::regnamespace and p.proname = v_name
    loop
      execute format('grant execute on function %s to %s', v_function, p_roles);
      v_is_found := true;
    end loop;
    if not v_is_found then
      raise exception 'grants.sql names the function %.%, which does not exist', p_schema, v_name;
    end if;
  end loop;
end;
$$;
comment on function flowgres.grant_functions(text, text[], text) is $$Grant EXECUTE on functions by name

Must run as their owner, so it is called once for each of the three.$$;
grant execute on function flowgres.grant_functions(text, text[], text) to flowgres_definer, flowgres_engine;

do $$
declare
  v_function regprocedure;
begin
  -- Inside the engine, functions call each other: the definer's and the engine's run the owner's helpers.
  for v_function in
    select p.oid::regprocedure
    from pg_catalog.pg_proc as p
    where p.pronamespace = 'flowgres'::regnamespace and p.proowner = 'flowgres_owner'::regrole
      and p.proname not in (
        'set_clock', 'write_clock_shift', 'protect_table', 'tenant_predicate', 'seed_settings', 'use_tenant', 'grant_functions',
        'create_history_defaults', 'build_history_period', 'attach_history_period', 'create_history', 'lock_history_tables',
        'drop_history_period', 'retire_history', 'sweep_history', 'maintain_history', 'pre_request', 'assume_caller')
  loop
    execute format('grant execute on function %s to flowgres_definer, flowgres_engine', v_function);
  end loop;
end
$$;

-- Everybody: who am I, what time is it, how to refuse. Policies and wrappers evaluate these as the caller.
select flowgres.grant_functions('flowgres', array[
  'tenant_id', 'tenant_of_login', 'system_tenant_id', 'now', 'clock_shift', 'actor', 'fail', 'version', 'refuse_caller',
  'authenticate', 'assume_caller', 'check_privilege', 'pre_request'
], 'flowgres_anon, flowgres_viewer, flowgres_operator, flowgres_front, flowgres_runner, flowgres_sql, flowgres_authenticator');
select flowgres.grant_functions('flowgres', array[
  'require_tenant', 'setting', 'describe_outcome', 'uuid_v7_time', 'uuid_v7_floor', 'progress_percent', 'execution_metrics', 'is_operator'
], 'flowgres_viewer, flowgres_operator');
select flowgres.grant_functions('flowgres', array['use_tenant'], 'flowgres_operator');
select flowgres.grant_functions('flowgres', array['create_history', 'retire_history', 'maintain_history'], 'flowgres_runner');

select flowgres.grant_functions('flowgres_api', array['register_tenant', 'health'], 'flowgres_anon, flowgres_viewer, flowgres_operator');
select flowgres.grant_functions('flowgres_api', array[
  'validate_workflow', 'get_execution', 'execution_metrics',
  'step_executions', 'attempts', 'execution_events', 'workflow', 'parent', 'children', 'execution', 'executions'
], 'flowgres_viewer');
select flowgres.grant_functions('flowgres_api', array[
  'import_workflow', 'activate_workflow', 'deactivate_workflow', 'archive_workflow', 'delete_workflow', 'update_workflow',
  'add_step', 'start_execution', 'start_executions', 'cancel_execution'
], 'flowgres_member');
select flowgres.grant_functions('flowgres_api', array[
  'create_api_key', 'rotate_api_key', 'revoke_api_key', 'set_setting'
], 'flowgres_admin');

set local role flowgres_definer;
select flowgres.grant_functions('flowgres', array['register_tenant'], 'flowgres_anon, flowgres_viewer, flowgres_operator');
select flowgres.grant_functions('flowgres', array['validate_workflow', 'get_execution'], 'flowgres_viewer');
select flowgres.grant_functions('flowgres', array[
  'import_workflow', 'import_checked_workflow', 'activate_workflow', 'deactivate_workflow', 'archive_workflow',
  'delete_workflow', 'update_workflow', 'add_step', 'start_execution', 'start_executions', 'cancel_execution'
], 'flowgres_member');
select flowgres.grant_functions('flowgres', array[
  'create_api_key', 'rotate_api_key', 'revoke_api_key', 'set_setting', 'put_secret', 'delete_secret'
], 'flowgres_admin');

set local role flowgres_engine;
select flowgres.grant_functions('flowgres', array['authenticate_key', 'is_tenant_open', 'health'],
  'flowgres_anon, flowgres_viewer, flowgres_operator, flowgres_front');
select flowgres.grant_functions('flowgres', array['write_installation_setting'], 'flowgres_definer');
select flowgres.grant_functions('flowgres', array['engine_health'], 'flowgres_front, flowgres_runner');
select flowgres.grant_functions('flowgres', array[
  'register_runner', 'heartbeat', 'claim', 'complete_and_claim', 'complete_chains', 'get_contexts', 'release', 'release_unknown', 'declare_idle', 'stop_runner',
  'get_version', 'rescue_expired_leases', 'expire_executions', 'prune', 'cancel_orphan', 'wake_pending', 'get_secrets', 'unchecked_versions',
  'confirm_version', 'engine_metrics'
], 'flowgres_runner');

reset role;

do $$
declare
  v_role text;
begin
  -- PostgREST applies these per request, by the role it starts with: the anonymous one for API keys.
  foreach v_role in array array['flowgres_anon', 'flowgres_viewer', 'flowgres_member', 'flowgres_admin'] loop
    execute format('alter role %I set statement_timeout to %L', v_role, '15s');
    execute format('alter role %I set idle_in_transaction_session_timeout to %L', v_role, '30s');
  end loop;
  -- Every statement of these is short, and compiling it would take longer than running it.
  foreach v_role in array array['flowgres_runner', 'flowgres_front', 'flowgres_authenticator'] loop
    execute format('alter role %I set jit to off', v_role);
  end loop;
exception when insufficient_privilege then
  raise notice 'the settings of roles (timeouts, jit) are left as they are: this login may not alter those roles';
end
$$;
