-- Why a step does not move, in one word.
--
-- No search_path here, so that it is inlined into the view: a filter by reason then costs no more than the row of the queue. A row that
-- a claim would take is queued, and no other row is: the predicates are those of the claim (work/rows.sql).

set local role flowgres_owner;

create or replace function flowgres.parked_reason(p_waits_for text)
  returns text language sql immutable parallel safe
as $$
  -- What a parked row waits for begins with a word of its kind. A kind that nobody has named here is told in its own words.
  select case split_part(p_waits_for, ':', 1)
    when 'start' then 'scheduled'
    when 'retry' then 'waits_for_retry'
    when 'timer' then 'waits_for_timer'
    when 'child' then 'waits_for_child'
    when 'signal' then 'waits_for_signal'
    when 'event' then 'waits_for_event'
    when 'first_of' then 'waits_for_first_of'
    when 'callback' then 'waits_for_callback'
    when 'approval' then 'waits_for_approval'
    when 'worker' then 'waits_for_task'
    when 'task' then 'waits_for_task'
    else 'waits'
  end;
$$;
comment on function flowgres.parked_reason(text) is $$The reason of a row that is parked, by what it waits for.$$;

create or replace function flowgres.queue_reason(
  p_tenant_id uuid, p_execution_id uuid, p_runner_id uuid, p_due_at timestamptz, p_held boolean, p_waits_for text, p_capability text,
  p_at timestamptz, p_runners jsonb, p_version_id uuid, p_held_for uuid, p_still jsonb
)
  returns text language sql stable
as $$
  select case
    when p_runner_id is not null then case when p_runners -> 'live' ? p_runner_id::text then 'running' else 'runner_silent' end
    when p_held then flowgres.held_reason(p_tenant_id, p_execution_id, p_held_for)
    when p_due_at > p_at then flowgres.parked_reason(p_waits_for)
    -- The claim passes over what stands still, and so does who lets go what waits for a limit.
    when p_still -> 'tenants' ? p_tenant_id::text then 'paused_tenant'
    when (p_still -> 'is_any_workflow')::boolean and flowgres.is_version_still(p_tenant_id, p_version_id) then 'paused_workflow'
    -- Those that were refused stand in no line any more: a sweep cancels them.
    when p_capability like 'refused:%' then 'waits_for_concurrency'
    -- What is due the next claim puts into its line.
    when flowgres.stands_in_line(p_runner_id, null, p_held, p_capability) then case
      -- Those who took a runner with them stand in a line of their own.
      when not p_runners -> 'served' ? regexp_replace(flowgres.line_of(p_capability, p_waits_for), '^alone:', '') then 'no_runner'
      when not p_runners -> 'free' ? regexp_replace(flowgres.line_of(p_capability, p_waits_for), '^alone:', '') then 'runners_full'
      else 'queued' end
    -- Ready, and in the line of a limit: admit() lets it go.
    when p_capability like 'limit:@%' then 'waits_for_concurrency'
    else 'waits_for_limit'
  end;
$$;
comment on function flowgres.queue_reason(uuid, uuid, uuid, timestamptz, boolean, text, text, timestamptz, jsonb, uuid, uuid, jsonb) is $$Why the step of a row of the queue does not move, in a word

p_runners is serving_runners(), p_still is standing_still(), p_at the engine's time.$$;
