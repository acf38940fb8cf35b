-- What history counts for: each execution, its wait, each of its steps; and the histogram that their durations go into.
--
-- Without a search_path: a function with one is not inlined, and these run once a row, or are read as a part of a query.

set local role flowgres_owner;

insert into flowgres.metric_marks (tenant_id) values (flowgres.system_tenant_id()) on conflict (tenant_id) do nothing;

create or replace function flowgres.duration_place(p_seconds double precision)
  returns smallint language sql immutable parallel safe
as $$
  -- From a microsecond to three years; a clock that was set back makes less than nothing.
  select ceil(24 * log(least(greatest(p_seconds, 1e-6), 1e8)))::smallint;
$$;
comment on function flowgres.duration_place(double precision) is $$Where a duration in seconds goes in the histogram: 24 places to a power of ten$$;

create or replace function flowgres.place_seconds(p_place integer)
  returns double precision language sql immutable parallel safe
as $$
  -- The value whose relative distance to both ends of the place is the same.
  select 2 * power(10::double precision, p_place / 24.0::double precision) / (1 + power(10::double precision, 1 / 24.0::double precision));
$$;
comment on function flowgres.place_seconds(integer) is $$The duration that a place of the histogram stands for, in seconds: at most 4.8 % from any that it holds$$;

create or replace function flowgres.metric_samples(p_tenant_id uuid, p_from uuid, p_to uuid)
  returns table (
    execution_id uuid, workflow_id uuid, is_ended boolean, measure text, step text, type text, status text, retried integer,
    seconds double precision
  )
  language sql stable rows 1000
as $$
  select
    e.id, e.workflow_id, e.finished_at is not null, m.measure, '', '', m.status, m.retried,
    -- Not extract(), which is a numeric, and takes five times as long.
    date_part('epoch', m.seconds)
  from flowgres.executions as e
  cross join lateral (
    values
    ('execution', e.status, e.generation - 1, e.finished_at - e.started_at),
    ('wait', '', 0, e.started_at - greatest(e.created_at, e.scheduled_at))
  ) as m (measure, status, retried, seconds)
  where e.tenant_id = p_tenant_id and e.id >= p_from and e.id <= p_to and not flowgres.is_hidden(e.id)
    and (m.measure = 'execution' or m.seconds is not null)
  union all
  select
    s.execution_id, e.workflow_id, e.finished_at is not null, 'step', s.step, s.type, s.status, greatest(s.attempts - 1, 0),
    date_part('epoch', s.finished_at - s.started_at)
  from flowgres.step_executions as s
  join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  where s.tenant_id = p_tenant_id and s.execution_id >= p_from and s.execution_id <= p_to
    and e.tenant_id = p_tenant_id and e.id >= p_from and e.id <= p_to
    and s.finished_at is not null and s.iteration = -1 and s.type <> 'outputs' and not flowgres.is_hidden(e.id);
$$;
comment on function flowgres.metric_samples(uuid, uuid, uuid) is $$What the executions of a range of ids count for, both ends included

One row for each execution, one for its wait, one for each of its steps that ended; iterations are part of their step. No id equals
the floor of a moment (uuid_v7_floor), so floors serve as ends that are not included.$$;

create or replace function flowgres.id_minute(p_id uuid)
  returns bigint language sql immutable parallel safe
as $$
  select ('x' || encode(substring(uuid_send(p_id) for 6), 'hex'))::bit(48)::bigint / 60000;
$$;
comment on function flowgres.id_minute(uuid) is $$The minute in a UUID v7, counted from 1970$$;

create or replace function flowgres.minute_of(p_at timestamptz)
  returns timestamptz language sql immutable parallel safe
as $$ select date_bin(interval '1 minute', p_at, timestamptz '2000-01-01 00:00:00+00'); $$;
comment on function flowgres.minute_of(timestamptz) is $$The beginning of the minute of a moment$$;

create or replace function flowgres.hour_of(p_at timestamptz)
  returns timestamptz language sql immutable parallel safe
as $$ select date_bin(interval '1 hour', p_at, timestamptz '2000-01-01 00:00:00+00'); $$;
comment on function flowgres.hour_of(timestamptz) is $$The beginning of the hour of a moment, in UTC whatever the zone of the session$$;

create or replace function flowgres.shown_seconds(p_place integer)
  returns numeric language sql immutable parallel safe
as $$
  -- Three digits: more would say what the histogram does not know.
  select round(s.seconds::numeric, 2 - floor(log(s.seconds))::integer) from (select flowgres.place_seconds(p_place) as seconds) as s;
$$;
comment on function flowgres.shown_seconds(integer) is $$The duration that a place of the histogram stands for, with three digits$$;

set local role flowgres_engine;

create or replace function flowgres.metrics_until()
  returns timestamptz language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select m.measured_until from flowgres.metric_marks as m where m.tenant_id = '00000000-0000-0000-0000-000000000000';
$$;
comment on function flowgres.metrics_until() is $$Up to which moment history is measured: what started later is read as it is.$$;
