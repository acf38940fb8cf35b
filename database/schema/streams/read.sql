-- Reading for streams, as the caller: events with how far their execution was, and what has changed since a snapshot.

set local role flowgres_definer;

create or replace function flowgres.read_events(
  p_execution_ids uuid[], p_after integer[], p_until integer[], p_limit integer
)
  returns table (place integer, execution_id uuid, seq integer, type text, workflow text, status text, data text)
  language sql stable security definer set search_path to pg_catalog, pg_temp rows 100
as $$
  select
    x.place::integer, e.id, v.seq, v.type, w.name, p.status,
    jsonb_build_object(
      'type', v.type, 'tenant_id', e.tenant_id, 'execution_id', e.id, 'workflow', w.name, 'seq', v.seq, 'level', v.level, 'step', v.step,
      'message', v.message, 'details', v.details, 'actor', v.actor, 'at', v.at, 'status', p.status,
      'steps_completed', p.completed, 'total_steps', e.step_count,
      'progress', case when p.status = 'completed' then 100 else least(99, 100 * p.done / greatest(e.step_count, 1)) end
    )::text
  from unnest(p_execution_ids, p_after, p_until) with ordinality as x (id, after, until, place)
  cross join lateral (
    select n.tenant_id, n.id, n.workflow_id, n.version_id, n.status, n.finished_at, n.step_count
    from flowgres.executions as n
    where n.tenant_id = (select flowgres.require_tenant()) and n.id = x.id and not flowgres.is_hidden(x.id)
    offset 0
  ) as e
  join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  -- The numbers of the ends of its steps: how far it was at any event is how many lie before that.
  cross join lateral (
    select
      array_agg(s.seq) filter (where s.status = 'completed') as completed,
      array_agg(s.seq) filter (where s.status in ('completed', 'skipped')) as good,
      array_agg(s.seq) filter (where s.status <> 'cancelled') as done
    from flowgres.workflow_steps as d
    cross join lateral (
      select n.seq, n.status
      from flowgres.step_executions as n
      where n.tenant_id = e.tenant_id and n.execution_id = e.id and n.step_index = d.index and n.iteration = -1
        and n.finished_at is not null
      offset 0
    ) as s
    where d.tenant_id = e.tenant_id and d.version_id = e.version_id and d.type <> 'outputs'
  ) as ends
  cross join lateral (
    select a.seq, a.type, a.level, a.step, a.message, a.details, a.actor, a.at
    from flowgres.all_events as a
    where a.tenant_id = e.tenant_id and a.execution_id = e.id and a.seq > x.after and (x.until is null or a.seq <= x.until)
    order by a.seq
    limit p_limit
  ) as v
  cross join lateral (
    select
      case
        when v.type in ('execution_completed', 'execution_failed', 'execution_cancelled') then substr(v.type, 11)
        when e.finished_at is not null or v.type = 'execution_started' then 'running'
        else e.status
      end as status,
      (select count(*) from unnest(ends.completed) as n (seq) where n.seq <= v.seq) as completed,
      (
        select count(*)
        from unnest(case when v.type in ('execution_failed', 'execution_cancelled') then ends.good else ends.done end) as n (seq)
        where n.seq <= v.seq
      ) as done
  ) as p
  order by x.place, v.seq;
$$;
comment on function flowgres.read_events(uuid[], integer[], integer[], integer) is $$Events of executions, each from one number to another, up to p_limit of each; for streams

data is a JSON text: the event with its execution's workflow, status, steps_completed, total_steps and progress as they were then. p_until
null is no bound; place is that of the execution in the arrays, from 1. An execution that the tenant does not have is left out.$$;

create or replace function flowgres.find_stream(p_execution_id uuid)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_answer jsonb;
begin
  select jsonb_build_object('event_seq', e.event_seq, 'has_ended', e.finished_at is not null) into v_answer
  from flowgres.executions as e
  where e.tenant_id = flowgres.require_tenant() and e.id = p_execution_id and not flowgres.is_hidden(p_execution_id);
  if v_answer is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_execution_id);
  end if;
  return v_answer;
end;
$$;
comment on function flowgres.find_stream(uuid) is $$Number of the last event of an execution, and whether it has ended: {event_seq, has_ended}.$$;

create or replace function flowgres.watch_tenant()
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_until timestamptz := flowgres.now() + make_interval(secs => 600);
  v_snapshot pg_snapshot := pg_current_snapshot();
  v_watch flowgres.stream_watches;
begin
  insert into flowgres.stream_watches as w (tenant_id, watched_until) values (v_tenant_id, v_until)
  on conflict (tenant_id) do nothing;
  if found then
    return jsonb_build_object('is_complete', false);
  end if;
  -- It was committed before this transaction has its number, so whatever gets a higher one writes its changes down. The upper end of
  -- the snapshot would not do: it lies below the numbers of transactions that are under way and have seen no such row. A number that is
  -- ahead of the server's is of another one, whose dump this was.
  update flowgres.stream_watches as w
  set
    watched_until = v_until,
    complete_from = case
      when w.complete_from <= pg_snapshot_xmax(v_snapshot)::text::bigint then w.complete_from
      else pg_current_xact_id()::text::bigint end
  where w.tenant_id = v_tenant_id
  returning w.* into v_watch;
  return jsonb_build_object(
    'snapshot', v_snapshot, 'is_complete', v_watch.complete_from <= pg_snapshot_xmin(v_snapshot)::text::bigint);
end;
$$;
comment on function flowgres.watch_tenant() is $$Have the changes of the caller's tenant written down for ten minutes more; returns {snapshot, is_complete}

Once is_complete is true a stream can begin at that snapshot: all that it does not show is written down. Until then, in other
transactions, call it again; what keeps it false are transactions that began before the first call.$$;

create or replace function flowgres.read_changes(
  p_seen pg_snapshot, p_xid bigint, p_execution_id uuid, p_seq integer, p_limit integer
)
  returns jsonb language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'snapshot', pg_current_snapshot(),
    'is_complete', coalesce((
      select w.complete_from <= pg_snapshot_xmin(p_seen)::text::bigint
        and pg_snapshot_xmax(p_seen) <= pg_snapshot_xmax(pg_current_snapshot())
      from flowgres.stream_watches as w
      where w.tenant_id = flowgres.require_tenant()), false),
    'changes', coalesce((
      select jsonb_agg(jsonb_build_array(c.xid, c.execution_id, c.after_seq, c.last_seq) order by c.xid is distinct from p_xid, c.xid, c.execution_id, c.last_seq)
      from (
        select n.xid, n.execution_id, n.after_seq, n.last_seq
        from flowgres.stream_changes as n
        where n.tenant_id = flowgres.require_tenant() and n.xid >= pg_snapshot_xmin(p_seen)::text::bigint
          and not pg_visible_in_snapshot(n.xid::text::xid8, p_seen)
          and (n.xid is distinct from p_xid or (n.execution_id, n.last_seq) > (p_execution_id, p_seq))
        order by n.xid is distinct from p_xid, n.xid
        -- A transaction whole, or not at all.
        fetch first p_limit rows with ties
      ) as c), '[]'));
$$;
comment on function flowgres.read_changes(pg_snapshot, bigint, uuid, integer, integer) is $$What has changed of the caller's tenant since a snapshot

{snapshot, is_complete, changes: [[xid, execution_id, after_seq, last_seq]]}, in the order of the transactions' ids, p_xid first, p_limit or a few more.
p_xid, p_execution_id and p_seq say how far within one transaction that the
snapshot does not show the caller has read. is_complete: nothing that lies between has been deleted, or never was written down.$$;

set local role flowgres_engine;

create or replace function flowgres.prune_streams(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_watch record;
  v_xid bigint;
  v_count integer;
  v_total integer := 0;
begin
  for v_watch in
    select w.tenant_id, w.watched_until from flowgres.stream_watches as w order by w.tenant_id for update skip locked
  loop
    v_xid := (
      select max(o.xid)
      from (
        select c.xid, c.at
        from flowgres.stream_changes as c
        where c.tenant_id = v_watch.tenant_id
        order by c.xid
        limit p_limit
      ) as o
      where v_watch.watched_until < v_now or o.at < v_now - make_interval(secs => 120));
    if v_xid is not null then
      -- Said in the same transaction: whoever sees the row sees the gap as well, or neither.
      update flowgres.stream_watches as w set complete_from = greatest(w.complete_from, v_xid + 1) where w.tenant_id = v_watch.tenant_id;
      delete from flowgres.stream_changes as c where c.tenant_id = v_watch.tenant_id and c.xid <= v_xid;
      get diagnostics v_count = row_count;
      v_total := v_total + v_count;
    elsif v_watch.watched_until < v_now then
      delete from flowgres.stream_watches as w where w.tenant_id = v_watch.tenant_id;
    end if;
  end loop;
  return v_total;
end;
$$;
comment on function flowgres.prune_streams(integer) is $$Delete changes that are two minutes old, a bounded number of each tenant; returns how many

Of tenants that nobody listens to it deletes all.$$;
