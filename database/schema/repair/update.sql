-- Another policy for a step, in one execution alone: how often it is tried, how long an attempt may take, what its failure means.
--
-- It lies with the rows of the step in the queue, where its reports and its claims are read anyway, and goes with them.

set local role flowgres_owner;

create or replace function flowgres.read_step_changes(p_changes jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_root jsonb := flowgres.definition_schema();
  v_schema jsonb := jsonb_build_object('type', 'object', 'additionalProperties', false, 'properties', jsonb_build_object(
    'retry', jsonb_build_object('$ref', '#/$defs/retry'), 'timeout', jsonb_build_object('$ref', '#/$defs/timeout'),
    'on_error', v_root #> '{$defs,step,properties,on_error}'));
  v_changes jsonb := flowgres.form_value(p_value => p_changes, p_schema => v_schema, p_root => v_root);
  v_errors jsonb[];
  v_overrides jsonb;
begin
  if coalesce(jsonb_typeof(p_changes), '') <> 'object' or p_changes = '{}' then
    perform flowgres.fail(
      p_status => 422, p_code => 'changes_invalid', p_message => 'changes must say what is to be another', p_details => 'changes',
      p_hint => 'An object with retry, timeout or on_error, as a step of a definition has them.');
  end if;
  v_errors := flowgres.check_value(p_path => 'changes', p_value => v_changes, p_schema => v_schema, p_root => v_root);
  if cardinality(v_errors) > 0 then
    perform flowgres.fail(
      p_status => 422, p_code => 'changes_invalid',
      p_message => left((select string_agg(format('%s: %s', e ->> 'path', e ->> 'message'), '; ') from unnest(v_errors) as e), 500),
      p_details => to_jsonb(v_errors)::text,
      p_hint => coalesce(
        (select e ->> 'hint' from unnest(v_errors) with ordinality as e (e, place) where e ? 'hint' order by e.place limit 1),
        'retry, timeout and on_error are written as in a step of a definition.'));
  end if;
  v_overrides := jsonb_strip_nulls(jsonb_build_object(
    'max_attempts', v_changes #> '{retry,attempts}', 'retry_delay_seconds', v_changes #> '{retry,delay}',
    'retry_factor', v_changes #> '{retry,factor}', 'retry_max_delay_seconds', v_changes #> '{retry,max_delay}',
    'retry_jitter', v_changes #> '{retry,jitter}', 'retry_errors', v_changes #> '{retry,errors}',
    'timeout_seconds', v_changes -> 'timeout', 'on_error', v_changes -> 'on_error'));
  if v_overrides = '{}' then
    perform flowgres.fail(
      p_status => 422, p_code => 'changes_invalid', p_message => 'changes must say what is to be another', p_details => 'changes',
      p_hint => 'An object with retry, timeout or on_error, as a step of a definition has them.');
  end if;
  return v_overrides;
end;
$$;
comment on function flowgres.read_step_changes(jsonb) is $$Changes of a step's policy, checked as in a definition, by the names of the columns of workflow_steps.$$;

set local role flowgres_definer;

create or replace function flowgres.update_step(p_execution_id uuid, p_step text, p_changes jsonb, p_iteration integer, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_overrides jsonb := flowgres.read_step_changes(p_changes => p_changes);
  v_tenant_id uuid := flowgres.hold_for_repair(p_execution_id => p_execution_id, p_step => p_step, p_reason => p_reason);
  v_state flowgres.advance_state := flowgres.hold_executions(
    p_execution_ids => array[p_execution_id], p_tenant_ids => array[v_tenant_id]);
  v_targets flowgres.step_target[] := flowgres.find_targets(
    p_state => v_state, p_execution_ids => array[p_execution_id], p_steps => array[p_step], p_iterations => array[p_iteration]);
  v_target flowgres.step_target := v_targets[1];
  v_is_list boolean := exists (
    select from flowgres.workflow_steps as w
    where w.tenant_id = v_tenant_id and w.version_id = v_target.version_id and w.index = v_target.step_index and w.iterates is not null);
begin
  if v_target.code is null and v_is_list and v_target.iteration = -1 and v_target.queue_id is not null then
    -- Its list is not known: what would be changed is the making of that.
    v_target.code := 'step_not_ready';
  end if;
  if v_target.code is not null then
    perform flowgres.refuse_repair(p_problem => flowgres.describe_target(p_target => v_target));
  elsif v_is_list and v_overrides ? 'on_error' then
    perform flowgres.fail(
      p_status => 422, p_code => 'change_impossible', p_message => 'what the failure of a list means is decided by all of its items',
      p_details => 'on_error', p_hint => 'Change retry or timeout of its iterations; complete_step or skip_step end one by hand.');
  end if;
  perform flowgres.tell_act(
    p_tenant_id => v_tenant_id, p_execution_id => p_execution_id, p_type => 'step_repaired', p_reason => p_reason,
    p_step => flowgres.step_label(v_target.step, v_target.iteration),
    p_details => jsonb_build_object('act', 'updated', 'changes', p_changes));
  perform flowgres.audit_act(
    p_tenant_id => v_tenant_id, p_action => 'step_updated', p_subject => p_execution_id::text, p_reason => p_reason,
    p_details => jsonb_strip_nulls(jsonb_build_object('step', v_target.step, 'iteration', nullif(v_target.iteration, -1)))
      || jsonb_build_object('changes', p_changes));
  update flowgres.work_queue as q
  set overrides = coalesce(q.overrides, '{}') || v_overrides
  where q.tenant_id = v_tenant_id and q.execution_id = p_execution_id and q.step_index = v_target.step_index
    and (q.id = v_target.queue_id or v_target.queue_id is null);
  return flowgres.describe_step(
    p_tenant_id => v_tenant_id, p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration);
end;
$$;
comment on function flowgres.update_step(uuid, text, jsonb, integer, text) is $$Change the policy of a step that is ready, runs or waits, in this execution alone

Of a list its iterations under way and those that follow on them.$$;
