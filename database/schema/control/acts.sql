-- What people do to executions and their steps, kept for ever: in the audit log, with who and why, and as an event of the execution.

set local role flowgres_owner;

create or replace function flowgres.audit_act(
  p_tenant_id uuid, p_action text, p_subject text, p_reason text default null, p_details jsonb default null
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
begin
  insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
  values (
    p_tenant_id, flowgres.uuid_v7(v_now), v_now, flowgres.actor(), p_action, p_subject,
    nullif(jsonb_strip_nulls(jsonb_build_object('reason', nullif(p_reason, ''))) || coalesce(p_details, '{}'), '{}'));
end;
$$;
comment on function flowgres.audit_act(uuid, text, text, text, jsonb) is $$Write into the audit log what the caller does, to what, and why

p_action is a verb in the past (execution_paused), p_subject the id or name of what it is done to.$$;

create or replace function flowgres.tell_act(
  p_tenant_id uuid, p_execution_id uuid, p_type text, p_reason text default null, p_step text default null, p_details jsonb default null
)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_seq integer;
begin
  update flowgres.executions as e
  set event_seq = e.event_seq + 1
  where e.tenant_id = p_tenant_id and e.id = p_execution_id
  returning e.event_seq into v_seq;
  insert into flowgres.events (tenant_id, execution_id, seq, at, type, step, message, actor, details)
  values (p_tenant_id, p_execution_id, v_seq, v_now, p_type, p_step, nullif(p_reason, ''), flowgres.actor(), p_details);
  perform flowgres.tell_streams(
    p_tenant_ids => array[p_tenant_id], p_execution_ids => array[p_execution_id], p_event_seqs => array[v_seq - 1], p_now => v_now);
  return v_seq;
end;
$$;
comment on function flowgres.tell_act(uuid, uuid, text, text, text, jsonb) is $$Tell, as an event of an execution, what the caller does to it; returns the number of the event

The caller holds the lock of the execution. p_step with its iteration, as step_label() writes it.$$;

create or replace function flowgres.tell_acts(
  p_tenant_id uuid, p_execution_ids uuid[], p_seqs integer[], p_type text, p_actor text, p_reason text, p_details jsonb[] default null,
  p_audited uuid[] default null
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
begin
  insert into flowgres.events (tenant_id, execution_id, seq, at, type, message, actor, details)
  select p_tenant_id, x.id, x.seq, v_now, p_type, nullif(p_reason, ''), p_actor, x.details
  from unnest(p_execution_ids, p_seqs, p_details) as x (id, seq, details);
  if p_audited is not null then
    insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
    select
      p_tenant_id, a.id, v_now, p_actor, p_type, x.id::text,
      nullif(jsonb_strip_nulls(jsonb_build_object('reason', nullif(p_reason, ''))) || coalesce(x.details, '{}'), '{}')
    from unnest(
      p_execution_ids, flowgres.uuids_v7(p_at => v_now, p_count => cardinality(p_execution_ids)), p_details) as x (id, audit_id, details)
    cross join lateral (select x.audit_id as id) as a
    where x.id = any(p_audited);
  end if;
  perform flowgres.tell_streams(
    p_tenant_ids => array_fill(p_tenant_id, array[cardinality(p_execution_ids)]), p_execution_ids => p_execution_ids,
    p_event_seqs => array(select s - 1 from unnest(p_seqs) with ordinality as s (s, i) order by s.i), p_now => v_now);
end;
$$;
comment on function flowgres.tell_acts is $$Tell, as an event of each of these executions, what is done to it, and audit it of those in p_audited

The caller holds their locks and has counted the events; p_seqs are their numbers.$$;
