-- Approvals, as clients read and decide them.

set local role flowgres_owner;

create or replace view flowgres_api.approvals with (security_invoker = true) as
select
  a.id,
  a.tenant_id,
  a.execution_id,
  a.workflow_id,
  w.name as workflow_name,
  a.step,
  nullif(a.iteration, -1) as iteration,
  a.title,
  a.message,
  a.roles,
  a.approvers,
  a.not_starter,
  a.starter,
  a.form,
  a.quorum,
  flowgres.count_approvals(a.decisions) as approved_count,
  a.status,
  a.requested_at,
  a.due_at,
  case when a.status in ('approved', 'rejected') then a.ended_at end as decided_at,
  case when a.status in ('approved', 'rejected') then a.decisions -> -1 ->> 'by' end as decided_by,
  a.ended_at,
  flowgres.show_decisions(a.decisions) as decisions,
  flowgres.may_decide(a) as may_decide,
  a.remind_seconds,
  a.reminder_count,
  a.number
from flowgres.approvals as a
left join flowgres.workflows as w on w.tenant_id = a.tenant_id and w.id = a.workflow_id;

comment on view flowgres_api.approvals is $$Approvals

What steps ask people to decide, and what they have decided: an inbox with status=eq.pending. Kept as long as executions are.$$;
comment on column flowgres_api.approvals.id is $$Identifier; sorting by it sorts by age$$;
comment on column flowgres_api.approvals.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.approvals.execution_id is $$The execution that waits$$;
comment on column flowgres_api.approvals.workflow_id is $$Its workflow$$;
comment on column flowgres_api.approvals.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.approvals.step is $$The step's id in the definition$$;
comment on column flowgres_api.approvals.iteration is $$Number of a foreach iteration, from 0; null for the step itself$$;
comment on column flowgres_api.approvals.title is $$What is asked, in a line$$;
comment on column flowgres_api.approvals.message is $$What is asked, at length$$;
comment on column flowgres_api.approvals.roles is $$Business roles that may decide$$;
comment on column flowgres_api.approvals.approvers is $$Callers who may decide, beside those roles; with neither every member may$$;
comment on column flowgres_api.approvals.not_starter is $$Whether who started the execution may not decide$$;
comment on column flowgres_api.approvals.starter is $$Who started it: a caller, or a trigger$$;
comment on column flowgres_api.approvals.form is $$What is to be sent along as data, declared as inputs are; null is anything$$;
comment on column flowgres_api.approvals.quorum is $$How many people have to approve$$;
comment on column flowgres_api.approvals.approved_count is $$How many have approved so far$$;
comment on column flowgres_api.approvals.status is $$pending, approved, rejected, timed_out or cancelled$$;
comment on column flowgres_api.approvals.requested_at is $$Since when it waits$$;
comment on column flowgres_api.approvals.due_at is $$When the time for it is over; null is never$$;
comment on column flowgres_api.approvals.decided_at is $$When it was decided$$;
comment on column flowgres_api.approvals.decided_by is $$Who decided it: of several the last$$;
comment on column flowgres_api.approvals.ended_at is $$When it was decided, or ended otherwise$$;
comment on column flowgres_api.approvals.decisions is $$Who has decided what, in order: {decision, by, at, data, notes}$$;
comment on column flowgres_api.approvals.may_decide is $$Whether the caller may decide it now$$;
comment on column flowgres_api.approvals.remind_seconds is $$After how long without an end it is told again; null is never$$;
comment on column flowgres_api.approvals.reminder_count is $$How often it was told again$$;
comment on column flowgres_api.approvals.number is $$How often the step has asked, this time included$$;

create or replace function flowgres_api.decide_approval(
  execution_id uuid, step text, decision text, data jsonb default '{}', notes text default null, iteration integer default null,
  idempotency_key text default null
)
  returns jsonb language sql
as $$
  select flowgres.decide_approval(
    p_execution_id => execution_id, p_step => step, p_decision => decision, p_data => data, p_notes => notes, p_iteration => iteration,
    p_idempotency_key => flowgres.given_key('decide_approval', idempotency_key));
$$;
comment on function flowgres_api.decide_approval(uuid, text, text, jsonb, text, integer, text) is $$Approve or reject what a step asks for

decision is approved or rejected; data fills in the form of the approval. A step of a foreach is named with its iteration. The same caller
saying the same again gets the same answer; with a key also when the step has asked anew since. Errors: 403 not_an_approver and
starter_may_not_decide, 404 approval_not_found, 409 already_decided and approval_ended, 422 decision_invalid and form_invalid. Returns
{id, execution_id, step, iteration, status, title, approved_count, quorum, decided_by, decided_at, output}.$$;

create or replace function flowgres_api.approvals(flowgres_api.executions)
  returns setof flowgres_api.approvals language sql stable rows 2
as $$
  select x.* from flowgres_api.approvals as x where x.tenant_id = $1.tenant_id and x.execution_id = $1.id;
$$;
comment on function flowgres_api.approvals(flowgres_api.executions) is $$What the steps of an execution ask people to decide, for embedding.$$;

create or replace function flowgres_api.executions(flowgres_api.approvals)
  returns setof flowgres_api.executions language sql stable rows 1
as $$
  select x.* from flowgres_api.executions as x where x.tenant_id = $1.tenant_id and x.id = $1.execution_id;
$$;
comment on function flowgres_api.executions(flowgres_api.approvals) is $$The execution that waits, for embedding; none when it was pruned.$$;

create or replace function flowgres_api.workflows(flowgres_api.approvals)
  returns setof flowgres_api.workflows language sql stable rows 1
as $$
  select x.* from flowgres_api.workflows as x where x.tenant_id = $1.tenant_id and x.id = $1.workflow_id;
$$;
comment on function flowgres_api.workflows(flowgres_api.approvals) is $$The workflow whose step asks, for embedding.$$;
