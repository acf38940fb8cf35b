-- What operators do to tenants, in SQL.

set local role flowgres_owner;

create or replace function flowgres_api.suspend_tenant(tenant text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.suspend_tenant(p_slug => tenant, p_reason => reason); $$;
comment on function flowgres_api.suspend_tenant(text, text) is $$Suspend a tenant

For operators. Its keys, tokens, starts and webhooks are refused; what runs goes on. Returns {tenant_id, slug, name, status, created_at,
deleted_at, deleted_by, open_executions, purge}.$$;

create or replace function flowgres_api.restore_tenant(tenant text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.restore_tenant(p_slug => tenant, p_reason => reason); $$;
comment on function flowgres_api.restore_tenant(text, text) is $$Take back that a tenant was suspended or deleted

For operators. What was cancelled stays cancelled. 409 tenant_purge_begun when it is too late. Returns {tenant_id, slug, name, status,
created_at, deleted_at, deleted_by, open_executions, purge}.$$;

create or replace function flowgres_api.delete_tenant(tenant text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.delete_tenant(p_slug => tenant, p_reason => reason, p_limit => null); $$;
comment on function flowgres_api.delete_tenant(text, text) is $$Delete a tenant, which can be taken back until it is purged

For operators. It is suspended; each further call cancels executions, until open_executions is 0. Returns {tenant_id, slug, name, status,
created_at, deleted_at, deleted_by, open_executions, purge}.$$;

create or replace function flowgres_api.purge_tenant(tenant text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.purge_tenant(p_slug => tenant, p_reason => reason, p_limit => null); $$;
comment on function flowgres_api.purge_tenant(text, text) is $$Remove everything of a deleted tenant, a piece a call, until is_done

For operators. It cannot be undone. 409 tenant_not_deleted unless it is deleted. Returns {tenant_id, slug, is_done, step, deleted,
waits_for}; deleted counts executions and rows of other tables, waits_for transactions that have to end first.$$;
