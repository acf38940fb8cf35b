-- differences
--
-- Who owns what, and who may use what. A new function or table is private until it is named here.
--
-- Only rights of our own roles and of PUBLIC are compared: what you grant to your own roles is yours.

set local role flowgres_owner;

create or replace view flowgres.right_differences with (security_invoker = true) as
with named (schema, owner, roles, names) as (
  values
  -- Functions are named once for each set of roles; a wrong name is a difference that nobody can mend, and not a hole. Those
  -- that are SECURITY DEFINER, or are made by another role than flowgres_owner, have to be named.
  -- Everybody: who am I, what time is it, how to refuse. Policies and wrappers evaluate these as the caller.
  (
    'flowgres', 'flowgres_owner',
    '{flowgres_anon,flowgres_viewer,flowgres_worker,flowgres_operator,flowgres_front,flowgres_runner,flowgres_sql,flowgres_authenticator}'::text[],
    '{
      tenant_id, tenant_of_login, tenant_of_call, system_tenant_id, now, clock_shift, actor, fail, version, refuse_caller, authenticate,
      assume_caller, check_privilege, pre_request, enter, openapi, openapi_type, openapi_answer, openapi_title, openapi_views, openapi_functions,
      openapi_base_path, openapi_media_type, api_reach, api_errors, described_functions
    }'::text[]
  ),
  ('flowgres', 'flowgres_owner', '{flowgres_viewer,flowgres_operator}', '{
    require_tenant, setting, tenant_settings, uuid_v7_time, uuid_v7_floor, progress_percent, execution_metrics, is_operator, runner_name,
    describe_function, describe_outcome, step_label, schedule_status, describe_start_rule, named_webhook_path, show_webhook_path, duration_place,
    place_seconds, shown_seconds, metric_samples, metric_parts, minute_of, hour_of, webhook_metrics, normalise_message, error_samples,
    list_error_groups, is_hidden, hidden_id, notification_name, installed_triggers, installed_changes, has_business_role, is_approver, may_decide,
    count_approvals, show_decisions, given_key, stands_in_line, line_of, signal_address, shell_word, parked_reason, held_reason, queue_reason,
    standing_still, is_version_still, explain_pause, seen_signals, explain_row, explain_wait, explain_approval, explain_task, explain_attempts,
    explain_child, helping_call, helping_command, describe_concurrency, capability_of, core_step_types, definition_schema
  }'),
  ('flowgres', 'flowgres_owner', '{flowgres_operator}', '{
    use_tenant, place, is_copy, server_identifier, database_oid, installation_mark, purge_tenant, tenant_tables, count_tenant_rows, export_tables
  }'),
  ('flowgres', 'flowgres_owner', '{flowgres_runner}', '{create_history, retire_history, maintain_history, apply_retentions}'),
  -- What the API serves.
  ('flowgres_api', 'flowgres_owner', '{flowgres_anon,flowgres_viewer,flowgres_operator}', '{register_tenant, health, openapi}'),
  ('flowgres_api', 'flowgres_owner', '{flowgres_viewer}', '{
    validate_workflow, get_execution, execution_metrics, step_executions, attempts, execution_events, workflow, parent, children, execution,
    executions, workflows, workflow_versions, workflow_steps, preview_schedule, webhooks, get_transitions, verify_history, entity_workflows,
    workflow_history, workflow_states, workflow_transitions, instance_executions, export_history, approvals, tasks, execution_why, original,
    replays, compare_executions
  }'),
  ('flowgres_api', 'flowgres_owner', '{flowgres_member}', '{
    import_workflow, activate_workflow, deactivate_workflow, archive_workflow, delete_workflow, update_workflow, add_step, start_execution,
    start_executions, cancel_execution, retry_execution, pause_schedule, resume_schedule, trigger_schedule, backfill_schedule, emit_event,
    rotate_webhook, redeliver_webhook, redeliver_notification, start_workflow, start_workflow_by_id, start_workflows, execute_transition,
    execute_transitions, send_signal, decide_approval, pause_execution, resume_execution, update_execution, pause_workflow, resume_workflow,
    replay_execution, retry_step, skip_step, complete_step, fail_step, cancel_step, update_step
  }'),
  ('flowgres_api', 'flowgres_owner', '{flowgres_admin,flowgres_operator}', '{pause_tenant, resume_tenant}'),
  ('flowgres_api', 'flowgres_owner', '{flowgres_admin}', '{
    set_limit, delete_limit, create_api_key, rotate_api_key, revoke_api_key, set_setting, set_notification, delete_notification, migrate_instances
  }'),
  ('flowgres_api', 'flowgres_owner', '{flowgres_member,flowgres_worker}', '{claim_tasks, extend_task, complete_task, fail_task}'),
  ('flowgres_api', 'flowgres_owner', '{flowgres_operator}', '{
    adopt_installation, add_tenant_login, remove_tenant_login, allow_function, disallow_function, suspend_tenant, restore_tenant, delete_tenant,
    purge_tenant
  }'),
  -- SECURITY DEFINER, under the policy of the caller's tenant.
  ('flowgres', 'flowgres_definer', '{flowgres_anon,flowgres_viewer,flowgres_operator}', '{register_tenant}'),
  ('flowgres', 'flowgres_definer', '{flowgres_viewer}', '{
    validate_workflow, get_execution, compare_executions, preview_schedule, get_transitions, verify_history, find_stream, read_events, read_changes,
    watch_tenant, export_history, count_tasks, show_limits
  }'),
  ('flowgres', 'flowgres_definer', '{flowgres_member}', '{
    import_workflow, import_checked_workflow, activate_workflow, deactivate_workflow, archive_workflow, delete_workflow, update_workflow, add_step,
    start_execution, start_executions, cancel_execution, retry_execution, pause_schedule, resume_schedule, trigger_schedule, backfill_schedule,
    emit_event, rotate_webhook, redeliver_webhook, webhook_path, redeliver_notification, start_workflow, start_workflows, execute_transition,
    execute_transitions, send_signal, decide_approval, pause_execution, resume_execution, update_execution, pause_workflow, resume_workflow,
    await_end, replay_execution, retry_step, skip_step, finish_step, fail_step, cancel_step, update_step
  }'),
  ('flowgres', 'flowgres_definer', '{flowgres_admin}', '{
    create_api_key, rotate_api_key, revoke_api_key, set_setting, put_secret, delete_secret, set_notification, delete_notification,
    migrate_instances, set_limit, delete_limit
  }'),
  ('flowgres', 'flowgres_definer', '{flowgres_member,flowgres_worker}', '{claim_tasks, extend_task, complete_task, fail_task, return_tasks}'),
  ('flowgres', 'flowgres_definer', '{}', '{find_api_key}'),
  -- SECURITY DEFINER, and sees all tenants.
  ('flowgres', 'flowgres_engine', '{flowgres_anon,flowgres_viewer,flowgres_operator,flowgres_front,flowgres_worker}', '{authenticate_key, is_tenant_open, health}'),
  ('flowgres', 'flowgres_engine', '{flowgres_admin,flowgres_operator}', '{pause_tenant, resume_tenant}'),
  -- The front's own login: a delivery has no caller; and for those who wait, of any tenant, that something happened, and never what.
  ('flowgres', 'flowgres_engine', '{flowgres_front}', '{
    find_webhook, receive_delivery, reject_deliveries, receive_callback, installation_health, installation_metrics, look_at_executions,
    look_at_tenants, look_at_queues
  }'),
  ('flowgres', 'flowgres_engine', '{flowgres_viewer,flowgres_operator}', '{list_runners, metrics_until, serving_runners, heard_runner, place_in_line, explain_limit}'),
  ('flowgres', 'flowgres_engine', '{flowgres_viewer,flowgres_operator,flowgres_definer}', '{unserved_reason}'),
  ('flowgres', 'flowgres_engine', '{flowgres_operator}', '{
    adopt_installation, capture_changes, list_table_triggers, add_tenant_login, remove_tenant_login, list_tenant_logins, allow_function,
    disallow_function, show_tenant, suspend_tenant, restore_tenant, delete_tenant
  }'),
  -- The runner's other login, in which functions of users run: it knows a lease, or it gets nothing.
  ('flowgres', 'flowgres_engine', '{flowgres_sql}', '{open_sql_call, close_sql_call}'),
  ('flowgres', 'flowgres_engine', '{flowgres_definer}', '{write_installation_setting, move_instance, move_instances}'),
  ('flowgres', 'flowgres_engine', '{flowgres_definer,flowgres_owner}', '{has_sleepers, keep_ends, follow_ends, note_reopened}'),
  ('flowgres', 'flowgres_engine', '{flowgres_runner}', '{
    register_runner, heartbeat, claim, complete_and_claim, complete_chains, get_contexts, release, release_unknown, declare_idle, stop_runner,
    get_version, rescue_expired_leases, expire_executions, prune, cancel_orphan, wake_pending, follow_pending, get_secrets, unchecked_versions,
    confirm_version, custom_step_types, fire_schedules, realign_schedules, start_changes, measure_history, report_progress, prune_metrics,
    take_ends, get_spans, forget_ends, fire_slas, get_instances, fire_approvals, settle_pauses, admit
  }'),
  ('flowgres', 'flowgres_engine', '{}', '{
    check_invariants, oldest_ready_at, unserved_types, give_back, prune_streams, prune_expired, runner_counters, runner_states, forget_runners,
    tenant_role_of, tenant_locked, describe_tenant, tenant_to_act_on, change_standing
  }'),
  ('flowgres', 'flowgres_engine', '{flowgres_owner}', '{require_operator, tenant_of_slug, cancel_tenant}')
),

-- Functions of the owner that the definer's and the engine's do not call: inside the engine all others may be.
aside (names) as (
  values ('{
      set_clock, write_clock_shift, protect_table, seed_settings, keep_environment, use_tenant, create_history_defaults, build_history_period,
      attach_history_period, create_history, lock_history_tables, drop_history_period, retire_history, sweep_history, maintain_history, pre_request,
      assume_caller, delete_history, delete_executions, choose_past_executions, bound_past_executions, apply_retentions, purge_tenant,
      delete_tenant_rows, end_purge, count_tenant_rows
    }')
),

-- A view runs with its caller's rights, so the tables beneath it are granted too, never with what a view hides.
readable (roles, names, columns) as (
  values
  (
    '{flowgres_viewer}'::text[],
    '{
      flowgres.tenants, flowgres.settings, flowgres.workflows, flowgres.workflow_versions, flowgres.workflow_steps, flowgres.step_types,
      flowgres.executions, flowgres.step_executions, flowgres.step_items, flowgres.attempts, flowgres.events, flowgres.schedules,
      flowgres.subscriptions, flowgres.webhook_deliveries, flowgres.webhook_rejections, flowgres.metric_rollups, flowgres.metric_open,
      flowgres.error_rollups, flowgres.notifications, flowgres.machine_states, flowgres.machine_transitions, flowgres.instances,
      flowgres.instance_history, flowgres.instance_executions, flowgres.signals, flowgres.approvals, flowgres.sql_functions, flowgres.tasks,
      flowgres.waits, flowgres.pauses
    }'::text[],
    null::text[]
  ),
  ('{flowgres_viewer,flowgres_definer,flowgres_engine}', '{flowgres.all_events}', null),
  ('{flowgres_viewer,flowgres_operator}', '{flowgres.secrets}', '{tenant_id, name, created_at, updated_at, updated_by}'),
  -- All but the address, which is as good as a right to start: show_webhook_path has it.
  ('{flowgres_viewer}', '{flowgres.webhooks}', '{
      tenant_id, id, workflow_id, place, path, scheme, secret_name, previous_secret_name, previous_until, input, created_at, updated_at
    }'),
  -- The policies give tenants no row of it; runner_name reads it, for operators.
  ('{flowgres_viewer}', '{flowgres.runners}', '{tenant_id, id, name}'),
  ('{flowgres_viewer}', '{flowgres.work_queue}', '{
      tenant_id, execution_id, id, version_id, runner_id, due_at, ready_at, claimed_at, iteration, step_index, attempt, generation, priority, resume,
      held, waits_for, round, capability, past_attempts, held_for
    }'),
  ('{flowgres_admin,flowgres_operator}', '{flowgres.api_keys}', '{tenant_id, prefix, name, role, roles, created_by, created_at, expires_at, revoked_at}'),
  ('{flowgres_admin}', '{flowgres.audit_log}', null),
  ('{flowgres_viewer,flowgres_operator}', '{
      flowgres_api.tenants, flowgres_api.settings, flowgres_api.workflows, flowgres_api.workflow_versions, flowgres_api.workflow_steps,
      flowgres_api.executions, flowgres_api.step_executions, flowgres_api.attempts, flowgres_api.execution_events, flowgres_api.secrets,
      flowgres_api.runners, flowgres_api.schedules, flowgres_api.subscriptions, flowgres_api.webhooks, flowgres_api.webhook_deliveries,
      flowgres_api.error_groups, flowgres_api.notifications, flowgres_api.notification_deliveries, flowgres_api.workflow_states,
      flowgres_api.workflow_transitions, flowgres_api.entity_workflows, flowgres_api.workflow_history, flowgres_api.instance_executions,
      flowgres_api.signals, flowgres_api.approvals, flowgres_api.sql_functions, flowgres_api.tasks, flowgres_api.task_queues,
      flowgres_api.execution_why, flowgres_api.limits
    }', null),
  ('{flowgres_admin,flowgres_operator}', '{flowgres_api.api_keys, flowgres_api.audit_log}', null)
),

wanted_on_schemas (schema, role, privilege) as (
  select s.schema, r.role, p.privilege
  from (
    values
    -- CREATE, because a function is made by the role that is to own it.
    ('flowgres', '{flowgres_definer,flowgres_engine}'::text[], array['USAGE', 'CREATE']),
    (
      'flowgres',
      '{flowgres_anon,flowgres_viewer,flowgres_member,flowgres_admin,flowgres_operator,flowgres_runner,flowgres_front}'
      || '{flowgres_authenticator,flowgres_sql,flowgres_worker}'::text[],
      array['USAGE']
    ),
    ('flowgres_api', '{flowgres_anon,flowgres_viewer,flowgres_member,flowgres_admin,flowgres_operator,flowgres_worker}', array['USAGE'])
  ) as s (schema, roles, privileges)
  cross join unnest(s.roles) as r (role)
  cross join unnest(s.privileges) as p (privilege)
),

schemas as (
  select n.oid, n.nspname as schema, n.nspowner as owner, n.nspacl as acl, format('schema %I', n.nspname) as object
  from pg_catalog.pg_namespace as n
  where n.nspname in ('flowgres', 'flowgres_api')
),

functions as (
  select
    p.oid,
    s.schema,
    p.proname::text as name,
    p.proowner as owner,
    p.proacl as acl,
    'function ' || p.oid::regprocedure as object,
    p.prosecdef as is_definer,
    coalesce(o.owner, e.owner, 'flowgres_owner') as wanted_owner,
    o.owner is null and (p.prosecdef or e.owner is not null) as is_unnamed,
    (select c.line from unnest(p.proconfig) as c (line) where starts_with(c.line, 'search_path=')) as search_path
  from pg_catalog.pg_proc as p
  join schemas as s on s.oid = p.pronamespace
  left join lateral (
    select w.owner from named as w where w.schema = s.schema and p.proname = any(w.names) limit 1
  ) as o on true
  left join (values ('flowgres_definer'), ('flowgres_engine')) as e (owner) on e.owner = pg_get_userbyid(p.proowner)
),

relations as (
  select
    c.oid,
    s.schema,
    s.schema || '.' || c.relname as name,
    case c.relkind when 'v' then 'view ' when 'S' then 'sequence ' else 'table ' end || format('%I.%I', s.schema, c.relname) as object,
    c.relname::text as short_name,
    c.relkind,
    -- A period of history is built apart, and attached when its locks are free.
    c.relispartition or c.relname ~ '_[0-9]{12}$' as is_partition,
    c.relowner as owner,
    c.relacl as acl,
    c.reloptions as options
  from pg_catalog.pg_class as c
  join schemas as s on s.oid = c.relnamespace
  where c.relkind in ('r', 'p', 'v', 'S')
),

wanted_on_relations (name, role, privilege, attribute) as (
  -- The engine's own roles work on all tables; which rows they reach is the policies' matter. No TRUNCATE, which no policy
  -- binds, and no REFERENCES, which looks past them. The audit and the history of instances are only ever added to, and an
  -- instance is never deleted.
  select r.name, o.role, p.privilege, null
  from relations as r
  cross join (values ('flowgres_definer'), ('flowgres_engine')) as o (role)
  cross join (values ('SELECT'), ('INSERT'), ('UPDATE'), ('DELETE')) as p (privilege)
  where r.relkind in ('r', 'p') and not r.is_partition and r.short_name not in ('clock', 'migrations', 'schema_files')
    and not (r.short_name in ('audit_log', 'instance_history') and p.privilege in ('UPDATE', 'DELETE'))
    and not (r.short_name = 'instances' and p.privilege = 'DELETE')
  union
  -- What a row of the queue takes when it becomes ready again, and how far that has come.
  select r.name, o.role, p.privilege, null
  from relations as r
  cross join (values ('flowgres_definer'), ('flowgres_engine')) as o (role)
  cross join (values ('SELECT'), ('USAGE')) as p (privilege)
  where r.relkind = 'S' and r.short_name = 'work_queue_id_seq'
  union
  select r.name, 'flowgres_operator', 'SELECT', null
  from relations as r
  where r.relkind in ('r', 'p', 'v') and not r.is_partition and r.short_name not in ('clock', 'secrets', 'api_keys')
    and r.short_name not like '%\_differences'
  union
  select n.name, o.role, 'SELECT', a.attribute
  from readable as w
  cross join unnest(w.names) as n (name)
  cross join unnest(w.roles) as o (role)
  cross join unnest(coalesce(w.columns, array[null])) as a (attribute)
),

wanted_on_functions (oid, role) as (
  select f.oid, r.role
  from named as w
  join functions as f on f.schema = w.schema and f.name = any(w.names)
  cross join unnest(w.roles) as r (role)
  union
  -- Inside the engine, functions call each other: the definer's and the engine's run the owner's helpers.
  select f.oid, r.role
  from functions as f
  cross join (values ('flowgres_definer'), ('flowgres_engine')) as r (role)
  where f.schema = 'flowgres' and f.wanted_owner = 'flowgres_owner' and f.name <> all((select a.names from aside as a)::text[])
),

types as (
  select t.typowner as owner, format('type %I.%I', s.schema, t.typname) as object
  from pg_catalog.pg_type as t
  join schemas as s on s.oid = t.typnamespace
  where t.typtype in ('d', 'e')
    or exists (select from pg_catalog.pg_class as c where c.oid = t.typrelid and c.relkind = 'c')
),

owned (step, object, owner, wanted_owner, letter, acl) as (
  select 1, s.object, s.owner, 'flowgres_owner', 'n'::"char", s.acl from schemas as s
  union all
  select 3, r.object, r.owner, 'flowgres_owner', case r.relkind when 'S' then 's' else 'r' end::"char", r.acl from relations as r
  union all
  select 3, f.object, f.owner, f.wanted_owner, 'f', f.acl from functions as f
  union all
  select 3, t.object, t.owner, 'flowgres_owner', null, null from types as t
),

-- One row for each right that somebody has or should have.
rights (object, actor, role, privilege, attribute, is_wanted) as (
  select s.object, 'flowgres_owner', w.role, w.privilege, null, true
  from wanted_on_schemas as w join schemas as s on s.schema = w.schema
  union all
  select r.object, 'flowgres_owner', w.role, w.privilege, w.attribute, true
  from wanted_on_relations as w join relations as r on r.name = w.name
  union all
  select f.object, f.wanted_owner, w.role, 'EXECUTE', null, true
  from wanted_on_functions as w join functions as f on f.oid = w.oid
  union all
  -- What an owner may by itself is the wanted owner's, and goes over with the ownership.
  select o.object, o.wanted_owner, o.wanted_owner as role, d.privilege_type, null, true
  from owned as o cross join lateral aclexplode(acldefault(o.letter, o.owner)) as d
  where d.grantee = o.owner
  union all
  select
    o.object, o.wanted_owner,
    case a.grantee when o.owner then o.wanted_owner when 0 then 'public' else pg_get_userbyid(a.grantee)::text end,
    a.privilege_type, null, false
  from owned as o cross join lateral aclexplode(coalesce(o.acl, acldefault(o.letter, o.owner))) as a
  union all
  select
    r.object, 'flowgres_owner', case a.grantee when 0 then 'public' else pg_get_userbyid(a.grantee)::text end,
    a.privilege_type, t.attname, false
  from relations as r
  join pg_catalog.pg_attribute as t on t.attrelid = r.oid and t.attacl is not null
  cross join lateral aclexplode(t.attacl) as a
  where a.grantee <> r.owner
),

unequal (object, actor, role, is_wanted, rights) as (
  select g.object, g.actor, g.role, g.is_wanted, string_agg(g.right, ', ' order by g.right)
  from (
    select
      d.object, d.actor, d.role, d.is_wanted,
      lower(d.privilege collate "C") || coalesce(' (' || string_agg(quote_ident(d.attribute), ', ' order by d.attribute) || ')', '') as right
    from (
      select r.object, r.actor, r.role, r.privilege, r.attribute, bool_or(r.is_wanted) as is_wanted
      from rights as r
      where r.role in (
        'public', 'flowgres_owner', 'flowgres_definer', 'flowgres_engine', 'flowgres_anon', 'flowgres_viewer', 'flowgres_member',
        'flowgres_admin', 'flowgres_operator', 'flowgres_runner', 'flowgres_front', 'flowgres_authenticator', 'flowgres_sql',
        'flowgres_worker'
      )
      group by r.object, r.actor, r.role, r.privilege, r.attribute
      -- Wanted and not there, or there and not wanted.
      having bool_and(r.is_wanted) or not bool_or(r.is_wanted)
    ) as d
    group by d.object, d.actor, d.role, d.is_wanted, d.privilege, d.attribute is null
  ) as g
  group by g.object, g.actor, g.role, g.is_wanted
),

differences (step, object, problem, actor, repair) as (
  select
    o.step, o.object, format('belongs to %s, not to %s', pg_get_userbyid(o.owner), o.wanted_owner), null,
    format('alter %s owner to %I', o.object, o.wanted_owner)
  from owned as o
  -- A sequence belongs to whom its table belongs.
  where pg_get_userbyid(o.owner) <> o.wanted_owner and not starts_with(o.object, 'sequence ')
  union all
  select
    case when starts_with(u.object, 'schema ') then 2 else 4 end,
    u.object,
    format(case when u.is_wanted then '%s may not %s' else '%s may %s' end, u.role, u.rights),
    u.actor,
    format(
      case when u.is_wanted then 'grant %s on %s to %s' else 'revoke %s on %s from %s' end,
      u.rights, regexp_replace(u.object, '^view ', 'table '), u.role)
  from unequal as u
  union all
  -- Functions are private until granted, whichever of the three roles makes them.
  select
    4, 'role ' || r.rolname, 'makes functions that PUBLIC may execute', r.rolname,
    format('alter default privileges for role %I revoke execute on functions from public', r.rolname)
  from pg_catalog.pg_roles as r
  where r.rolname in ('flowgres_owner', 'flowgres_definer', 'flowgres_engine') and not exists (
    select from pg_catalog.pg_default_acl as d
    where d.defaclrole = r.oid and d.defaclnamespace = 0 and d.defaclobjtype = 'f'
      and not exists (select from aclexplode(d.defaclacl) as a where a.grantee = 0)
  )
  union all
  -- An empty path, or one without pg_temp, leaves pg_temp first for the names of types.
  select
    4, f.object, coalesce('has another ' || f.search_path, 'has no search_path of its own'), f.wanted_owner,
    format('alter %s set search_path to pg_catalog, pg_temp', f.object)
  from functions as f
  where coalesce(f.search_path, case when f.is_definer then '' end) <> 'search_path=pg_catalog, pg_temp'
  union all
  select
    4, r.object, 'does not run with the rights of its caller', 'flowgres_owner',
    format('alter %s set (security_invoker = true)', r.object)
  from relations as r
  where r.relkind = 'v' and r.options @> '{security_invoker=true}' is not true
  union all
  -- What nobody can mend: this file is wrong.
  select 5, f.object, 'is not the owner''s alone, and access/grants.sql does not name it', null, null
  from functions as f
  where f.is_unnamed
  union all
  select 5, format('function %s.%s', w.schema, n.name), 'is named in access/grants.sql, and does not exist', null, null
  from named as w cross join unnest(w.names) as n (name)
  where not exists (select from functions as f where f.schema = w.schema and f.name = n.name)
  union all
  select 5, 'relation ' || n.name, 'is named in access/grants.sql, and does not exist', null, null
  from readable as w cross join unnest(w.names) as n (name)
  where not exists (select from relations as r where r.name = n.name)
)

select d.object, d.problem, d.actor::text as actor, d.repair
from differences as d
order by d.step, d.object collate "C", d.problem collate "C";
