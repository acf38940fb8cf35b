-- Keys and counts of starts that no longer matter.

set local role flowgres_owner;

create or replace function flowgres.prune_starts(p_limit integer, p_now timestamptz)
  returns integer language plpgsql
as $$
declare
  v_keys integer;
  v_counts integer;
begin
  with due as materialized (
    select k.ctid as row_id, k.tenant_id, k.execution_id
    from flowgres.start_keys as k
    where k.expires_at <= p_now
    order by k.expires_at
    limit p_limit
    for update skip locked
  ),
  -- What still runs holds its key: it is asked again tomorrow, and stands in nobody's way until then.
  kept as (
    update flowgres.start_keys as k
    set expires_at = p_now + interval '1 day'
    from due as d
    where k.ctid = d.row_id and exists (
      select from flowgres.executions as e where e.tenant_id = d.tenant_id and e.id = d.execution_id and e.finished_at is null)
    returning d.row_id
  )
  delete from flowgres.start_keys as k
  using due as d
  where k.ctid = d.row_id and not exists (
    select from flowgres.executions as e where e.tenant_id = d.tenant_id and e.id = d.execution_id and e.finished_at is null);
  get diagnostics v_keys = row_count;
  delete from flowgres.start_counts as c
  where c.ctid = any(array(
    select o.ctid from flowgres.start_counts as o where o.at < p_now - interval '2 minutes' order by o.at limit p_limit for update skip locked));
  get diagnostics v_counts = row_count;
  return greatest(v_keys, v_counts);
end;
$$;
comment on function flowgres.prune_starts(integer, timestamptz) is $$Delete keys and counts of starts that no longer matter, a bounded number; returns how many.$$;
