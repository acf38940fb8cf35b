-- Leases whose claim was answered into a broken connection.

set local role flowgres_engine;

create or replace function flowgres.release_unknown(p_runner_id uuid, p_known jsonb)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_seqscan to off set jit to off
as $$
declare
  v_count integer;
begin
  -- Hashed: with "not exists" the list would be walked once for each row.
  update flowgres.work_queue as q
  set
    runner_id = null, claimed_at = null, ready_at = flowgres.now(),
    attempt = q.attempt - (q.resume is null)::integer
  where q.runner_id = p_runner_id
    and (q.id, q.token) not in (
      select (k.value ->> 0)::bigint, (k.value ->> 1)::bigint from jsonb_array_elements(p_known) as k (value));
  get diagnostics v_count = row_count;
  if v_count > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_count;
end;
$$;
comment on function flowgres.release_unknown(uuid, jsonb) is $$Give back what a runner holds without knowing; p_known is [[queue row, token], ...]

When a connection breaks during a claim, the names of the leased steps never arrive. Their runner lives, so nobody would
rescue them. It calls this after each such break; attempts are refunded, because nothing was begun.$$;
