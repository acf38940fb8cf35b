-- Steps that run round after round until an expression is true.

set local role flowgres_owner;

alter table flowgres.workflow_steps add column repeats jsonb;
comment on column flowgres.workflow_steps.repeats is $$Run it round after round: {until, max_times, delay}, as the author wrote it, the delay in seconds$$;

alter table flowgres.work_queue
add column round integer,
add column past_attempts smallint;
comment on column flowgres.work_queue.round is $$Of a step that repeats: which round is next or under way; null in the first one$$;
comment on column flowgres.work_queue.is_new is $$The execution has not begun, or another round of a step has not: what has begun goes first.$$;
comment on column flowgres.work_queue.past_attempts is $$How many attempts the rounds before this one took$$;

alter table flowgres.step_executions
add column round integer,
add column previous jsonb;

alter table flowgres.attempts add column round integer;

alter type flowgres.step_outcome add attribute round integer;
alter type flowgres.claimed_step add attribute round integer;
alter type flowgres.claimed_step add attribute previous json;
