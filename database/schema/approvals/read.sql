-- What an approval is to those who read it: in a message, in an answer, as the output of its step; and who may decide it.

set local role flowgres_owner;

create or replace function flowgres.count_approvals(p_decisions jsonb)
  returns integer language sql immutable parallel safe
as $$
  select count(*)::integer from jsonb_array_elements(p_decisions) as d (value) where d.value ->> 'decision' = 'approved';
$$;
comment on function flowgres.count_approvals(jsonb) is $$How many people have approved.$$;

create or replace function flowgres.show_decisions(p_decisions jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  -- The key of a request is nobody else's.
  select coalesce(jsonb_agg(d.value - 'key' order by d.place), '[]')
  from jsonb_array_elements(p_decisions) with ordinality as d (value, place);
$$;
comment on function flowgres.show_decisions(jsonb) is $$Decisions as people see them: {decision, by, at, data, notes}.$$;

create or replace function flowgres.approval_output(p_approval flowgres.approvals)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'decision', (p_approval).status, 'data', d.last -> 'data', 'notes', d.last -> 'notes', 'decided_by', d.last -> 'by',
    'decided_at', d.last -> 'at', 'decisions', flowgres.show_decisions((p_approval).decisions))
  from (select (p_approval).decisions -> -1 as last) as d;
$$;
comment on function flowgres.approval_output(flowgres.approvals) is $$The output of the step of a decided approval: {decision, data, notes, decided_by, decided_at, decisions}

What stands beside the decision is that of who decided last.$$;

create or replace function flowgres.describe_approval(p_approval flowgres.approvals)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', (p_approval).id, 'execution_id', (p_approval).execution_id, 'step', (p_approval).step,
    'iteration', nullif((p_approval).iteration, -1), 'status', (p_approval).status, 'title', (p_approval).title,
    'approved_count', flowgres.count_approvals((p_approval).decisions), 'quorum', (p_approval).quorum,
    'decided_by', (p_approval).decisions -> -1 -> 'by', 'decided_at', (p_approval).decisions -> -1 -> 'at',
    'output', case when (p_approval).status in ('approved', 'rejected') then flowgres.approval_output(p_approval) end);
$$;
comment on function flowgres.describe_approval(flowgres.approvals) is $$An approval as the functions answer with it.$$;

create or replace function flowgres.approval_message(p_approval flowgres.approvals)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'id', (p_approval).id, 'step', (p_approval).step, 'iteration', nullif((p_approval).iteration, -1), 'title', (p_approval).title,
    'message', (p_approval).message, 'roles', (p_approval).roles, 'approvers', (p_approval).approvers,
    'quorum', (p_approval).quorum, 'approved_count', flowgres.count_approvals((p_approval).decisions),
    'requested_at', flowgres.moment_text((p_approval).requested_at), 'due_at', flowgres.moment_text((p_approval).due_at)))
  || jsonb_build_object('form', (p_approval).form);
$$;
comment on function flowgres.approval_message(flowgres.approvals) is $$What somebody needs who is asked: the member approval of what notifications send.$$;

create or replace function flowgres.is_approver(p_approval flowgres.approvals)
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (p_approval).roles = '{}' and (p_approval).approvers = '{}'
    or flowgres.actor() = any((p_approval).approvers)
    or (p_approval).roles <> '{}' and flowgres.has_business_role((p_approval).roles);
end;
$$;
comment on function flowgres.is_approver(flowgres.approvals) is $$Whether the caller is one of those who are asked: by a business role, or by name.$$;

create or replace function flowgres.may_decide(p_approval flowgres.approvals)
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_actor text;
begin
  if (p_approval).status <> 'pending' or (p_approval).due_at <= flowgres.now() then
    return false;
  end if;
  v_actor := flowgres.actor();
  return pg_has_role(current_user, 'flowgres_member', 'member')
    and not ((p_approval).not_starter and v_actor is not distinct from (p_approval).starter)
    and not (p_approval).decisions @> jsonb_build_array(jsonb_build_object('by', v_actor))
    and flowgres.is_approver(p_approval);
end;
$$;
comment on function flowgres.may_decide(flowgres.approvals) is $$Whether the caller may decide this now: for buttons; decide_approval has the last word.$$;
