-- Waiting for executions: what is looked at on behalf of all who wait, with nothing in it that says what happened.

set local role flowgres_engine;

create or replace function flowgres.look_at_executions(p_tenant_ids uuid[], p_execution_ids uuid[], p_event_seqs integer[])
  returns table (tenant_id uuid, execution_id uuid, event_seq integer, has_ended boolean)
  language sql stable security definer set search_path to pg_catalog, pg_temp rows 50
as $$
  select x.tenant_id, x.id, e.event_seq, e.finished_at is not null
  from unnest(p_tenant_ids, p_execution_ids, p_event_seqs) as x (tenant_id, id, seq)
  left join lateral (
    select n.event_seq, n.finished_at
    from flowgres.executions as n
    where n.tenant_id = x.tenant_id and n.id = x.id
    offset 0
  ) as e on true
  where e.event_seq is null or e.event_seq > x.seq or e.finished_at is not null;
$$;
comment on function flowgres.look_at_executions(uuid[], uuid[], integer[]) is $$Which of these executions have events after those, or have ended; event_seq is null for one that is gone

For the front, once for all that it watches, whatever tenant they are of. It tells no more than that: the events themselves are read as
one who may see them.$$;

create or replace function flowgres.look_at_tenants(p_tenant_ids uuid[], p_snapshots pg_snapshot[])
  returns table (tenant_id uuid)
  language sql stable security definer set search_path to pg_catalog, pg_temp rows 50
as $$
  select x.tenant_id
  from unnest(p_tenant_ids, p_snapshots) as x (tenant_id, seen)
  where exists (
    select from flowgres.stream_changes as c
    where c.tenant_id = x.tenant_id and c.xid >= pg_snapshot_xmin(x.seen)::text::bigint
      and not pg_visible_in_snapshot(c.xid::text::xid8, x.seen));
$$;
comment on function flowgres.look_at_tenants(uuid[], pg_snapshot[]) is $$Which of these tenants have changes that these snapshots do not show.$$;

create or replace function flowgres.look_at_queues(p_tenant_ids uuid[], p_queues text[], p_limits integer[])
  returns table (tenant_id uuid, queue text, waiting integer)
  language sql stable security definer set search_path to pg_catalog, pg_temp rows 50
as $$
  select x.tenant_id, x.queue, c.waiting::integer
  from unnest(p_tenant_ids, p_queues, p_limits) as x (tenant_id, queue, most)
  cross join lateral (
    select count(*) as waiting
    from (
      select from flowgres.work_queue as q
      where q.tenant_id = x.tenant_id and q.capability = 'task:' || x.queue and q.capability like 'task:%'
        and (q.due_at < 'infinity') is false and not q.held
      limit x.most
    ) as q
  ) as c
  where c.waiting > 0;
$$;
comment on function flowgres.look_at_queues(uuid[], text[], integer[]) is $$In which of these queues, each of a tenant, tasks wait for a worker, and how many, up to a limit each

For the front, once for all who wait, whatever tenant they are of; they claim as themselves.$$;

set local role flowgres_definer;

create or replace function flowgres.await_end(p_execution_id uuid)
  returns boolean language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  -- Whoever holds it may be about to end it: to wait for that would keep the engine waiting in turn. Looking is enough then.
  update flowgres.executions as e
  set is_awaited = true
  where e.tenant_id = flowgres.require_tenant() and e.id = (
    select n.id
    from flowgres.executions as n
    where n.tenant_id = flowgres.require_tenant() and n.id = p_execution_id and n.finished_at is null
      and n.is_awaited is not true
    for no key update skip locked);
  return found;
end;
$$;
comment on function flowgres.await_end(uuid) is $$Have the end of an execution told (flowgres_ends); false when that is so already, it has ended, or somebody holds it.$$;
