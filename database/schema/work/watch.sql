-- The time in which leases run out: that in which somebody was there to hear the runners.

set local role flowgres_owner;

insert into flowgres.watch (watched_seconds) values (0) on conflict (tenant_id) do nothing;

create or replace function flowgres.watched_between(p_from timestamptz, p_to timestamptz)
  returns double precision language sql immutable parallel safe
as $$
  -- Sweeps come about once a second. A longer gap was not watched: the database was away, or its clock was put forward. And
  -- a clock that was put back does not take away what has been watched.
  select least(greatest(extract(epoch from p_to - p_from)::double precision, 0), 2);
$$;
comment on function flowgres.watched_between(timestamptz, timestamptz) is $$Seconds from one sweep to the next that count as watched: two at most.$$;

create or replace function flowgres.watched_seconds(p_now timestamptz)
  returns double precision language sql stable
as $$
  select w.watched_seconds + flowgres.watched_between(w.swept_at, p_now)
  from flowgres.watch as w
  where w.tenant_id = '00000000-0000-0000-0000-000000000000';
$$;
comment on function flowgres.watched_seconds(timestamptz) is $$For how long the installation has been watched by now.$$;

create or replace function flowgres.keep_watch(p_now timestamptz)
  returns double precision language plpgsql
as $$
begin
  -- However many sweep, one write a second: who finds that another has just counted, or is about to, leaves it to that one.
  update flowgres.watch as w
  set watched_seconds = w.watched_seconds + flowgres.watched_between(w.swept_at, p_now), swept_at = p_now
  where w.ctid = (
    select o.ctid
    from flowgres.watch as o
    where o.tenant_id = '00000000-0000-0000-0000-000000000000'
      and p_now not between o.swept_at - interval '0.7 s' and o.swept_at + interval '0.7 s'
    for update skip locked);
  return flowgres.watched_seconds(p_now => p_now);
end;
$$;
comment on function flowgres.keep_watch(timestamptz) is $$Count the time since the last sweep, and say for how long the installation has been watched

Nobody may be given up in a time when nobody could be heard: after the database was away, or all runners were, silence goes on
from where it stood.$$;
