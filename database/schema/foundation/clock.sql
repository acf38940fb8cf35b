-- The one clock of the engine: leases, delays, schedules and timeouts ask it, never a client.
--
-- The id functions have no search_path of their own: a function with one is not inlined, and these run once a row.

set local role flowgres_owner;

create or replace function flowgres.write_clock_shift()
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  execute format(
    'create or replace function flowgres.clock_shift() returns interval language sql immutable parallel safe return interval %L',
    coalesce((
      select c.shift from flowgres.clock as c where c.tenant_id = '00000000-0000-0000-0000-000000000000'), interval '0'));
end;
$$;
comment on function flowgres.write_clock_shift() is $$Make flowgres.clock_shift() what the table clock says

Everybody asks for the time and nobody moves it, so the shift is a constant of the plans. They are made anew when the function is.$$;

select flowgres.write_clock_shift();
comment on function flowgres.clock_shift() is $$How far the engine's clock is ahead of the real one: nothing, unless a test has moved it.$$;

-- Without a search_path, and so without the price of one: every name says where it is from.
create or replace function flowgres.now()
  returns timestamptz language plpgsql stable
as $$
begin
  return pg_catalog.clock_timestamp() operator(pg_catalog.+) flowgres.clock_shift();
end;
$$;
comment on function flowgres.now() is $$The engine's time

The database clock, moved only where a test has moved it. Call it once per statement: it is not fixed within a transaction.$$;

create or replace function flowgres.set_clock(p_shift interval)
  returns timestamptz language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  insert into flowgres.clock (shift) values (p_shift)
  on conflict (tenant_id) do update set shift = excluded.shift;
  perform flowgres.write_clock_shift();
  return flowgres.now();
end;
$$;
comment on function flowgres.set_clock(interval) is $$Move the engine's clock, for tests

Only the owner of the installation may; the shift counts from the real time.$$;

create or replace function flowgres.uuid_v7(p_at timestamptz)
  returns uuid language sql volatile parallel safe
as $$
  -- 48 bits of milliseconds, the version, and what a version 4 UUID has after its own: the variant and 74 random bits.
  select (
    lpad(to_hex((date_part('epoch', p_at) * 1000)::bigint), 12, '0') || '7' || substr(gen_random_uuid()::text, 16))::uuid;
$$;
comment on function flowgres.uuid_v7(timestamptz) is $$A UUID v7: time-ordered, 74 random bits

Our own, because PostgreSQL has one only from version 18.$$;

create or replace function flowgres.uuids_v7(p_at timestamptz, p_count integer)
  returns uuid[] language sql volatile parallel safe
as $$
  select coalesce(array_agg(g.id order by g.id), '{}')
  from (select flowgres.uuid_v7(p_at) as id from generate_series(1, p_count)) as g;
$$;
comment on function flowgres.uuids_v7(timestamptz, integer) is $$Ids of one moment, ascending

Rows that are written in the order of their ids append to an index, which splits half as many pages and logs a tenth of each.$$;

create or replace function flowgres.uuid_v7_floor(p_at timestamptz)
  returns uuid language sql immutable parallel safe
as $$
  select (lpad(to_hex((extract(epoch from p_at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid;
$$;
comment on function flowgres.uuid_v7_floor(timestamptz) is $$The smallest id of a moment: the bounds of history partitions.$$;

create or replace function flowgres.uuid_v7_time(p_id uuid)
  returns timestamptz language sql immutable parallel safe
as $$
  select to_timestamp(('x' || lpad(left(replace(p_id::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0);
$$;
comment on function flowgres.uuid_v7_time(uuid) is $$The moment in a UUID v7, to the millisecond.$$;
