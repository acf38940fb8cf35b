-- Learning the floors of lines: which of them begin with rows that are taken, and cannot be removed.

set local role flowgres_owner;

create or replace function flowgres.learn_floors(p_runner_id uuid)
  returns void language plpgsql
as $$
declare
  v_started_at timestamptz := clock_timestamp();
  v_floors flowgres.queue_floors := flowgres.known_floors();
  v_is_full boolean := v_floors.ranges is null or v_started_at >= v_floors.full_at;
  v_known flowgres.queue_range[];
  v_capabilities text[];
  v_heavy_names text[];
  v_heavy_tenants uuid[];
  v_due_at timestamptz;
  v_first_read bigint := flowgres.entries_read();
  v_read bigint;
  v_seconds double precision;
begin
  if extract(epoch from v_started_at) < nullif(current_setting('flowgres.floors_learned_until', true), '')::double precision then
    return;
  end if;
  select r.capabilities, flowgres.with_suspects(p_capabilities => r.capabilities) into v_floors.capabilities, v_capabilities
  from flowgres.runners as r
  where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id;
  -- The looks to come raise what is learned here, to the mark that there is: a new one each time might never be over.
  if v_floors.rank is null then
    v_floors := flowgres.mark_floors(v_floors);
  end if;
  v_due_at := (
    select q.due_at from flowgres.work_queue as q
    where q.due_at >= case when v_is_full then '-infinity' else v_floors.due_at end and flowgres.is_due(q, flowgres.now()) order by q.due_at limit 1);
  v_floors.due_at := least(coalesce(v_floors.due_at, '-infinity'), v_due_at);

  -- The number of entries read so far, told beside each row, says what reading that one took: hence the CTE, which is made row
  -- by row. Tenants of which no line is known, each as a whole; then all lines of those that have anything to be learned.
  v_read := flowgres.entries_read();
  with read as materialized (
    select c.name, t.tenant_id, t.is_known, flowgres.entries_read() as entries
    from unnest(v_capabilities) as c (name)
    cross join lateral (
      select
        t.tenant_id,
        exists (select from unnest(v_floors.ranges) as l where l.capability = c.name and l.tenant_id = t.tenant_id) as is_known
      from flowgres.tenants as t
      offset 0
    ) as t
    left join lateral (
      select from flowgres.work_queue as q
      where not t.is_known and q.capability = c.name and q.tenant_id = t.tenant_id and flowgres.is_ready(q)
      limit 1
    ) as q on true
  )
  select array_agg(r.name), array_agg(r.tenant_id) into v_heavy_names, v_heavy_tenants
  from (select r.*, r.entries - lag(r.entries, 1, v_read) over () as read_count from read as r) as r
  where r.is_known or r.read_count >= 50;

  v_read := flowgres.entries_read();
  with read as materialized (
    select
      t.name, t.tenant_id, p.priority::smallint as priority, n.is_new, l.floor, q.rank, flowgres.entries_read() as entries
    from unnest(v_heavy_names, v_heavy_tenants) as t (name, tenant_id)
    cross join generate_series(0, 9) as p (priority)
    cross join (values (false), (true)) as n (is_new)
    left join lateral (
      select l.floor from unnest(v_floors.ranges) as l
      where l.capability = t.name and l.tenant_id = t.tenant_id and l.priority = p.priority and l.is_new = n.is_new
    ) as l on true
    left join lateral (
      select q.rank from flowgres.work_queue as q
      where q.capability = t.name and q.tenant_id = t.tenant_id and q.priority = p.priority::smallint and q.is_new = n.is_new
        and q.rank >= case when v_is_full then 0 else coalesce(l.floor, 0) end and flowgres.is_ready(q)
      order by q.rank
      limit 1
    ) as q on true
  )
  select array_agg(flowgres.make_line(
    p_capability => r.name, p_tenant_id => r.tenant_id, p_priority => r.priority, p_is_new => r.is_new,
    p_floor => least(coalesce(r.floor, 0), r.rank)))
  into v_known
  from (
    -- Of a priority both lines, or none: between them there is nothing else.
    select r.*, sum(r.read_count) over (partition by r.name, r.tenant_id, r.priority) as pair_count
    from (select r.*, r.entries - lag(r.entries, 1, v_read) over () as read_count from read as r) as r
  ) as r
  where r.floor is not null and not v_is_full or r.pair_count >= 50;

  v_seconds := extract(epoch from clock_timestamp() - v_started_at);
  if v_is_full and flowgres.entries_read() - v_first_read < 500 then
    -- What was read before is marked as removable, and not read again.
    v_floors := null;
  else
    v_floors.ranges := array(
      select r from flowgres.ranges_past(p_lines => v_known[:500], p_capabilities => v_capabilities) as r);
    if v_is_full then
      v_floors.full_at := clock_timestamp() + greatest(50 * v_seconds, 5) * interval '1 second';
    end if;
  end if;
  perform set_config('flowgres.floors', coalesce(v_floors::text, ''), false);
  -- At most a fiftieth of the time.
  v_seconds := extract(epoch from clock_timestamp())
    + greatest(50 * v_seconds, case when v_floors.ranges is null then 1 else 0.1 end);
  perform set_config('flowgres.floors_learned_until', v_seconds::text, false);
end;
$$;
comment on function flowgres.learn_floors(uuid) is $$Find the lines of a runner whose beginnings are taken, to be read from their floors on by this session

For a claim that had to read far more than it took, and every now and then from the beginning again: then floors that are wrong
(somebody has written to the queue by hand) are put right, and those that are needed no more are dropped.$$;
