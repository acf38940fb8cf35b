-- Signatures that functions had before: create or replace would leave them standing beside the new ones.

set local role flowgres_owner;

drop function if exists flowgres.wake_parent(uuid, uuid);
drop function if exists flowgres.end_execution(uuid, uuid, text, jsonb, text, text);
drop function if exists flowgres.complete_and_claim(uuid, jsonb, integer, uuid);
drop function if exists flowgres.insert_executions(
  flowgres.workflow_versions, uuid[], jsonb[], timestamptz, smallint, timestamptz, text, smallint, jsonb, text, text, text, smallint,
  uuid, smallint, bigint);
drop function if exists flowgres.advance(uuid, flowgres.step_report[], text[], integer);
drop function if exists flowgres.create_history_period(timestamptz, timestamptz, boolean);
drop function if exists flowgres.create_history_ahead();
drop function if exists flowgres.retire_history();
drop function if exists flowgres.record_audit(text, text, jsonb);
drop function if exists flowgres.switch_version(flowgres.workflows, flowgres.workflow_versions);
drop function if exists flowgres.promote_due(integer);
drop function if exists flowgres.tenants_in_turn(text, uuid, integer);
drop function if exists flowgres.pick_shares(text, uuid[], integer);
drop function if exists flowgres.pick_suspect(uuid, text[], uuid);
drop function if exists flowgres.unchecked_versions(integer);
drop function if exists flowgres.claim(uuid, integer, uuid);
drop function if exists flowgres.complete_and_claim(uuid, jsonb, integer, uuid, integer);
drop function if exists flowgres.complete_chains(
  uuid, uuid[], uuid[], bigint[], bigint[], uuid[], smallint[], smallint[], jsonb[], jsonb, integer, uuid, integer);
drop function if exists flowgres.pick_shares(text, uuid[], integer, flowgres.queue_range[]);
drop function if exists flowgres.put_secret(text, text, bytea, bytea);
drop function if exists flowgres.check_input(jsonb, jsonb);
drop function if exists flowgres_api.register_tenant(text);
drop function if exists flowgres.register_tenant(text);
drop function if exists flowgres_api.revoke_api_key(text);
drop function if exists flowgres.revoke_api_key(text);
drop function if exists flowgres.context_steps(uuid, uuid, smallint[]);
drop function if exists flowgres.get_contexts(uuid, jsonb);
drop function if exists flowgres.read_resume(uuid, jsonb);
-- The same arguments as now, under other names or with other columns.
do $$
declare
  v_function regprocedure;
begin
  for v_function in
    select p.oid::regprocedure
    from (values
      ('flowgres.get_contexts(uuid, jsonb, bigint)', 'previous'),
      ('flowgres.find_unhandled(flowgres.advance_state, flowgres.resolved_step[])', 'p_passed_by')) as f (signature, name)
    join pg_catalog.pg_proc as p on p.oid = to_regprocedure(f.signature) and f.name <> all(p.proargnames)
  loop
    execute format('drop function %s', v_function);
  end loop;
end;
$$;
drop function if exists flowgres.make_claimed_step(
  bigint, bigint, uuid, uuid, uuid, smallint, integer, smallint, smallint, boolean, json, jsonb, boolean, json);
drop function if exists flowgres.make_step_outcome(
  integer, uuid, uuid, bigint, smallint, integer, smallint, smallint, text, text, text, text, text, smallint[], boolean, boolean, boolean,
  integer, timestamptz, timestamptz, timestamptz, text, uuid, jsonb, jsonb, jsonb, smallint[]);
-- Rights and policies are compared now (access/).
drop function if exists flowgres.grant_functions(text, text[], text);
drop function if exists flowgres.tenant_predicate();
-- The language is described in definition.schema.json; words of other systems are read before the database.
drop function if exists flowgres.definition_shape(text);
drop function if exists flowgres.check_shape(text, jsonb, jsonb);
drop function if exists flowgres.check_keys(text, jsonb, jsonb);
drop function if exists flowgres.check_bounds(text, jsonb, jsonb);
drop function if exists flowgres.check_name(text, text, text);
drop function if exists flowgres.check_settings(jsonb);
drop function if exists flowgres.check_retry_errors(text, jsonb, boolean);
drop function if exists flowgres.check_triggers(jsonb);
drop function if exists flowgres.check_inputs(jsonb);
drop function if exists flowgres.check_step(text, jsonb, text[], text[]);
drop function if exists flowgres.check_step(text, jsonb, text[], jsonb);
drop function if exists flowgres.check_step_config(text, text, jsonb);
drop function if exists flowgres.plain_condition(text);
drop function if exists flowgres.inline_secret(text);
drop function if exists flowgres.not_available(text, text);
drop function if exists flowgres.warn_of_unknown_targets(jsonb);
drop function if exists flowgres.drop_unknown_targets(jsonb);
drop function if exists flowgres.list_unknown_targets(jsonb);
drop function if exists flowgres.normalise_definition(jsonb);
drop function if exists flowgres.normalise_triggers(jsonb);
drop function if exists flowgres.normalise_steps(jsonb);
drop function if exists flowgres.normalise_step(jsonb, jsonb);
drop function if exists flowgres.normalise_aliases(jsonb);
drop function if exists flowgres.normalise_config(text, jsonb);
drop function if exists flowgres.normalise_names(jsonb);
drop function if exists flowgres.normalise_retry(jsonb);
drop function if exists flowgres.normalise_duration(jsonb);
drop function if exists flowgres.is_display_name(text);
drop function if exists flowgres.is_printable(text);
drop function if exists flowgres.slugify(text);
drop function if exists flowgres.reserved_names();
drop function if exists flowgres.retry_classes();
drop function if exists flowgres.import_checked_workflow(jsonb, boolean);
drop function if exists flowgres.import_definition(uuid, jsonb, boolean, boolean);
drop function if exists flowgres.find_path(text, jsonb, text, text);
drop function if exists flowgres.is_kind(jsonb, text);
drop function if exists flowgres.cancel_steps(integer[], boolean, text, flowgres.advance_state);
drop function if exists flowgres.find_failures(flowgres.advance_state);
drop function if exists flowgres.judge_join(text, boolean, integer, integer, integer, integer, integer);
drop function if exists flowgres.make_step_outcome(
  integer, uuid, uuid, bigint, smallint, integer, smallint, smallint, text, text, text, text, text, smallint[], boolean, boolean,
  boolean, integer, timestamptz, timestamptz, timestamptz, text, uuid, jsonb, jsonb, jsonb);
drop function if exists flowgres.make_ready_step(integer, bigint, smallint, text, boolean);
drop function if exists flowgres.make_claimed_step(
  bigint, bigint, uuid, uuid, uuid, smallint, integer, smallint, smallint, boolean, json, jsonb, boolean);
drop function if exists flowgres.make_claimed_step(
  bigint, bigint, uuid, uuid, uuid, smallint, integer, smallint, smallint, boolean, json, jsonb, boolean, json, integer, json);
drop function if exists flowgres.build_context(uuid, jsonb, jsonb, text, timestamptz, json);
drop function if exists flowgres.find_scheduled_version(flowgres.schedules);
drop function if exists flowgres.list_cron_triggers(jsonb);
drop function if exists flowgres.check_jsonpath(text, jsonb[]);
drop function if exists flowgres.insert_executions(
  flowgres.workflow_versions, uuid[], jsonb[], timestamptz, smallint, timestamptz, text, smallint, jsonb, text, jsonb, text, text, uuid,
  smallint, uuid[], smallint[], bigint[]);
drop function if exists flowgres.add_to_rollups(uuid[], uuid[], uuid[]);
drop function if exists flowgres.add_to_rollups(uuid[], uuid[], uuid[], timestamptz);
drop function if exists flowgres.next_mark(flowgres.metric_marks, integer);
drop function if exists flowgres.engine_metrics();
drop function if exists flowgres.engine_health();
drop function if exists flowgres.start_versions(
  flowgres.workflow_versions, jsonb[], timestamptz, text, jsonb, smallint, text, uuid, smallint, uuid[], smallint[], bigint[]);
drop function if exists flowgres.check_notification_room(uuid, integer, integer);
drop function if exists flowgres.find_version(flowgres.workflows, integer);
drop function if exists flowgres.fire_sla(uuid, uuid[], text, text, double precision);
-- Keys of workers have queues.
drop function if exists flowgres_api.create_api_key(text, text, timestamptz, text[]);
drop function if exists flowgres.create_api_key(text, text, timestamptz, text[]);
-- Transitions have idempotency keys.
drop function if exists flowgres_api.execute_transition(uuid, text, text, jsonb, jsonb, text);
drop function if exists flowgres.execute_transition(uuid, text, text, jsonb, jsonb, text);
drop function if exists flowgres.answer_repeated_start(flowgres.idempotency_keys, bytea);
drop function if exists flowgres.note_event(uuid, text, jsonb, text, timestamptz);
-- May know of pauses.
drop function if exists flowgres.has_deleted(flowgres.advance_state);
drop function if exists flowgres.tenants_in_turn(text, uuid, integer, flowgres.queue_range[]);
drop function if exists flowgres.pick_suspect(uuid, text[], uuid, flowgres.queue_range[]);
drop function if exists flowgres.pick_tasks(uuid, text, integer);
drop function if exists flowgres.cancel_held(flowgres.advance_state, text[], text);
