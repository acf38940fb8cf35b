-- Executions that are retried by themselves (max_retries): a failure that nothing handles resets what failed, and its rows of the queue are
-- due when the backoff is over, as those of a step that is tried again. So there is no other timer and no other kind of waiting.

set local role flowgres_owner;

create or replace function flowgres.may_retry_execution(p_error jsonb)
  returns boolean language plpgsql immutable parallel safe
as $$
begin
  -- What a step says of its child or of an iteration is what went wrong there.
  while p_error ->> 'class' in ('child', 'iteration') and jsonb_typeof(p_error #> '{details,error}') = 'object' loop
    p_error := p_error #> '{details,error}';
  end loop;
  return p_error -> 'retryable' is distinct from 'false'
    and coalesce(p_error ->> 'class', '') not in ('definition', 'expression', 'validation', 'stopped')
    and coalesce(p_error ->> 'code', '') not in ('cancelled', 'child_cancelled');
end;
$$;
comment on function flowgres.may_retry_execution(jsonb) is $$Whether an execution that fails with this error is retried by itself

Not where the same definition and the same data fail in the same way again, nor after a stop or a cancel: these were meant.$$;

create or replace function flowgres.execution_backoff(p_retry integer)
  returns interval language sql volatile
as $$
  -- Half of it is by chance, so that what failed together does not come back together.
  select make_interval(secs => least(power(2, least(p_retry - 1, 20)), 300) * (0.5 + random() / 2));
$$;
comment on function flowgres.execution_backoff(integer) is $$How long an execution waits for its nth retry: 1 s, twice as long each time, 5 minutes at most; half of it by chance.$$;

create or replace function flowgres.set_aside(inout p_state flowgres.advance_state)
  language plpgsql
as $$
declare
  v_slots integer[];
begin
  v_slots := array(
    select f.key::integer
    from jsonb_each(p_state.failing_errors) as f
    join flowgres.executions as e
      on e.tenant_id = p_state.tenant_ids[f.key::integer] and e.id = p_state.execution_ids[f.key::integer]
    where not p_state.failing_flags[f.key::integer] and e.max_retries > e.retry_count and e.phase = 'run'
      and flowgres.may_retry_execution(p_error => f.value)
    order by e.id);
  if v_slots = '{}' then
    return;
  end if;
  -- Nothing is left running: the failure is the end of this generation. What joins always, undoes or tells is for the last one.
  p_state := flowgres.cancel_steps(
    p_slots => v_slots, p_indexes => null, p_spares_always => false, p_reason => 'the execution is tried again', p_state => p_state);
  for i in 1..cardinality(v_slots) loop
    p_state.failing_flags[v_slots[i]] := true;
  end loop;
  p_state.retried_slots := p_state.retried_slots || v_slots;
  p_state.frontier := nullif(array(select f from unnest(p_state.frontier) as f where f.slot <> all(v_slots)), '{}');
end;
$$;
comment on function flowgres.set_aside(flowgres.advance_state) is $$Those of failing_errors that have retries left: all that has not ended is cancelled, and retry_by_itself does the rest.$$;

create or replace function flowgres.retry_by_itself(p_state flowgres.advance_state)
  returns void language plpgsql
as $$
declare
  v_group record;
begin
  for v_group in
    select
      e.tenant_id, array_agg(e.id order by e.id) as ids,
      array_agg(p_state.now + flowgres.execution_backoff(e.retry_count + 1) order by e.id) as due_at,
      array_agg(p_state.failing_errors -> s.slot::text order by e.id) as errors
    from unnest(p_state.retried_slots) as s (slot)
    join flowgres.executions as e on e.tenant_id = p_state.tenant_ids[s.slot] and e.id = p_state.execution_ids[s.slot]
    group by e.tenant_id
    order by e.tenant_id
  loop
    perform flowgres.reset_executions(
      p_tenant_id => v_group.tenant_id, p_execution_ids => v_group.ids, p_actor => 'engine', p_reason => null, p_waits => false,
      p_now => p_state.now, p_due_at => v_group.due_at, p_errors => v_group.errors);
  end loop;
end;
$$;
comment on function flowgres.retry_by_itself(flowgres.advance_state) is $$Reset the executions that were set aside, to go on when their backoff is over.$$;
