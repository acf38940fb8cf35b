-- Repairing steps, as people ask for it.

set local role flowgres_owner;

create or replace function flowgres.hold_for_repair(p_execution_id uuid, p_step text, p_reason text)
  returns uuid language plpgsql
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
begin
  perform flowgres.require_read_committed();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  if p_step is null then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'step must be the id of a step', p_details => 'step',
      p_hint => 'get_execution lists the steps; an iteration of a foreach is named hold[3].');
  end if;
  -- Whoever advances it comes first, or passes it over: what follows is younger than the lock.
  perform from flowgres.executions as e
  where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(e.id)
  for no key update;
  if not found then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  end if;
  return v_tenant_id;
end;
$$;
comment on function flowgres.hold_for_repair(uuid, text, text) is $$Lock an execution of the caller's tenant, and wait for that; returns the tenant.$$;

create or replace function flowgres.refuse_repair(p_problem jsonb)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_message text := p_problem ->> 'message';
  v_hint text := p_problem ->> 'hint';
begin
  if p_problem ->> 'code' = 'step_not_found' then
    perform flowgres.fail(p_status => 404, p_code => 'step_not_found', p_message => v_message, p_details => 'step', p_hint => v_hint);
  elsif p_problem ->> 'code' = 'branch_unknown' then
    perform flowgres.fail(p_status => 422, p_code => 'branch_unknown', p_message => v_message, p_details => 'output', p_hint => v_hint);
  end if;
  perform flowgres.fail(
    p_status => 409, p_code => case p_problem ->> 'code'
      when 'execution_ended' then 'execution_ended' when 'step_ended' then 'step_ended' when 'step_iterates' then 'step_iterates'
      else 'step_not_ready' end,
    p_message => v_message, p_details => 'step', p_hint => v_hint);
end;
$$;
comment on function flowgres.refuse_repair(jsonb) is $$Raise what a core has answered.$$;

create or replace function flowgres.repair_step(
  p_execution_id uuid, p_step text, p_iteration integer, p_act text, p_output jsonb, p_error jsonb, p_reason text
)
  returns jsonb language plpgsql
as $$
declare
  v_tenant_id uuid := flowgres.hold_for_repair(p_execution_id => p_execution_id, p_step => p_step, p_reason => p_reason);
  v_problems jsonb := flowgres.repair_held(
    p_tenant_id => v_tenant_id, p_execution_ids => array[p_execution_id], p_steps => array[p_step], p_iterations => array[p_iteration],
    p_act => p_act, p_output => p_output, p_error => p_error, p_actor => flowgres.actor(), p_reason => p_reason);
begin
  if v_problems <> '[]' then
    perform flowgres.refuse_repair(p_problem => v_problems -> 0);
  end if;
  return flowgres.describe_step(
    p_tenant_id => v_tenant_id, p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration);
end;
$$;
comment on function flowgres.repair_step is $$Do something to one step, or refuse it; returns the step.$$;

set local role flowgres_definer;

create or replace function flowgres.retry_step(p_execution_id uuid, p_step text, p_iteration integer, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.repair_step(
    p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration, p_act => 'retried', p_output => null, p_error => null,
    p_reason => p_reason);
end;
$$;
comment on function flowgres.retry_step(uuid, text, integer, text) is $$Let a step go on at once, or begin anew.$$;

create or replace function flowgres.skip_step(p_execution_id uuid, p_step text, p_iteration integer, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.repair_step(
    p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration, p_act => 'skipped', p_output => null, p_error => null,
    p_reason => p_reason);
end;
$$;
comment on function flowgres.skip_step(uuid, text, integer, text) is $$End a step as skipped.$$;

create or replace function flowgres.cancel_step(p_execution_id uuid, p_step text, p_iteration integer, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.repair_step(
    p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration, p_act => 'cancelled', p_output => null,
    p_error => null, p_reason => p_reason);
end;
$$;
comment on function flowgres.cancel_step(uuid, text, integer, text) is $$End a step as cancelled.$$;

create or replace function flowgres.finish_step(p_execution_id uuid, p_step text, p_output jsonb, p_iteration integer, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_output jsonb := coalesce(p_output, 'null');
  v_most bigint := (flowgres.setting(v_tenant_id, 'max_output_bytes'))::bigint;
begin
  perform flowgres.check_payload(p_tenant_id => v_tenant_id, p_payload => v_output, p_what => 'the output');
  if pg_column_size(v_output) > v_most / 100 and octet_length(v_output::text) > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'output_too_large', p_message => format('the output is larger than %s bytes', v_most),
      p_details => 'output', p_hint => 'Store large data elsewhere and give a reference.');
  end if;
  return flowgres.repair_step(
    p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration, p_act => 'completed', p_output => v_output,
    p_error => null, p_reason => p_reason);
end;
$$;
comment on function flowgres.finish_step(uuid, text, jsonb, integer, text) is $$End a step as completed, with an output.$$;

create or replace function flowgres.fail_step(p_execution_id uuid, p_step text, p_error jsonb, p_iteration integer, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_error jsonb := flowgres.read_task_error(
    p_error => coalesce(p_error, to_jsonb(coalesce(nullif(left(p_reason, 1000), ''), format('%s said that it failed', flowgres.actor())))),
    p_retry => false);
begin
  perform flowgres.check_payload(p_tenant_id => flowgres.require_tenant(), p_payload => v_error, p_what => 'the error');
  return flowgres.repair_step(
    p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration, p_act => 'failed', p_output => null,
    p_error => v_error || jsonb_build_object(
      'class', 'repair', 'code', case when p_error ? 'code' then v_error -> 'code' else '"failed_by_hand"' end, 'by', flowgres.actor()),
    p_reason => p_reason);
end;
$$;
comment on function flowgres.fail_step(uuid, text, jsonb, integer, text) is $$End a step as failed for good.$$;
