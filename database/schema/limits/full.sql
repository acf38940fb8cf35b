-- What becomes of executions that are one too many, where their version does not let them wait.

set local role flowgres_owner;

create or replace function flowgres.refuse_waiting(
  p_tenant_id uuid, p_execution_ids uuid[], p_code text, p_reason text, p_now timestamptz
)
  returns void language plpgsql
as $$
begin
  -- In no line any more; who holds the execution ends it (cancel_orphan).
  with refused as (
    update flowgres.work_queue as q
    set capability = 'refused:concurrency', rank = flowgres.next_rank()
    where q.ctid = any(array(
      select q.ctid
      from unnest(p_execution_ids) as i (id)
      cross join lateral (
        select q.ctid from flowgres.work_queue as q
        where q.tenant_id = p_tenant_id and q.execution_id = i.id and q.capability like 'limit:%'
        order by q.id
        for update skip locked
      ) as q))
    returning q.execution_id
  )
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, code, generation)
  select p_tenant_id, r.execution_id, p_now, p_reason, p_code, e.generation
  from (select distinct r.execution_id from refused as r) as r
  cross join lateral (
    select e.generation from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = r.execution_id offset 0
  ) as e;
end;
$$;
comment on function flowgres.refuse_waiting(uuid, uuid[], text, text, timestamptz) is $$Take executions that wait out of their line, to be cancelled by the next sweep.$$;

create or replace function flowgres.cancel_oldest(p_tenant_id uuid, p_line text, p_most integer, p_now timestamptz)
  returns void language plpgsql
as $$
declare
  c_reason constant text := 'a newer execution of this workflow and key took its place';
  v_waiting uuid[];
  v_running uuid[];
begin
  -- Those that are to run are who came last of all, running and waiting; a place is taken when its holder has ended.
  with all_of_line as (
    select s.execution_id, s.came_at, true as has_place
    from flowgres.limit_slots as s
    where s.tenant_id = p_tenant_id and s.line = p_line
    union all
    (
      select q.execution_id, min(q.ready_at), false
      from flowgres.work_queue as q
      where q.capability collate "C" = p_line collate "C" and q.tenant_id = p_tenant_id
        and flowgres.is_waiting(q) and not exists (
          select from flowgres.limit_slots as s
          where s.tenant_id = p_tenant_id and s.line = p_line and s.execution_id = q.execution_id)
      group by q.execution_id
      order by min(q.ready_at) desc, q.execution_id desc
      limit p_most + 1000
    )
  ),
  ranked as (
    select a.execution_id, a.has_place, row_number() over (order by a.came_at desc, a.execution_id desc) as place from all_of_line as a
  )
  select
    coalesce(array_agg(r.execution_id) filter (where not r.has_place), '{}'), array_agg(r.execution_id) filter (where r.has_place)
  into v_waiting, v_running
  from ranked as r
  where r.place > p_most;
  perform flowgres.refuse_waiting(
    p_tenant_id => p_tenant_id, p_execution_ids => v_waiting, p_code => 'concurrency_cancelled', p_reason => c_reason, p_now => p_now);
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason, code, generation)
  select p_tenant_id, r.id, p_now, c_reason, 'concurrency_cancelled', e.generation
  from unnest(v_running) as r (id)
  cross join lateral (
    select e.generation from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = r.id offset 0
  ) as e
  where not exists (
    select from flowgres.cancellations as c where c.tenant_id = p_tenant_id and c.execution_id = r.id);
end;
$$;
comment on function flowgres.cancel_oldest(uuid, text, integer, timestamptz) is $$Ask for the end of the oldest executions of a line, so that those that came last have their places.$$;
