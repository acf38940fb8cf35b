-- Claims while somebody holds an old snapshot (a dump, a report): behind what was taken, and not through it.
--
-- Entries of the indexes of the queue stay until a vacuum may remove them, and as long as a snapshot is held none may. A session
-- that has to read many of them learns in which lines they lie, and what rank nothing ready in such a line is below any more: its
-- floor. From then on it reads the index in ranges, from each floor to where the next known line begins; a line that it does not
-- know is found between two that it knows. The same for what is due. Where no snapshot is held a look reads few entries, and
-- nothing of this happens: what was taken is marked in the index by the first who comes by it.
--
-- A floor is exact. Ranks are taken in transactions that have an id (next_rank), and may commit in any order; but when every
-- transaction that may have had an id by then has ended, whatever rank was given out before that is there to be seen, or taken for
-- good. So a mark is a rank, and the id that comes next, which is read after that: by the next transaction of the session (next_xid
-- says why). What a claim holds and may give up again is seen as well, because these looks lock nothing.

set local role flowgres_owner;

-- Volatile, as what it calls: a function that claims to be more than its body is not inlined, and this one would be planned anew
-- in every transaction.
create or replace function flowgres.entries_read()
  returns bigint language sql volatile
as $$
  select pg_stat_get_xact_tuples_returned('flowgres.work_queue_ready_idx'::regclass)
    + pg_stat_get_xact_tuples_returned('flowgres.work_queue_due_idx'::regclass);
$$;
comment on function flowgres.entries_read() is $$How many entries of the queue's indexes this session has read

Only differences within a transaction mean something. Nothing where track_counts is off: then floors are never learned.$$;

create or replace function flowgres.known_floors()
  returns flowgres.queue_floors language sql stable
as $$
  select nullif(current_setting('flowgres.floors', true), '')::flowgres.queue_floors;
$$;
comment on function flowgres.known_floors() is $$The floors that this session reads from; null when it reads from the beginning.$$;

create or replace function flowgres.last_rank()
  returns bigint language sql volatile
as $$
  select case when s.is_called then s.last_value else 0 end from flowgres.work_queue_id_seq as s;
$$;
comment on function flowgres.last_rank() is $$The last rank that was given out.$$;

create or replace function flowgres.next_xid()
  returns xid8 language sql volatile
as $$
  select (s.xmax::text::bigint + age(s.xmax::xid))::text::xid8 from (select pg_snapshot_xmax(pg_current_snapshot()) as xmax) as s;
$$;
comment on function flowgres.next_xid() is $$An id that no transaction had before this one began: its own, or the one that comes next

The xmax of a snapshot is none: it is next to the last id whose transaction has ended, and later ones may be open. age() counts from
the id of this transaction, else from the next one as it was when age() was first asked in it: what is to come before has to be of
an earlier transaction.$$;

create or replace function flowgres.mark_floors(p_floors flowgres.queue_floors)
  returns flowgres.queue_floors language plpgsql
as $$
begin
  p_floors.rank := flowgres.last_rank() + 1;
  p_floors.at := flowgres.floor_of_now();
  p_floors.xid := flowgres.unknown_xid();
  -- Gone with the end of the transaction.
  perform set_config('flowgres.floors_marked', 'here', true);
  return p_floors;
end;
$$;
comment on function flowgres.mark_floors(flowgres.queue_floors) is $$The floors with a mark of now, whose id a later transaction adds.$$;

create or replace function flowgres.unknown_xid()
  returns xid8 language sql immutable parallel safe
as $$
  select '18446744073709551615'::xid8;
$$;
comment on function flowgres.unknown_xid() is $$The id of a mark that was made in this transaction: none is later, so it is never over.$$;

create or replace function flowgres.make_line(
  p_capability text, p_tenant_id uuid, p_priority smallint, p_is_new boolean, p_floor bigint
)
  returns flowgres.queue_range language sql immutable parallel safe
as $$
  select row(p_capability, null, null, p_tenant_id, null, null, p_priority, p_is_new, p_floor)::flowgres.queue_range;
$$;
comment on function flowgres.make_line is $$The queue_range of a line, by names.$$;

create or replace function flowgres.with_suspects(p_capabilities text[])
  returns text[] language sql immutable parallel safe
as $$
  select array(select 'alone:' || c.name from unnest(p_capabilities) as c (name)) || p_capabilities;
$$;
comment on function flowgres.with_suspects(text[]) is $$The lines of a runner, first those of steps that have to be alone.$$;

create or replace function flowgres.serves(p_line text, p_capabilities text[])
  returns boolean language sql immutable parallel safe
as $$
  select (case when starts_with(p_line, 'alone:') then substr(p_line, 7) else p_line end) = any(p_capabilities);
$$;
comment on function flowgres.serves(text, text[]) is $$Whether a line is one of these capabilities, or of the suspects of one.$$;

create or replace function flowgres.ranges_past(p_lines flowgres.queue_range[], p_capabilities text[])
  returns setof flowgres.queue_range language sql stable set search_path to pg_catalog, pg_temp
as $$
  -- Of each tenant that has known lines: all between it and the one before, its lines, and what lies between their priorities.
  select
    c.name, r.after_tenant_id, r.before_tenant_id, r.tenant_id, r.after_priority, r.before_priority, r.priority, r.is_new, r.floor
  from unnest(p_capabilities) with ordinality as c (name, place)
  cross join lateral (
    with known as materialized (
      select k.tenant_id, k.priority, k.is_new, k.floor from unnest(p_lines) as k
      where k.capability = c.name and k.priority is not null
    ),
    priorities as (
      select
        k.tenant_id, k.priority,
        lag(k.priority, 1, -1::smallint) over (partition by k.tenant_id order by k.priority) as after_priority
      from (
        select distinct k.tenant_id, k.priority from known as k
        union all
        select distinct k.tenant_id, 10::smallint from known as k
      ) as k
    ),
    tenants as (
      select
        k.tenant_id, lag(k.tenant_id, 1, '00000000-0000-0000-0000-000000000000'::uuid) over (order by k.tenant_id) as after_tenant_id
      from (
        select distinct k.tenant_id from known as k
        union all
        select 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid
      ) as k
    )
    select
      t.after_tenant_id, t.tenant_id as before_tenant_id, null::uuid as tenant_id, null::smallint as after_priority,
      null::smallint as before_priority, null::smallint as priority, null::boolean as is_new, null::bigint as floor,
      t.tenant_id as place, -1 as priority_place, null::boolean as is_new_place
    from tenants as t
    union all
    select null, null, k.tenant_id, k.after_priority, k.priority, null, null, null, k.tenant_id, k.priority, null
    from priorities as k
    where k.priority > k.after_priority + 1
    union all
    select null, null, k.tenant_id, null, null, k.priority, k.is_new, k.floor, k.tenant_id, k.priority, k.is_new
    from known as k
  ) as r
  order by c.place, r.place, r.priority_place, r.is_new_place nulls first;
$$;
comment on function flowgres.ranges_past(flowgres.queue_range[], text[]) is $$What is to be read of work_queue_ready_idx for some capabilities, in order: all but what lies below the floors.$$;

create or replace function flowgres.first_in_range(
  p_capability text, p_after_tenant_id uuid, p_before_tenant_id uuid, p_tenant_id uuid, p_after_priority smallint,
  p_before_priority smallint, p_priority smallint, p_is_new boolean, p_floor bigint
)
  returns table (tenant_id uuid, rank bigint) language sql stable
as $$
  select f.tenant_id, f.rank
  from (
    (
      select q.tenant_id, q.rank
      from flowgres.work_queue as q
      where p_tenant_id is null and q.capability = p_capability and q.tenant_id > p_after_tenant_id
        and q.tenant_id < p_before_tenant_id and flowgres.is_ready(q)
      order by q.tenant_id
      limit 1
    )
    union all
    (
      select q.tenant_id, q.rank
      from flowgres.work_queue as q
      where p_priority is null and q.capability = p_capability and q.tenant_id = p_tenant_id
        and q.priority > p_after_priority and q.priority < p_before_priority and flowgres.is_ready(q)
      order by q.priority
      limit 1
    )
    union all
    (
      select q.tenant_id, q.rank
      from flowgres.work_queue as q
      where q.capability = p_capability and q.tenant_id = p_tenant_id and q.priority = p_priority
        and q.is_new = p_is_new and q.rank >= p_floor and flowgres.is_ready(q)
      order by q.rank
      limit 1
    )
  ) as f
  limit 1;
$$;
comment on function flowgres.first_in_range is $$The first ready row of a queue_range; of a line that is the one with the lowest rank. Inlined, so it takes columns.$$;

create or replace function flowgres.next_tenant_past(p_capability text, p_tenant_id uuid, p_ranges flowgres.queue_range[])
  returns uuid language plpgsql stable
as $$
declare
  v_range flowgres.queue_range;
  v_tenant_id uuid;
begin
  foreach v_range in array p_ranges loop
    continue when v_range.capability <> p_capability
      or coalesce(v_range.tenant_id <= p_tenant_id, v_range.before_tenant_id <= p_tenant_id);
    select f.tenant_id into v_tenant_id
    from flowgres.first_in_range(
      p_capability => p_capability, p_after_tenant_id => greatest(v_range.after_tenant_id, p_tenant_id),
      p_before_tenant_id => v_range.before_tenant_id, p_tenant_id => v_range.tenant_id,
      p_after_priority => v_range.after_priority, p_before_priority => v_range.before_priority, p_priority => v_range.priority,
      p_is_new => v_range.is_new, p_floor => v_range.floor) as f;
    exit when found;
  end loop;
  return v_tenant_id;
end;
$$;
comment on function flowgres.next_tenant_past(text, uuid, flowgres.queue_range[]) is $$The first tenant behind another one that has ready steps in these ranges.$$;

create or replace function flowgres.pick_past(
  p_capability text, p_tenant_id uuid, p_limit integer, p_offset integer, p_ranges flowgres.queue_range[],
  out rows tid[], out lowest_id uuid, out highest_id uuid, out is_fan boolean
)
  language plpgsql
as $$
declare
  v_range flowgres.queue_range;
  v_rows tid[];
  v_ids uuid[];
  v_count integer;
begin
  rows := '{}';
  is_fan := false;
  foreach v_range in array p_ranges loop
    exit when cardinality(rows) >= p_limit + p_offset;
    continue when v_range.capability <> p_capability
      or not coalesce(
        v_range.tenant_id = p_tenant_id, p_tenant_id > v_range.after_tenant_id and p_tenant_id < v_range.before_tenant_id);
    if v_range.priority is null then
      select array_agg(p.ctid), array_agg(p.execution_id order by p.execution_id), count(distinct p.execution_id)
      into v_rows, v_ids, v_count
      from (
        select q.ctid, q.execution_id
        from flowgres.work_queue as q
        where q.capability = p_capability and q.tenant_id = p_tenant_id and q.priority > coalesce(v_range.after_priority, -1)
          and q.priority < coalesce(v_range.before_priority, 10) and flowgres.is_ready(q)
        order by q.priority, q.is_new, q.rank
        limit p_limit + p_offset - cardinality(rows)
        for update skip locked
      ) as p;
    else
      select array_agg(p.ctid), array_agg(p.execution_id order by p.execution_id), count(distinct p.execution_id)
      into v_rows, v_ids, v_count
      from (
        select q.ctid, q.execution_id
        from flowgres.work_queue as q
        where q.capability = p_capability and q.tenant_id = p_tenant_id and q.priority = v_range.priority
          and q.is_new = v_range.is_new and q.rank >= v_range.floor and flowgres.is_ready(q)
        order by q.rank
        limit p_limit + p_offset - cardinality(rows)
        for update skip locked
      ) as p;
    end if;
    continue when v_rows is null;
    is_fan := is_fan or rows <> '{}' or v_count < cardinality(v_ids);
    rows := rows || v_rows;
    lowest_id := least(lowest_id, v_ids[1]);
    highest_id := greatest(highest_id, v_ids[cardinality(v_ids)]);
  end loop;
  rows := rows[p_offset + 1:];
end;
$$;
comment on function flowgres.pick_past is $$Lock the next ready steps of a tenant, as far as they lie in these ranges

Returns the addresses of their rows, between which ids their executions lie, and whether several may be of one execution.$$;

create or replace function flowgres.is_queue_settled(p_xid xid8)
  returns boolean language sql volatile
as $$
  select not exists (
    select
    from pg_catalog.pg_locks as l
    join pg_catalog.pg_locks as x on x.virtualtransaction = l.virtualtransaction and x.locktype = 'transactionid' and x.granted
    where l.locktype = 'relation' and l.relation = 'flowgres.work_queue'::regclass
      and l.database = (select d.oid from pg_catalog.pg_database as d where d.datname = current_database())
      and l.mode <> 'AccessShareLock' and l.mode <> 'RowShareLock' and x.mode = 'ExclusiveLock' and age(x.transactionid) > age(p_xid::xid));
$$;
comment on function flowgres.is_queue_settled(xid8) is $$Whether no open transaction before this one has written to the queue

One that has not yet will take later ranks when it does.$$;

create or replace function flowgres.look_past(
  p_runner_id uuid, p_now timestamptz, p_floors flowgres.queue_floors,
  out may_claim boolean, out is_idle boolean, out has_due boolean, out has_wakes boolean, out has_deleted boolean,
  out lines text[], out ranges flowgres.queue_range[], out floors flowgres.queue_floors
)
  language plpgsql
as $$
declare
  v_capabilities text[];
  v_due_at timestamptz;
  v_is_over boolean;
  v_range flowgres.queue_range;
begin
  floors := p_floors;
  if floors.xid = flowgres.unknown_xid() and coalesce(current_setting('flowgres.floors_marked', true), '') = '' then
    floors.xid := flowgres.next_xid();
  end if;
  for v_look in 1..2 loop
    select
      flowgres.may_claim(r), r.is_idle, r.capabilities,
      (
        select q.due_at from flowgres.work_queue as q
        where q.due_at >= floors.due_at and flowgres.is_due(q, p_now) order by q.due_at limit 1
      ),
      exists (select from flowgres.pending_wakes),
      exists (select from flowgres.workflows as w where w.deleted_at > p_now - interval '1 day'),
      s.is_over, l.found, l.raised
    into may_claim, is_idle, v_capabilities, v_due_at, has_wakes, has_deleted, v_is_over, ranges, floors.ranges
    from flowgres.runners as r
    -- Of this snapshot, because what it does not show of the ranks before must not be on its way.
    cross join (select pg_snapshot_xmin(pg_current_snapshot()) >= floors.xid as is_over offset 0) as s
    cross join lateral (
      select
        array_agg(g::flowgres.queue_range) filter (where f.rank is not null) as found,
        array_agg(case
          when g.priority is not null and s.is_over and flowgres.serves(p_line => g.capability, p_capabilities => r.capabilities)
            then flowgres.make_line(
              p_capability => g.capability, p_tenant_id => g.tenant_id, p_priority => g.priority, p_is_new => g.is_new,
              p_floor => greatest(g.floor, least(floors.rank, f.rank)))
          else g::flowgres.queue_range end) as raised
      from unnest(floors.ranges) as g
      left join lateral flowgres.first_in_range(
        p_capability => g.capability, p_after_tenant_id => g.after_tenant_id, p_before_tenant_id => g.before_tenant_id,
        p_tenant_id => g.tenant_id, p_after_priority => g.after_priority, p_before_priority => g.before_priority,
        p_priority => g.priority, p_is_new => g.is_new, p_floor => g.floor) as f
        on flowgres.serves(p_line => g.capability, p_capabilities => r.capabilities)
    ) as l
    where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id;
    if not found then
      perform flowgres.require_runner(p_runner_id => p_runner_id);
    end if;
    exit when v_capabilities <@ floors.capabilities;
    -- Another runner had this session before.
    floors.ranges := p_floors.ranges || array(
      select r
      from flowgres.ranges_past(p_lines => '{}', p_capabilities => array(
        select c.name from unnest(flowgres.with_suspects(p_capabilities => v_capabilities)) as c (name)
        where not flowgres.serves(p_line => c.name, p_capabilities => floors.capabilities))) as r);
    floors.capabilities := floors.capabilities || v_capabilities;
  end loop;
  has_due := v_due_at is not null;
  foreach v_range in array coalesce(ranges, '{}') loop
    continue when v_range.capability = any(lines);
    lines := case when v_range.capability like 'alone:%' then v_range.capability || lines else lines || v_range.capability end;
  end loop;

  if v_is_over then
    floors.due_at := greatest(floors.due_at, least(floors.at, v_due_at));
    -- Where nothing has moved the old mark says the same.
    if floors.rank <= flowgres.last_rank() or floors.ranges <> p_floors.ranges
      or flowgres.floor_of_now() > floors.at + interval '1 second'
    then
      floors := flowgres.mark_floors(floors);
      perform set_config('flowgres.floors', floors::text, false);
    end if;
  elsif floors.xid <> flowgres.unknown_xid() and flowgres.floor_of_now() > floors.at + interval '0.2 seconds'
    and flowgres.is_queue_settled(p_xid => floors.xid)
  then
    -- Somebody has been writing for long, but not here. With the next snapshot the mark holds.
    floors.xid := '0';
    perform set_config('flowgres.floors', floors::text, false);
  elsif floors.xid <> p_floors.xid or floors.ranges <> p_floors.ranges then
    perform set_config('flowgres.floors', floors::text, false);
  end if;
end;
$$;
comment on function flowgres.look_past is $$The look of a claim from the floors on, and the floors raised by what it sees

lines are the capabilities that have anything ready, suspects first, ranges are where it stands.$$;

create or replace function flowgres.floor_of_now()
  returns timestamptz language sql stable
as $$
  -- Clocks are put back a little now and then.
  select flowgres.now() - interval '2 seconds';
$$;
comment on function flowgres.floor_of_now() is $$Before this nothing becomes due any more that is not under way.$$;
