-- Steps that wait until their address is called: a call is a signal of the engine's own, for one step alone.

set local role flowgres_owner;

create or replace function flowgres.callback_address(
  p_execution_id uuid, p_step_index smallint, p_iteration integer, p_round integer, p_generation smallint
)
  returns text language sql immutable parallel safe
as $$
  select 'c:' || concat_ws('/', p_execution_id, p_step_index, p_iteration, p_round, p_generation);
$$;
comment on function flowgres.callback_address(uuid, smallint, integer, integer, smallint) is $$The mailbox of a step that waits to be called

The same for all its attempts, as its address is.$$;

create or replace function flowgres.register_callbacks(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[]
)
  language plpgsql
as $$
declare
  v_report flowgres.step_report;
  v_place integer;
  v_label text;
begin
  foreach v_place in array p_places loop
    v_report := p_reports[v_place];
    v_report.input := jsonb_build_object('for', jsonb_build_array(jsonb_build_object('signal', '$callback', 'address', (
      select flowgres.callback_address(
        p_execution_id => q.execution_id, p_step_index => q.step_index, p_iteration => q.iteration, p_round => coalesce(q.round, 0),
        p_generation => q.generation)
      from flowgres.work_queue as q
      where q.tenant_id = v_report.t and q.execution_id = v_report.x and q.id = v_report.q))));
    p_reports[v_place] := v_report;
  end loop;
  p_reports := flowgres.register_waits(p_state => p_state, p_reports => p_reports, p_places => p_places);
  foreach v_place in array p_places loop
    v_report := p_reports[v_place];
    select 'callback:' || w.id into v_label
    from flowgres.work_queue as q
    join flowgres.workflow_steps as w on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
    where q.tenant_id = v_report.t and q.execution_id = v_report.x and q.id = v_report.q;
    v_report.waits := v_label;
    p_reports[v_place] := v_report;
  end loop;
end;
$$;
comment on function flowgres.register_callbacks(flowgres.advance_state, flowgres.step_report[], integer[]) is $$Write down that these steps wait to be called.$$;

set local role flowgres_engine;

create or replace function flowgres.receive_callback(
  p_tenant_id uuid, p_execution_id uuid, p_step_index integer, p_iteration integer, p_round integer, p_generation integer,
  p_payload jsonb
)
  returns text language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz;
  v_address text := flowgres.callback_address(
    p_execution_id => p_execution_id, p_step_index => p_step_index::smallint, p_iteration => p_iteration, p_round => p_round,
    p_generation => p_generation::smallint);
  v_id uuid;
begin
  perform flowgres.enter();
  v_now := flowgres.now();
  if exists (
    select from flowgres.signals as s
    where s.tenant_id = p_tenant_id and s.name = '$callback' and s.idempotency_key = v_address)
  then
    return 'repeated';
  elsif exists (select from flowgres.tenants as t where t.tenant_id = p_tenant_id and t.status = 'suspended') then
    -- It may be called again when that is over.
    return 'suspended';
  elsif not exists (
    select
    from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id and q.step_index = p_step_index
      and q.iteration = p_iteration and coalesce(q.round, 0) = p_round and q.generation = p_generation
      -- Whose time is over goes on without a call, whether a runner has seen that or not.
      and q.resume ->> 'status' is distinct from 'timed_out' and (coalesce(q.waits_for, '') not like 'callback:%' or q.due_at > v_now))
  then
    return 'over';
  elsif octet_length(p_payload::text) > (flowgres.setting(p_tenant_id, 'max_payload_bytes'))::integer then
    return 'too_large';
  end if;
  -- The request may be under way still: then this lies here until the step waits for it.
  insert into flowgres.signals as s (
    tenant_id, id, kind, name, address, payload, idempotency_key, woken, received_at, expires_at)
  values (
    p_tenant_id, flowgres.uuid_v7(v_now), 'signal', '$callback', v_address, p_payload, v_address, 1, v_now, v_now + interval '7 days')
  on conflict (tenant_id, name, idempotency_key) where idempotency_key is not null do nothing
  returning s.id into v_id;
  if v_id is null then
    return 'repeated';
  end if;
  insert into flowgres.pending_wakes (tenant_id, name, address, requested_at) values (p_tenant_id, '$callback', v_address, v_now);
  perform flowgres.wake_runners();
  return 'taken';
end;
$$;
comment on function flowgres.receive_callback(uuid, uuid, integer, integer, integer, integer, jsonb) is $$Take a call at the address of a step

The front has checked its token. Returns taken, repeated, over, suspended or too_large. One call counts; it may come before the step waits for it.$$;
