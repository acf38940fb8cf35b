-- Deciding, and what ends an approval without a decision.
--
-- Whoever decides holds the lock of the execution, as an advance does: so a decision, a cancel and the next decision come one after the
-- other, and each sees what the one before has left. A runner that comes meanwhile passes the execution over.

set local role flowgres_owner;

create or replace function flowgres.check_decision(p_decision text, p_notes text, p_idempotency_key text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_decision is null or p_decision not in ('approved', 'rejected') then
    perform flowgres.fail(
      p_status => 422, p_code => 'decision_invalid', p_message => format('%L is no decision', left(p_decision, 100)),
      p_details => 'decision', p_hint => 'Say approved or rejected.');
  end if;
  perform flowgres.check_length(p_argument => 'notes', p_value => p_notes, p_most => 10000);
  perform flowgres.check_length(p_argument => 'idempotency_key', p_value => p_idempotency_key, p_most => 255);
end;
$$;
comment on function flowgres.check_decision(text, text, text) is $$Refuse what is no decision, whatever it is about.$$;

create or replace function flowgres.fill_form(p_form jsonb, p_data jsonb, p_checks boolean)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_filled jsonb := coalesce(nullif(p_data, 'null'), '{}');
  v_errors jsonb[] := '{}';
  v_fields text[];
begin
  if jsonb_typeof(v_filled) <> 'object' then
    v_errors := array[flowgres.problem(p_path => 'data', p_code => 'wrong_kind', p_message => 'data is not an object')];
  elsif p_form is not null then
    v_fields := array(select jsonb_object_keys(p_form));
    v_errors := array(
      -- First, as a name that is wrong is often why another one is missing.
      select flowgres.problem(
        p_path => flowgres.join_path('data', u.name), p_code => 'unknown_field',
        p_message => format('the form has no field "%s"', left(u.name, 60)),
        p_hint => flowgres.did_you_mean(p_word => u.name, p_known => v_fields))
      from jsonb_object_keys(v_filled - v_fields) as u (name)
      limit 20);
    select f.p_filled, v_errors || f.p_errors into v_filled, v_errors from flowgres.fill_in(p_form, v_filled, 'data') as f;
  end if;
  if p_checks and cardinality(v_errors) > 0 then
    perform flowgres.fail(
      p_status => 422, p_code => 'form_invalid',
      p_message => 'the form is not filled in as it should be: '
      || left((select string_agg(e ->> 'message', '; ') from unnest(v_errors) as e), 500),
      p_details => to_jsonb(v_errors)::text,
      p_hint => coalesce(
        (select e ->> 'hint' from unnest(v_errors) with ordinality as e (e, place) where e ? 'hint' order by e.place limit 1),
        'The form of an approval stands in /approvals.'));
  end if;
  return v_filled;
end;
$$;
comment on function flowgres.fill_form(jsonb, jsonb, boolean) is $$What is sent along with a decision, with the defaults of the form; p_checks: 422 with everything that is wrong with it.$$;

create or replace function flowgres.find_approval(p_tenant_id uuid, p_execution_id uuid, p_step text, p_iteration integer)
  returns flowgres.approvals language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_named text[] := regexp_match(p_step, '^(.+)\[([0-9]{1,9})\]$');
  v_approval flowgres.approvals;
begin
  select a.* into v_approval
  from flowgres.approvals as a
  where a.tenant_id = p_tenant_id and a.execution_id = p_execution_id and a.step = coalesce(v_named[1], p_step)
    and a.iteration = coalesce(p_iteration, v_named[2]::integer, -1)
  order by a.number desc
  limit 1;
  if v_approval.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'approval_not_found',
      p_message => format(
        'the step "%s" of this execution asks for no approval',
        left(flowgres.step_label(p_step, coalesce(p_iteration, -1)), 100)),
      p_hint => 'List /approvals of the execution. Of a foreach each iteration asks for itself: name it.');
  end if;
  return v_approval;
end;
$$;
comment on function flowgres.find_approval(uuid, uuid, text, integer) is $$What a step asked for last; the step may be named with its iteration, such as hold[3].$$;

create or replace function flowgres.refuse_decider(p_approval flowgres.approvals)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if not flowgres.is_approver(p_approval) then
    perform flowgres.fail(
      p_status => 403, p_code => 'not_an_approver',
      p_message => case when p_approval.roles = '{}' then 'others are asked to decide this'
        else format('this is for the roles %s to decide', array_to_string(p_approval.roles, ', ')) end,
      p_details => jsonb_build_object('roles', p_approval.roles, 'approvers', p_approval.approvers)::text,
      p_hint => 'Come with a token or an API key that has one of these business roles, or is named among the approvers.');
  elsif p_approval.not_starter and flowgres.actor() is not distinct from p_approval.starter then
    perform flowgres.fail(
      p_status => 403, p_code => 'starter_may_not_decide', p_message => 'whoever started the execution may not decide this',
      p_hint => 'Somebody else has to.');
  end if;
end;
$$;
comment on function flowgres.refuse_decider(flowgres.approvals) is $$Refuse a caller who is not asked, or who started what is to be approved.$$;

create or replace function flowgres.refuse_ended(p_approval flowgres.approvals, p_now timestamptz)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_actor text := flowgres.actor();
  v_told jsonb := p_approval.decisions -> -1;
begin
  if p_approval.status in ('approved', 'rejected') then
    perform flowgres.fail(
      p_status => 409, p_code => 'already_decided',
      p_message => format('%s has %s this at %s', v_told ->> 'by', p_approval.status, v_told ->> 'at'),
      p_details => jsonb_build_object('status', p_approval.status, 'decided_by', v_told -> 'by', 'decided_at', v_told -> 'at')::text,
      p_hint => 'What is decided stays decided.');
  elsif p_approval.status <> 'pending' or p_approval.due_at <= p_now then
    perform flowgres.fail(
      p_status => 409, p_code => 'approval_ended',
      p_message => case p_approval.status when 'cancelled' then 'nobody asks any more: the step was cancelled'
        else format('nobody asks any more: the time was over at %s', flowgres.moment_text(p_approval.due_at)) end,
      p_details => jsonb_build_object(
        'status', case p_approval.status when 'cancelled' then 'cancelled' else 'timed_out' end, 'due_at', p_approval.due_at)::text,
      p_hint => 'The step went on without a decision, as its on_timeout says.');
  end if;
  select d.value into v_told from jsonb_array_elements(p_approval.decisions) as d (value) where d.value ->> 'by' = v_actor;
  if v_told is not null then
    perform flowgres.fail(
      p_status => 409, p_code => 'already_decided',
      p_message => format('you have %s this at %s: one person counts once', v_told ->> 'decision', v_told ->> 'at'),
      p_details => jsonb_build_object('status', 'pending', 'decided_by', v_told -> 'by', 'decided_at', v_told -> 'at')::text,
      p_hint => format('%s of %s have approved; others have to.', flowgres.count_approvals(p_approval.decisions), p_approval.quorum));
  end if;
end;
$$;
comment on function flowgres.refuse_ended(flowgres.approvals, timestamptz) is $$Refuse a decision about what has ended, or that this caller has decided already.$$;

create or replace function flowgres.find_decision(p_approval flowgres.approvals, p_asked jsonb, p_key text)
  returns flowgres.approvals language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_by jsonb := jsonb_build_object('by', flowgres.actor()) || case when p_key is null then '{}' else jsonb_build_object('key', p_key) end;
  v_found flowgres.approvals;
  v_made jsonb;
begin
  -- Under a key it may be an earlier time that the step has asked; without one only the last is meant.
  select a.* into v_found
  from flowgres.approvals as a
  where a.tenant_id = p_approval.tenant_id and a.execution_id = p_approval.execution_id and a.step_index = p_approval.step_index
    and a.iteration = p_approval.iteration and (p_key is not null or a.number = p_approval.number)
    and a.decisions @> jsonb_build_array(v_by)
  order by a.number desc
  limit 1;
  if v_found.id is null then
    return null;
  end if;
  select d.value into v_made from jsonb_array_elements(v_found.decisions) as d (value) where d.value @> v_by;
  if v_made ->> 'decision' = p_asked ->> 'decision'
    and v_made -> 'data' = flowgres.fill_form(p_form => v_found.form, p_data => p_asked -> 'data', p_checks => false)
  then
    return v_found;
  elsif p_key is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'idempotency_key_reused',
      p_message => 'this key was used for another decision', p_details => 'idempotency_key', p_hint => 'Use one key per decision.');
  end if;
  return null;
end;
$$;
comment on function flowgres.find_decision(flowgres.approvals, jsonb, text) is $$The approval in which this caller has made the same decision with the same data before; null when there is none.$$;

set local role flowgres_definer;

create or replace function flowgres.decide_approval(
  p_execution_id uuid, p_step text, p_decision text, p_data jsonb, p_notes text, p_iteration integer, p_idempotency_key text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz;
  v_event_seq integer;
  v_approval flowgres.approvals;
  v_made flowgres.approvals;
  v_decision jsonb;
  v_row flowgres.work_queue;
begin
  perform flowgres.check_decision(p_decision => p_decision, p_notes => p_notes, p_idempotency_key => p_idempotency_key);
  -- A look without a lock: who is not asked holds nothing up.
  if not exists (
    select from flowgres.executions as e where e.tenant_id = v_tenant_id and e.id = p_execution_id and not flowgres.is_hidden(e.id))
  then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  end if;
  v_approval := flowgres.find_approval(
    p_tenant_id => v_tenant_id, p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration);
  perform flowgres.refuse_decider(p_approval => v_approval);
  select e.event_seq into v_event_seq
  from flowgres.executions as e
  where e.tenant_id = v_tenant_id and e.id = p_execution_id
  for no key update;
  -- Everything from here on is younger than the lock.
  v_now := flowgres.now();
  v_approval := flowgres.find_approval(
    p_tenant_id => v_tenant_id, p_execution_id => p_execution_id, p_step => p_step, p_iteration => p_iteration);
  v_decision := jsonb_build_object('decision', p_decision, 'data', p_data, 'notes', nullif(p_notes, ''));
  v_made := flowgres.find_decision(p_approval => v_approval, p_asked => v_decision, p_key => p_idempotency_key);
  if v_made.id is not null then
    return flowgres.describe_approval(v_made);
  end if;
  perform flowgres.refuse_decider(p_approval => v_approval);
  perform flowgres.refuse_ended(p_approval => v_approval, p_now => v_now);
  v_decision := v_decision || jsonb_build_object(
    'data', flowgres.fill_form(p_form => v_approval.form, p_data => p_data, p_checks => true),
    'by', flowgres.actor(), 'at', flowgres.moment_text(v_now))
  || case when p_idempotency_key is null then '{}' else jsonb_build_object('key', p_idempotency_key) end;
  v_approval.decisions := v_approval.decisions || jsonb_build_array(v_decision);
  -- All of them together are the output of the step.
  perform flowgres.check_payload(p_tenant_id => v_tenant_id, p_payload => v_approval.decisions, p_what => 'what was decided');
  -- Who claims it has not the lock of the execution: a row that is leased, or stands in its line, has run out of time just now.
  select q.* into v_row
  from flowgres.work_queue as q
  where q.tenant_id = v_tenant_id and q.execution_id = p_execution_id and q.step_index = v_approval.step_index
    and q.iteration = v_approval.iteration and q.waits_for = 'approval:' || v_approval.id
  for update;
  if v_row.id is null then
    v_approval.status := 'timed_out';
    perform flowgres.refuse_ended(p_approval => v_approval, p_now => v_now);
  end if;
  if p_decision = 'rejected' or flowgres.count_approvals(v_approval.decisions) >= v_approval.quorum then
    v_approval.status := p_decision;
    v_approval.ended_at := v_now;
    v_approval.expires_at := flowgres.approval_expires_at(p_ended_at => v_now);
    v_approval.next_at := null;
  end if;
  update flowgres.approvals as a
  set
    status = v_approval.status, decisions = v_approval.decisions, ended_at = v_approval.ended_at, expires_at = v_approval.expires_at,
    next_at = v_approval.next_at
  where a.tenant_id = v_tenant_id and a.id = v_approval.id;
  insert into flowgres.events (tenant_id, execution_id, seq, at, type, step, message, actor, details)
  values (
    v_tenant_id, p_execution_id, v_event_seq + 1, v_now, 'approval_' || p_decision,
    flowgres.step_label(v_approval.step, v_approval.iteration), nullif(p_notes, ''), flowgres.actor(),
    jsonb_build_object(
      'approved_count', flowgres.count_approvals(v_approval.decisions), 'quorum', v_approval.quorum, 'status', v_approval.status));
  update flowgres.executions as e
  set event_seq = v_event_seq + 1
  where e.tenant_id = v_tenant_id and e.id = p_execution_id;
  perform flowgres.tell_streams(
    p_tenant_ids => array[v_tenant_id], p_execution_ids => array[p_execution_id], p_event_seqs => array[v_event_seq], p_now => v_now);
  perform flowgres.record_audit(
    p_action => 'approval_decided', p_subject => p_execution_id::text, p_details => jsonb_build_object(
      'approval_id', v_approval.id, 'step', v_approval.step, 'iteration', nullif(v_approval.iteration, -1), 'decision', p_decision,
      'status', v_approval.status));
  if v_approval.ended_at is not null then
    perform flowgres.wake_decided(p_approval => v_approval, p_queue_row => v_row);
  end if;
  return flowgres.describe_approval(v_approval);
end;
$$;
comment on function flowgres.decide_approval(uuid, text, text, jsonb, text, integer, text) is $$Decide what a step asks for; the step goes on once it is decided

The same caller saying the same again gets the same answer.$$;
