-- What the engine's rows mean and how they are made, each in one place.
--
-- No search_path here: a function with one is not inlined, and these stand in the hottest statements. Their names are qualified
-- or built in, and who calls them has pinned the path.

set local role flowgres_owner;

create or replace function flowgres.stands_in_line(p_runner_id uuid, p_due_at timestamptz, p_held boolean, p_capability text)
  returns boolean language sql immutable parallel safe
as $$
  select p_runner_id is null and p_due_at is null and not p_held and p_capability not like 'limit:%';
$$;
comment on function flowgres.stands_in_line(uuid, timestamptz, boolean, text) is $$What is_ready says, for those who may not read whole rows: tenants.$$;

create or replace function flowgres.is_ready(p_row flowgres.work_queue)
  returns boolean language sql immutable parallel safe
as $$
  select flowgres.stands_in_line((p_row).runner_id, (p_row).due_at, (p_row).held, (p_row).capability);
$$;
comment on function flowgres.is_ready(flowgres.work_queue) is $$Whether a row stands in its line, to be claimed: the predicate of work_queue_ready_idx.$$;

create or replace function flowgres.is_waiting(p_row flowgres.work_queue)
  returns boolean language sql immutable parallel safe
as $$
  select (p_row).runner_id is null and (p_row).due_at is null and not (p_row).held and (p_row).capability like 'limit:%';
$$;
comment on function flowgres.is_waiting(flowgres.work_queue) is $$Whether a row stands in the line of a limit, to be let go: the predicate of work_queue_limits_idx.$$;

create or replace function flowgres.is_leased(p_row flowgres.work_queue)
  returns boolean language sql immutable parallel safe
as $$
  select (p_row).runner_id is not null;
$$;
comment on function flowgres.is_leased(flowgres.work_queue) is $$Whether a runner holds a row: the predicate of work_queue_runner_idx.$$;

create or replace function flowgres.is_due(p_row flowgres.work_queue, p_at timestamptz)
  returns boolean language sql immutable parallel safe
as $$
  select (p_row).due_at <= p_at;
$$;
comment on function flowgres.is_due(flowgres.work_queue, timestamptz) is $$Whether the time of a parked row has come; a row that waits to be woken is due at infinity.$$;

create or replace function flowgres.line_of(p_capability text, p_waits_for text)
  returns text language sql immutable parallel safe
as $$
  -- The lease of a worker that is over: a runner makes of it what the step says.
  select case when p_waits_for like 'task:%' then 'core' else p_capability end;
$$;
comment on function flowgres.line_of(text, text) is $$The line in which a row stands, or will stand when it is due: what a runner must serve to claim it.$$;

create or replace function flowgres.is_untold(p_row flowgres.work_queue)
  returns boolean language sql immutable parallel safe
as $$
  select (p_row).iteration = -1 and (p_row).attempt = 1 and (p_row).generation = 1 and not (p_row).is_announced
    and (p_row).resume is null;
$$;
comment on function flowgres.is_untold(flowgres.work_queue) is $$Whether a lease is a first attempt of which no other row tells yet, as a chain was compiled for.$$;

create or replace function flowgres.is_live(p_row flowgres.runners, p_since timestamptz)
  returns boolean language sql immutable parallel safe
as $$
  select (p_row).stopped_at is null and (p_row).seen_at > p_since and ((p_row).stats ->> 'is_blocked') is distinct from 'true';
$$;
comment on function flowgres.is_live(flowgres.runners, timestamptz) is $$Whether a runner was heard since then, and can do something: one whose claims are refused does nothing.$$;

create or replace function flowgres.may_claim(p_row flowgres.runners)
  returns boolean language sql immutable parallel safe
as $$
  select (p_row).drained_at is null and (p_row).stopped_at is null;
$$;
comment on function flowgres.may_claim(flowgres.runners) is $$Whether a runner is given steps: not when it was told to stop, or was given up.$$;

create or replace function flowgres.next_rank()
  returns bigint language sql volatile
as $$
  select nextval('flowgres.work_queue_id_seq');
$$;
comment on function flowgres.next_rank() is $$The place of a row that becomes ready: at the end of its line

Whatever makes a row ready gives it one (an insert does by its default), and has the id of its transaction by then: on that rests
what a session may conclude of ranks that it does not see (work/floors.sql).$$;

create or replace function flowgres.first_beside(p_number integer)
  returns integer language sql immutable parallel safe
as $$
  select p_number / 100 * 100;
$$;
comment on function flowgres.first_beside(integer) is $$The number of the first item in the row of step_items that has this one: a row has a hundred.$$;

create or replace function flowgres.step_label(p_step text, p_iteration integer)
  returns text language sql immutable parallel safe
as $$
  select case when p_iteration >= 0 then p_step || '[' || p_iteration::text || ']' else p_step end;
$$;
comment on function flowgres.step_label(text, integer) is $$How events call a step, and an iteration of one: hold, hold[3].$$;

create or replace function flowgres.only_computes(p_type text)
  returns boolean language sql immutable parallel safe
as $$
  select p_type in ('transform', 'condition', 'switch', 'log', 'stop', 'outputs');
$$;
comment on function flowgres.only_computes(text) is $$Whether steps of this type wait for nothing: they may be run ahead, and take no slot of a runner.$$;

create or replace function flowgres.make_resolved_step(
  p_slot integer, p_queue_id bigint, p_step_index smallint, p_step text, p_join_rule text, p_children smallint[],
  p_untaken smallint[], p_edge text, p_outcome text
)
  returns flowgres.resolved_step language sql immutable parallel safe
as $$
  select row(
    p_slot, p_queue_id, p_step_index, p_step, p_join_rule, p_children, p_untaken, p_edge, p_outcome)::flowgres.resolved_step;
$$;
comment on function flowgres.make_resolved_step is $$A resolved_step, by names.$$;

create or replace function flowgres.make_ready_step(
  p_slot integer, p_queue_id bigint, p_step_index smallint, p_capability text, p_only_computes boolean, p_iteration integer default -1
)
  returns flowgres.ready_step language sql immutable parallel safe
as $$
  select row(p_slot, p_queue_id, p_step_index, p_capability, p_only_computes, p_iteration)::flowgres.ready_step;
$$;
comment on function flowgres.make_ready_step is $$A ready_step, by names.$$;

create or replace function flowgres.make_step_outcome(
  p_slot integer, p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_step_index smallint, p_iteration integer,
  p_attempt smallint, p_generation smallint, p_outcome text, p_step text, p_step_type text, p_join_rule text, p_edge text,
  p_untaken smallint[], p_is_unhandled boolean, p_is_resumed boolean, p_is_recorded boolean, p_seq integer,
  p_ready_at timestamptz, p_began_at timestamptz, p_due_at timestamptz, p_waits_for text, p_child_execution_id uuid,
  p_output jsonb, p_error jsonb, p_detail jsonb, p_cancels smallint[], p_round integer
)
  returns flowgres.step_outcome language sql immutable parallel safe
as $$
  select row(
    p_slot, p_tenant_id, p_execution_id, p_queue_id, p_step_index, p_iteration, p_attempt, p_generation, p_outcome, p_step,
    p_step_type, p_join_rule, p_edge, p_untaken, p_is_unhandled, p_is_resumed, p_is_recorded, p_seq, p_ready_at, p_began_at,
    p_due_at, p_waits_for, p_child_execution_id, p_output, p_error, p_detail, p_cancels, p_round)::flowgres.step_outcome;
$$;
comment on function flowgres.make_step_outcome is $$A step_outcome, by names.$$;

create or replace function flowgres.make_claimed_step(
  p_queue_id bigint, p_token bigint, p_tenant_id uuid, p_execution_id uuid, p_version_id uuid, p_step_index smallint,
  p_iteration integer, p_attempt smallint, p_generation smallint, p_handed boolean default false, p_context json default null,
  p_resume jsonb default null, p_is_passed_over boolean default false, p_item json default null,
  p_round integer default null, p_previous json default null, p_overrides json default null
)
  returns flowgres.claimed_step language sql immutable parallel safe
as $$
  select row(
    p_queue_id, p_token, p_tenant_id, p_execution_id, p_version_id, p_step_index, p_iteration, p_attempt, p_generation, p_handed,
    p_context, p_resume, p_is_passed_over, p_item, p_round, p_previous, p_overrides)::flowgres.claimed_step;
$$;
comment on function flowgres.make_claimed_step is $$A claimed_step, by names.$$;

create or replace function flowgres.make_lost_report(
  p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_token bigint, p_step_index smallint, p_milliseconds double precision
)
  returns flowgres.step_report language sql stable
as $$
  select jsonb_populate_record(null::flowgres.step_report, jsonb_build_object(
    't', p_tenant_id, 'x', p_execution_id, 'q', p_queue_id, 'k', p_token, 's', p_step_index, 'o', 'lost', 'ms', p_milliseconds,
    'error', jsonb_build_object(
      'code', 'lease_expired', 'message', 'the runner of this step is gone', 'class', 'lease_expired')));
$$;
comment on function flowgres.make_lost_report is $$What the engine reports of a lease whose runner is gone.$$;
