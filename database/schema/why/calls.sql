-- The call that helps a step which does not move, as a request and as a command. Null where nothing has to be done, or nothing can be.

set local role flowgres_owner;

create or replace function flowgres.shell_word(p_text text)
  returns text language sql immutable parallel safe
as $$
  select case when p_text ~ '^[A-Za-z0-9_./:@=+,-]+$' then p_text else '''' || replace(p_text, '''', '''\''''') || '''' end;
$$;
comment on function flowgres.shell_word(text) is $$A text as one word of a command.$$;

create or replace function flowgres.helping_call(p_reason text, p_execution_id uuid, p_step text, p_iteration integer, p_detail jsonb)
  returns text language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_awaited jsonb := p_detail -> 'for' -> 0;
begin
  return case
    when p_reason in ('waits_for_signal', 'waits_for_event', 'waits_for_first_of') then case
      when v_awaited ? 'signal' then 'POST /rpc/send_signal ' || (
        jsonb_build_object('name', v_awaited -> 'signal', 'payload', '{}'::jsonb)
        || case when v_awaited ? 'key' then jsonb_build_object('key', v_awaited -> 'key')
          else jsonb_build_object('execution_id', p_execution_id) end)::text
      when v_awaited ? 'event' then 'POST /rpc/emit_event ' || jsonb_strip_nulls(jsonb_build_object(
        'name', v_awaited -> 'event', 'payload', coalesce(v_awaited -> 'match', '{}'), 'key', v_awaited -> 'key'))::text end
    when p_reason = 'waits_for_approval' then 'POST /rpc/decide_approval ' || jsonb_strip_nulls(jsonb_build_object(
      'execution_id', p_execution_id, 'step', p_step, 'iteration', p_iteration, 'decision', 'approved'))::text
    when p_reason = 'waits_for_task' then case when p_detail ->> 'worker' is null then 'POST /rpc/claim_tasks ' || jsonb_build_object(
      'queue', p_detail -> 'queue', 'worker', 'me')::text end
    when p_reason = 'waits_for_child' then 'GET /execution_why?execution_id=eq.' || (p_detail ->> 'execution_id')
    when p_reason in ('waits_for_limit', 'waits_for_concurrency') then case
      when p_detail -> 'is_set' = 'false' then 'POST /rpc/set_limit ' || jsonb_build_object('name', p_detail -> 'name', 'capacity', 1)::text
      when p_detail #> '{held_by,0}' is not null then 'GET /execution_why?execution_id=eq.' || (p_detail #>> '{held_by,0,execution_id}') end
    -- One that was paused with its parent goes on with it.
    when p_reason = 'paused_execution' then 'POST /rpc/resume_execution '
      || jsonb_build_object('execution_id', coalesce(p_detail ->> 'with', p_execution_id::text))::text
    when p_reason = 'paused_workflow' then 'POST /rpc/resume_workflow ' || jsonb_build_object('workflow', p_detail -> 'workflow')::text
    when p_reason = 'paused_tenant' then 'POST /rpc/resume_tenant {}'
    when p_reason = 'ended' then 'POST /rpc/retry_execution ' || jsonb_build_object('execution_id', p_execution_id)::text
  end;
end;
$$;
comment on function flowgres.helping_call(text, uuid, text, integer, jsonb) is $$The request that helps: a verb, an address of the API, and its body.$$;

create or replace function flowgres.helping_command(p_reason text, p_execution_id uuid, p_step text, p_iteration integer, p_detail jsonb)
  returns text language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_awaited jsonb := p_detail -> 'for' -> 0;
  v_step text := flowgres.shell_word(flowgres.step_label(p_step => p_step, p_iteration => coalesce(p_iteration, -1)));
begin
  return 'flowgres ' || case
    when p_reason in ('waits_for_signal', 'waits_for_event', 'waits_for_first_of') then case
      when v_awaited ? 'signal' then 'signal ' || flowgres.shell_word(v_awaited ->> 'signal') || case
        when v_awaited ? 'key' then ' --key=' || flowgres.shell_word(v_awaited ->> 'key')
        else ' --execution=' || p_execution_id::text end
      when v_awaited ? 'event' then 'events emit ' || flowgres.shell_word(v_awaited ->> 'event')
        || coalesce(' -d ' || flowgres.shell_word((v_awaited -> 'match')::text), '')
        || coalesce(' --key=' || flowgres.shell_word(v_awaited ->> 'key'), '') end
    when p_reason = 'waits_for_approval' then 'approve ' || p_execution_id::text || ' ' || v_step
    when p_reason = 'waits_for_task' then 'tasks list --queue ' || flowgres.shell_word(p_detail ->> 'queue')
    when p_reason = 'waits_for_child' then 'executions why ' || (p_detail ->> 'execution_id')
    when p_reason in ('no_runner', 'runners_full') then 'runner start'
    when p_reason in ('waits_for_limit', 'waits_for_concurrency') then case
      when p_detail -> 'is_set' = 'false' then 'limits set ' || flowgres.shell_word(p_detail ->> 'name') || ' --capacity 1'
      when p_detail #> '{held_by,0}' is not null then 'executions why ' || (p_detail #>> '{held_by,0,execution_id}') end
    when p_reason = 'paused_execution' then 'executions resume ' || coalesce(p_detail ->> 'with', p_execution_id::text)
    when p_reason = 'paused_workflow' then 'workflows resume ' || flowgres.shell_word(p_detail ->> 'workflow')
    when p_reason = 'paused_tenant' then 'tenants resume'
    when p_reason = 'ended' then 'executions retry ' || p_execution_id::text
  end;
end;
$$;
comment on function flowgres.helping_command(text, uuid, text, integer, jsonb) is $$The same as a command of the command line.$$;
