-- The call of a function by an sql step: opened, made by the runner's other login, and closed, all in one transaction.
--
-- The session belongs to flowgres_sql, and so does all that the function does: there is no stronger role to go back to. What the
-- function can say or set does not matter to the three functions here: the tenant is that of the row that open_sql_call wrote, the
-- row goes by the number of the transaction, and closing it takes a secret that the function never sees.
--
-- Nothing is locked while the function runs. The lease is locked at the end, for as long as the commit takes, and only if it is still
-- the one that the call was made under: a call whose step was given to somebody else, or cancelled, is undone.

set local role flowgres_engine;

create or replace function flowgres.open_sql_call(
  p_runner_id uuid, p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_token bigint, p_function text, p_args jsonb
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_transaction_id xid8 := pg_current_xact_id();
  v_names text[] := array(select k.key from jsonb_object_keys(p_args) as k (key) order by k.key);
  v_resume jsonb;
  v_fit jsonb;
  v_function record;
  v_secret text := gen_random_uuid()::text || gen_random_uuid()::text;
  v_most bigint;
begin
  if session_user <> 'flowgres_sql' then
    -- A stronger login could execute this as well, and so would the function.
    perform flowgres.fail(
      p_status => 403, p_code => 'login_not_weak', p_message => format('functions are called as flowgres_sql, and not as %s', session_user),
      p_hint => 'Let DATABASE_SQL_URL of the runner name that login.');
  end if;
  if exists (select from flowgres.sql_calls as c where c.transaction_id = v_transaction_id) then
    perform flowgres.fail(
      p_status => 403, p_code => 'call_open', p_message => 'this transaction is that of another call already',
      p_hint => 'Only runners open calls.');
  end if;
  select q.resume into v_resume
  from flowgres.work_queue as q
  join flowgres.workflow_steps as w
    on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index and w.type = 'sql'
  where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id and q.id = p_queue_id
    and q.runner_id is not distinct from p_runner_id and q.token = p_token;
  if not found then
    return '{"state": "lost"}';
  end if;
  if v_resume ->> 'status' = 'called' then
    return jsonb_build_object('state', 'called', 'output', v_resume -> 'output');
  end if;
  v_fit := flowgres.fit_function(p_tenant_id => p_tenant_id, p_name => p_function, p_arguments => v_names);
  if not v_fit ? 'signature' then
    return v_fit || '{"state": "refused"}';
  end if;
  select f.* into strict v_function
  from flowgres.allowed_functions(p_tenant_id => p_tenant_id) as f
  where f.signature = v_fit ->> 'signature';
  v_most := (flowgres.setting(p_tenant_id, 'max_output_bytes'))::bigint;
  insert into flowgres.sql_calls (tenant_id, transaction_id, execution_id, queue_id, runner_id, token, secret_hash)
  values (
    p_tenant_id, v_transaction_id, p_execution_id, p_queue_id, p_runner_id, p_token, sha256(convert_to(v_secret, 'UTF8')));
  return jsonb_build_object(
    'state', 'open', 'secret', v_secret, 'signature', v_function.signature,
    'search_path', format('pg_catalog, %I, pg_temp', v_function.schema_name),
    -- What is too large stays where it is. The offset keeps the function from being called for each mention of what it gives.
    'query', format(
      'select case when pg_catalog.octet_length(t.t) <= %s then t.t end, t.t is not null, t.n from (%s offset 0) as t (t, n)',
      v_most, flowgres.call_text(p_function => v_function.id, p_arguments => v_names)),
    'most_bytes', v_most);
end;
$$;
comment on function flowgres.open_sql_call is $$Begin the call of a function by a step that this runner has leased

Returns {state}: open with the query to run and the secret to close it with, called with the output where an earlier attempt has
committed it, lost where the lease is gone, refused with code, message and hint where the function may not be called so.$$;

create or replace function flowgres.close_sql_call(p_secret text, p_output jsonb)
  returns boolean language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_call flowgres.sql_calls;
  v_most bigint;
begin
  delete from flowgres.sql_calls as c
  where c.transaction_id = pg_current_xact_id_if_assigned() and c.secret_hash = sha256(convert_to(p_secret, 'UTF8'))
  returning c.* into v_call;
  if v_call.tenant_id is null then
    perform flowgres.fail(
      p_status => 403, p_code => 'call_not_open', p_message => 'this transaction has no call that could be closed so',
      p_hint => 'Only runners close calls.');
  end if;
  v_most := (flowgres.setting(v_call.tenant_id, 'max_output_bytes'))::bigint;
  if octet_length(p_output::text) > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'output_too_large', p_message => format('the output is larger than %s bytes', v_most),
      p_hint => 'Return less, such as a key under which the rest is found.');
  end if;
  if jsonb_path_exists(p_output, format('$.**{%s}', flowgres.setting(v_call.tenant_id, 'max_json_depth'))::jsonpath) then
    perform flowgres.fail(
      p_status => 422, p_code => 'output_too_deep',
      p_message => format('the output is nested deeper than %s levels', flowgres.setting(v_call.tenant_id, 'max_json_depth')));
  end if;
  -- What a lost or failing runner goes on from: the step is done, and is only to be told so.
  update flowgres.work_queue as q
  set resume = jsonb_build_object('status', 'called', 'output', p_output)
  where q.tenant_id = v_call.tenant_id and q.execution_id = v_call.execution_id and q.id = v_call.queue_id
    and q.runner_id is not distinct from v_call.runner_id and q.token = v_call.token and q.resume is null;
  return found;
end;
$$;
comment on function flowgres.close_sql_call(text, jsonb) is $$Write down what a call gave, in the transaction that made it

Returns false when the lease is gone: then the transaction is to be rolled back, and with it whatever the function did.$$;
