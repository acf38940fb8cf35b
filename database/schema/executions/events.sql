-- The events of executions, each once: those that have rows, and those that other rows tell.

set local role flowgres_owner;

create or replace view flowgres.all_events with (security_invoker = true) as
select v.tenant_id, v.execution_id, v.seq, v.type, v.level, v.step, v.message, v.details, v.actor, v.at
from flowgres.events as v
union all
-- A row with began_at stands for the start of its step as well, under the number before its own.
select v.tenant_id, v.execution_id, v.seq - 1, 'step_started', 'info', v.step, null, null, null, v.began_at
from flowgres.events as v
where v.began_at is not null
union all
-- A step that ended at its first report has no row of events: its own says all.
select
  s.tenant_id, s.execution_id, s.seq, 'step_' || s.status, case s.status when 'failed' then 'error' else 'info' end,
  flowgres.step_label(s.step, s.iteration),
  s.error ->> 'message',
  case when s.error is not null then flowgres.describe_outcome(
    p_attempt => s.attempts, p_error => s.error, p_due_at => null, p_child_execution_id => null) end,
  null, s.finished_at
from flowgres.step_executions as s
where s.seq is not null and s.is_logged is null
union all
select s.tenant_id, s.execution_id, s.seq - 1, 'step_started', 'info', flowgres.step_label(s.step, s.iteration), null, null, null, s.started_at
from flowgres.step_executions as s
where s.seq is not null and s.is_logged is null and s.started_at is not null
union all
-- The first and the last event of an execution that went well: when it started, and when it ended.
select e.tenant_id, e.id, 1, 'execution_started', 'info', null, null, null, null, e.started_at
from flowgres.executions as e
where e.started_at is not null and not exists (
  select from flowgres.events as v where v.tenant_id = e.tenant_id and v.execution_id = e.id and v.seq = 1)
union all
select e.tenant_id, e.id, e.event_seq, 'execution_completed', 'info', null, null, null, null, e.finished_at
from flowgres.executions as e
where e.status = 'completed' and not exists (
  select from flowgres.events as v where v.tenant_id = e.tenant_id and v.execution_id = e.id and v.seq = e.event_seq);
comment on view flowgres.all_events is $$Events of executions, numbered from 1 without gaps

Most are not stored: the row of a step that ended at its first report says when it began and ended, and its seq is the number of
its end. Rows are written of what no other row tells: retries, waits, logs, cancels, failures of executions.$$;
