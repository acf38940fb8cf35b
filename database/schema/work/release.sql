-- Leases given back by a runner that lives: it ends, it cannot run them, or it never learned that it has them.

set local role flowgres_engine;

create or replace function flowgres.give_back(p_runner_id uuid, p_leases jsonb, p_is_listed boolean)
  returns integer language plpgsql
as $$
declare
  v_rows tid[];
begin
  -- Judged again under the lock: what was reported in between is no lease of this runner any more. Nobody is waited for: this holds
  -- rows of executions whose locks it does not have, and whoever has them may be waiting for just these rows (cancel_steps).
  -- The list is hashed, as a value: a join would walk it once for each row.
  v_rows := array(
    select q.ctid
    from flowgres.work_queue as q
    where q.runner_id = p_runner_id
      and p_is_listed = ((q.id, q.token) in (
        select (l.value ->> -2)::bigint, (l.value ->> -1)::bigint from jsonb_array_elements(p_leases) as l (value)))
    for update skip locked);
  if v_rows = '{}' then
    return 0;
  end if;
  -- The queue row alone, as the claim did; the attempt is given back, because nothing is wrong with the step. What was
  -- announced stays announced: it is the same attempt that begins again, and its step row is there.
  update flowgres.work_queue as q
  set
    runner_id = null, claimed_at = null, ready_at = flowgres.now(), rank = flowgres.next_rank(),
    attempt = q.attempt - (q.resume is null)::integer,
    -- It begins anew, and has a place of its limit when it does.
    capability = coalesce(
      case when q.resume is null then flowgres.line_of_step(
        p_tenant_id => q.tenant_id, p_version_id => q.version_id, p_step_index => q.step_index) end, q.capability)
  where q.ctid = any(v_rows);
  perform flowgres.wake_runners();
  return cardinality(v_rows);
end;
$$;
comment on function flowgres.give_back(uuid, jsonb, boolean) is $$Make leases of a runner ready again, attempts refunded: those listed as [..., queue row, token], or all others.$$;

create or replace function flowgres.release(p_runner_id uuid, p_rows jsonb)
  returns integer language sql security definer set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set jit to off
as $$
  select flowgres.give_back(p_runner_id => p_runner_id, p_leases => p_rows, p_is_listed => true);
$$;
comment on function flowgres.release(uuid, jsonb) is $$Give leases back unused, attempts refunded; rows as [tenant, execution, queue row, token]

Returns how many. The others have been reported, or somebody holds their rows: release_unknown finds those later.$$;

create or replace function flowgres.release_unknown(p_runner_id uuid, p_known jsonb)
  returns integer language sql security definer set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set jit to off
as $$
  select flowgres.give_back(p_runner_id => p_runner_id, p_leases => p_known, p_is_listed => false);
$$;
comment on function flowgres.release_unknown(uuid, jsonb) is $$Give back what a runner holds without knowing; p_known is [[queue row, token], ...]

When a connection breaks during a claim, the names of the leased steps never arrive. Their runner lives, so nobody would
rescue them. It calls this after each such break; attempts are refunded, because nothing was begun.$$;
