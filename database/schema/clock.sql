-- The one clock of the engine: leases, delays, schedules and timeouts ask it, never a client.

--
-- The id functions have no search_path of their own: a function with one is not inlined, and these run once a row.

set local role flowgres_owner;

create or replace function flowgres.now()
  returns timestamptz language plpgsql stable security definer set search_path to ''
as $$
begin
  -- By key: where sequential scans are switched off, a scan of even an empty table looks dear enough for JIT.
  return clock_timestamp() + coalesce((
    select c.shift from flowgres.clock as c where c.tenant_id = '00000000-0000-0000-0000-000000000000'), interval '0');
end;
$$;
comment on function flowgres.now() is $$The engine's time

The database clock, moved only where a test has moved it. Call it once per statement: it is not fixed within a transaction.$$;

create or replace function flowgres.set_clock(p_shift interval)
  returns timestamptz language sql set search_path to ''
as $$
  insert into flowgres.clock (shift) values (p_shift)
  on conflict (tenant_id) do update set shift = excluded.shift;
  select flowgres.now();
$$;
comment on function flowgres.set_clock(interval) is $$Move the engine's clock, for tests

Only the owner of the installation may; the shift counts from the real time.$$;

create or replace function flowgres.uuid_v7(p_at timestamptz)
  returns uuid language sql volatile parallel safe
as $$
  select encode(
    set_bit(set_bit(
      overlay(
        uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from p_at) * 1000)::bigint) from 3) from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid;
$$;
comment on function flowgres.uuid_v7(timestamptz) is $$A UUID v7: time-ordered, 74 random bits

Our own, because PostgreSQL has one only from version 18.$$;

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
