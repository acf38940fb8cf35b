-- The functions that clients call: one line each, bare argument names (they are the JSON keys), no tables.
--
-- What they do is in schema flowgres. A column would silently win over an argument of the same name in a SQL function that
-- reads a table, so none here does. No SET clause: the planner then inlines them.

set local role flowgres_owner;

-- Tenants, keys, settings

create or replace function flowgres_api.register_tenant(name text, slug text default null)
  returns jsonb language sql
as $$ select flowgres.register_tenant(p_name => name, p_slug => slug); $$;
comment on function flowgres_api.register_tenant(text, text) is $$Register a tenant

Returns {tenant_id, slug, name, api_key, prefix, role, slug_taken}; the API key, an administrator's, is shown this once. Without a
slug it is made from the name, and slug_taken tells which one another tenant has; with one 409 tenant_slug_taken. 403
registration_disabled unless the setting self_registration_enabled is true.$$;

create or replace function flowgres_api.create_api_key(
  name text, role text default 'member', expires_at timestamptz default null, roles text[] default '{}', queues text[] default '{}'
)
  returns jsonb language sql
as $$
  select flowgres.create_api_key(p_name => name, p_role => role, p_expires_at => expires_at, p_roles => roles, p_queues => queues);
$$;
comment on function flowgres_api.create_api_key(text, text, timestamptz, text[], text[]) is $$Create an API key

For administrators. role is viewer, member or admin; roles are business roles for decisions. Or it is worker, with queues: such a key
may claim, extend, complete and fail the tasks of these queues, and nothing else; its roles are queue:<name>. Returns {api_key, prefix,
name, role, roles, expires_at, tenant_id}; the key is shown this once.$$;

create or replace function flowgres_api.rotate_api_key(prefix text, grace_seconds integer default null)
  returns jsonb language sql
as $$ select flowgres.rotate_api_key(p_prefix => prefix, p_grace_seconds => grace_seconds); $$;
comment on function flowgres_api.rotate_api_key(text, integer) is $$Replace an API key

For administrators. Makes a new key like the old one, which works on for grace_seconds (default: the setting
api_key_grace_seconds, a day). Returns {api_key, prefix, name, role, roles, expires_at, tenant_id, replaces, replaced_expires_at}.$$;

create or replace function flowgres_api.revoke_api_key(prefix text, force boolean default false)
  returns jsonb language sql
as $$ select flowgres.revoke_api_key(p_prefix => prefix, p_force => force); $$;
comment on function flowgres_api.revoke_api_key(text, boolean) is $$Revoke an API key

For administrators. It stops working at once; revoking it again changes nothing. 409 last_admin_key for the last key of an
administrator, unless force. Returns {tenant_id, prefix, name, role, roles, created_by, created_at, expires_at, revoked_at}.$$;

create or replace function flowgres_api.add_tenant_login(login text, tenant text)
  returns jsonb language sql
as $$ select flowgres.add_tenant_login(p_login => login, p_slug => tenant); $$;
comment on function flowgres_api.add_tenant_login(text, text) is $$Let a database login work for a tenant

For operators. What the login starts belongs to the tenant with this slug, in the login's own transactions. Returns {login, tenant,
tenant_id, role, created}; role is the tenant role that the login has been granted, null when none.$$;

create or replace function flowgres_api.remove_tenant_login(login text)
  returns jsonb language sql
as $$ select flowgres.remove_tenant_login(p_login => login); $$;
comment on function flowgres_api.remove_tenant_login(text) is $$End that a database login works for a tenant

For operators. It holds from the login's next statement on. Returns {login, tenant_id}.$$;

create or replace function flowgres_api.set_setting(name text, value jsonb default null)
  returns jsonb language sql
as $$ select flowgres.set_setting(p_name => name, p_value => value); $$;
comment on function flowgres_api.set_setting(text, jsonb) is $$Change a setting

For administrators: the own tenant's value, at most the installation's; null goes back to that. Operators set any.
Returns {name, value, is_override}.$$;

-- Workflows

create or replace function flowgres_api.validate_workflow(definition jsonb)
  returns jsonb language sql stable
as $$ select flowgres.validate_workflow(p_definition => definition); $$;
comment on function flowgres_api.validate_workflow(jsonb) is $$Validate a definition without storing it

Returns {valid, errors: [{path, code, message, ...}], warnings: [{path, code, message, ...}], ...}: every error at once. Expressions are checked by the front and
the CLI, or by a runner after the import.$$;

create or replace function flowgres_api.import_workflow(definition jsonb, activate boolean default true)
  returns jsonb language sql
as $$ select flowgres.import_workflow(p_definition => definition, p_activate => activate); $$;
comment on function flowgres_api.import_workflow(jsonb, boolean) is $$Import a definition

Of a DAG or a state machine; its name, title, version, description and metadata may stand below the key workflow. The same content again makes no new version. Returns {workflow_id, name, title, kind, version, version_id, created, status, state, active_version,
pending_version, warnings, schedules, subscriptions, webhooks, notifications},
the last four of the version that is active then. 422 definition_invalid lists every error.$$;

create or replace function flowgres_api.activate_workflow(workflow text, version integer default null)
  returns jsonb language sql
as $$ select flowgres.activate_workflow(p_workflow => workflow, p_version => version); $$;
comment on function flowgres_api.activate_workflow(text, integer) is $$Activate a version of a workflow

workflow is a name or id. Without a version the newest is taken; an older one is a rollback. Running executions stay on theirs.
Returns {id, name, title, kind, status, description, metadata, active_version, is_active,
version, latest_version, pending_version, created_at, updated_at, is_paused,
paused_at, paused_by}.$$;

create or replace function flowgres_api.deactivate_workflow(workflow text)
  returns jsonb language sql
as $$ select flowgres.deactivate_workflow(p_workflow => workflow); $$;
comment on function flowgres_api.deactivate_workflow(text) is $$Deactivate a workflow

It starts no new executions; running ones go on. Returns {id, name, title, kind, status, description, metadata, active_version, is_active,
version, latest_version, pending_version, created_at, updated_at, is_paused,
paused_at, paused_by}.$$;

create or replace function flowgres_api.archive_workflow(workflow text)
  returns jsonb language sql
as $$ select flowgres.archive_workflow(p_workflow => workflow); $$;
comment on function flowgres_api.archive_workflow(text) is $$Archive a workflow

Keep it, out of use. Returns {id, name, title, kind, status, description, metadata, active_version, is_active,
version, latest_version, pending_version, created_at, updated_at, is_paused,
paused_at, paused_by}.$$;

create or replace function flowgres_api.delete_workflow(workflow text, cancel_running boolean default false)
  returns jsonb language sql
as $$ select flowgres.delete_workflow(p_workflow => workflow, p_cancel_running => cancel_running); $$;
comment on function flowgres_api.delete_workflow(text, boolean) is $$Delete a workflow

409 workflow_in_use while executions run, or instances of a state machine are active, unless cancel_running: executions are cancelled
then, and instances go on. Its history stays; its name is free again. Returns
{id, name, title, kind, status, description, metadata, active_version, is_active,
version, latest_version, pending_version, created_at, updated_at, is_paused, paused_at, paused_by, deleted_at, cancelled_count}.$$;

create or replace function flowgres_api.update_workflow(workflow text, changes jsonb)
  returns jsonb language sql
as $$ select flowgres.update_workflow(p_workflow => workflow, p_changes => changes); $$;
comment on function flowgres_api.update_workflow(text, jsonb) is $$Change title, description or metadata of a workflow

Returns {id, name, title, kind, status, description, metadata, active_version, is_active,
version, latest_version, pending_version, created_at, updated_at, is_paused,
paused_at, paused_by}.$$;

create or replace function flowgres_api.add_step(workflow text, step jsonb)
  returns jsonb language sql
as $$ select flowgres.add_step(p_workflow => workflow, p_step => step); $$;
comment on function flowgres_api.add_step(text, jsonb) is $$Add a step to the draft of a workflow

Makes a draft from the newest version when there is none. Answers as the import of the draft. Returns
{workflow_id, name, title, kind, version, version_id, created, status, state, active_version,
pending_version, warnings, schedules, subscriptions, webhooks, notifications}.$$;

-- Executions

create or replace function flowgres_api.start_execution(
  workflow text,
  input jsonb default '{}',
  idempotency_key text default null,
  version integer default null,
  priority integer default null,
  scheduled_at timestamptz default null,
  correlation_id text default null,
  max_retries integer default null,
  metadata jsonb default null
)
  returns jsonb language sql
as $$
  select flowgres.start_execution(
    p_workflow => workflow, p_input => coalesce(input, '{}'),
    p_idempotency_key => flowgres.given_key('start_execution', idempotency_key), p_version => version, p_priority => priority,
    p_scheduled_at => scheduled_at, p_correlation_id => correlation_id, p_max_retries => max_retries, p_metadata => metadata);
$$;
comment on function flowgres_api.start_execution(text, jsonb, text, integer, integer, timestamptz, text, integer, jsonb)
is $$Start an execution

workflow is a name or id. max_retries: how often it is retried by itself after a failure that nothing handles, 0 to 100; without it
settings.max_retries of the workflow holds. Returns {execution_id, status, created} with 201; the same idempotency_key (or header
Idempotency-Key) and payload again give the same execution with 200, another payload 422. In SQL it is part of your transaction: a rollback
leaves nothing.$$;

create or replace function flowgres_api.start_executions(workflow text, inputs jsonb)
  returns jsonb language sql
as $$ select flowgres.start_executions(p_workflow => workflow, p_inputs => inputs); $$;
comment on function flowgres_api.start_executions(text, jsonb) is $$Start many executions of one workflow

inputs is an array of up to 10,000 inputs; all start or none. Returns [id], in the same order.$$;

create or replace function flowgres_api.get_execution(execution_id uuid)
  returns jsonb language sql stable
as $$ select flowgres.get_execution(p_execution_id => execution_id); $$;
comment on function flowgres_api.get_execution(uuid) is $$Get an execution with all its steps

Every step of the workflow with status, output, error and attempts, whether it ran or not. Returns
{id, tenant_id, workflow_id, workflow_name, version, status, input, output, error, priority, correlation_id, idempotency_key,
trigger_type, parent_execution_id, replayed_from, generation, max_retries, retry_count, retry_at, metadata, created_by, instance_id,
steps_completed, total_steps, progress, phase, scheduled_at, created_at, started_at, finished_at, paused_at, timeout_seconds, deadline_at,
steps: [{step, type, section, status, output, error, attempts, ready_at,
started_at, finished_at, due_at, child_execution_id, items, round, reused_from, waits_for, reason, overrides, depends_on}]}.$$;

create or replace function flowgres_api.cancel_execution(execution_id uuid, reason text default null)
  returns jsonb language sql
as $$ select flowgres.cancel_execution(p_execution_id => execution_id, p_reason => reason); $$;
comment on function flowgres_api.cancel_execution(uuid, text) is $$Cancel an execution and its children

After it no new step starts; running ones are aborted within 5 s. 409 execution_ended when it had ended otherwise.
Returns {id, tenant_id, workflow_id, workflow_name, version, status, input, output, error, priority, correlation_id, idempotency_key,
trigger_type, parent_execution_id, replayed_from, generation, max_retries, retry_count, retry_at, metadata, created_by, instance_id,
steps_completed, total_steps, progress, phase, scheduled_at, created_at, started_at, finished_at, paused_at, timeout_seconds, deadline_at,
steps: [{step, type, section, status, output, error, attempts, ready_at,
started_at, finished_at, due_at, child_execution_id, items, round, reused_from, waits_for, reason, overrides, depends_on}]}.$$;

-- Figures

create or replace function flowgres_api.execution_metrics(
  since timestamptz default null, until timestamptz default null, workflow text default null
)
  returns jsonb language sql stable
as $$ select flowgres.execution_metrics(p_since => since, p_until => until, p_workflow => workflow); $$;
comment on function flowgres_api.execution_metrics(timestamptz, timestamptz, text) is $$Counts, durations and failure rates

Of executions started from since (default: 24 hours before until) to until (default: now), of one workflow or all. Returns {since, until,
workflow, executions: {...}, steps: [{...}], webhooks}.$$;

create or replace function flowgres_api.health()
  returns jsonb language sql stable
as $$ select flowgres.health(); $$;
comment on function flowgres_api.health() is $$Health of the engine

Returns {engine, installation, status, version, lag_seconds, live_runners, unserved_types, is_copy}; status is ok, or degraded when no
runner lives or may work. Needs no credentials.$$;

-- Operation

create or replace function flowgres_api.adopt_installation()
  returns jsonb language sql
as $$ select flowgres.adopt_installation(); $$;
comment on function flowgres_api.adopt_installation() is $$Let runners work in a copy of an installation

For operators, in SQL. Returns {installation_id, is_adopted}; is_adopted is false where nothing was to do.$$;
