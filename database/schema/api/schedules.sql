-- Schedules, as clients read and command them.

set local role flowgres_owner;

create or replace view flowgres_api.schedules with (security_invoker = true) as
select
  s.id,
  s.tenant_id,
  s.workflow_id,
  w.name as workflow_name,
  s.cron,
  s.timezone,
  s.in_words,
  s.catch_up,
  s.input,
  s.jitter_seconds,
  s.ends_at,
  flowgres.schedule_status(p_paused_at => s.paused_at, p_workflow_status => w.status, p_next_at => s.next_at) as status,
  s.next_at,
  s.last_slot,
  s.last_execution_id,
  s.last_error,
  s.paused_at,
  s.place,
  s.created_at,
  s.updated_at
from flowgres.schedules as s
join flowgres.workflows as w on w.tenant_id = s.tenant_id and w.id = s.workflow_id;

comment on view flowgres_api.schedules is $$Schedules

The cron triggers of active versions, and what they do next.$$;
comment on column flowgres_api.schedules.id is $$Identifier; it stays when the trigger is changed$$;
comment on column flowgres_api.schedules.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.schedules.workflow_id is $$The workflow that it starts$$;
comment on column flowgres_api.schedules.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.schedules.cron is $$The expression, as the author wrote it$$;
comment on column flowgres_api.schedules.timezone is $$Time zone whose clocks it goes by$$;
comment on column flowgres_api.schedules.in_words is $$When it fires, in words$$;
comment on column flowgres_api.schedules.catch_up is $$What becomes of slots that were missed: none, latest or all (ten at most)$$;
comment on column flowgres_api.schedules.input is $$Input of its executions$$;
comment on column flowgres_api.schedules.jitter_seconds is $$Within how many seconds after their slot executions begin$$;
comment on column flowgres_api.schedules.ends_at is $$The last moment at which it may fire; null is never$$;
comment on column flowgres_api.schedules.status is $$active, paused, ended (no slot comes any more) or inactive (its workflow is)$$;
comment on column flowgres_api.schedules.next_at is $$The slot that is next; null unless it is active$$;
comment on column flowgres_api.schedules.last_slot is $$The slot that it fired last$$;
comment on column flowgres_api.schedules.last_execution_id is $$What that slot started$$;
comment on column flowgres_api.schedules.last_error is $$Why a slot started nothing: {code, message, slot, at}; null when the last one did$$;
comment on column flowgres_api.schedules.paused_at is $$Since when it is paused$$;
comment on column flowgres_api.schedules.place is $$Which of the triggers of the definition it is, from 0$$;
comment on column flowgres_api.schedules.created_at is $$When it was first active$$;
comment on column flowgres_api.schedules.updated_at is $$When it last changed or fired$$;

create or replace function flowgres_api.preview_schedule(
  schedule text default null, cron text default null, timezone text default null, count integer default 10
)
  returns jsonb language sql stable
as $$
  select flowgres.preview_schedule(p_schedule => schedule, p_cron => cron, p_timezone => timezone, p_count => coalesce(count, 10));
$$;
comment on function flowgres_api.preview_schedule(text, text, text, integer) is $$Preview the next slots of a schedule

schedule is an id, or the name of a workflow that has one; or give cron and timezone (that of the setting cron_timezone unless
given) instead. Returns {schedule, cron, timezone, in_words, slots: [{slot, local_time, begins_at}]}, up to 1,000 slots.$$;

create or replace function flowgres_api.pause_schedule(schedule text)
  returns jsonb language sql
as $$ select flowgres.pause_schedule(p_schedule => schedule); $$;
comment on function flowgres_api.pause_schedule(text) is $$Pause a schedule

schedule is an id, or the name of a workflow that has one. It stays paused when another version becomes active.
Returns {id, workflow_id, workflow_name, cron, timezone, in_words, status, next_at}.$$;

create or replace function flowgres_api.resume_schedule(schedule text)
  returns jsonb language sql
as $$ select flowgres.resume_schedule(p_schedule => schedule); $$;
comment on function flowgres_api.resume_schedule(text) is $$Resume a schedule

It goes on with its next slot; backfill_schedule starts those that were missed. Returns
{id, workflow_id, workflow_name, cron, timezone, in_words, status, next_at}.$$;

create or replace function flowgres_api.trigger_schedule(schedule text)
  returns jsonb language sql
as $$ select flowgres.trigger_schedule(p_schedule => schedule); $$;
comment on function flowgres_api.trigger_schedule(text) is $$Start now what a schedule starts

Its slots come as ever. Returns {execution_id, status, created} with 201.$$;

create or replace function flowgres_api.backfill_schedule(schedule text, since timestamptz, until timestamptz, max integer default 1000)
  returns jsonb language sql
as $$ select flowgres.backfill_schedule(p_schedule => schedule, p_since => since, p_until => until, p_max => max); $$;
comment on function flowgres_api.backfill_schedule(text, timestamptz, timestamptz, integer) is $$Start the slots of a range in the past

Each once: those that have started something are passed over. Returns {schedule, since, until, slots, started, passed_over}; 413
too_many_slots, and nothing started, where there are more than max.$$;
