-- A runner is given up for its silence only in time in which somebody listened; leases become shorter.

set local role flowgres_owner;

create table flowgres.watch (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  watched_seconds double precision not null default 0,
  swept_at timestamptz not null default clock_timestamp(),
  constraint watch_pkey primary key (tenant_id)
) with (
  -- One row, written once a second in place; pages are pruned on the way. Nothing is to be learned of it by statistics.
  autovacuum_vacuum_threshold = 5000,
  autovacuum_analyze_threshold = 2000000000
);
comment on table flowgres.watch is $$For how long this installation has been swept

One row. Leases run out in this time, not in that of a clock: while nobody sweeps it stands still.$$;
comment on column flowgres.watch.tenant_id is $$The system tenant: leases are the installation's.$$;
comment on column flowgres.watch.watched_seconds is $$Seconds in which a sweep was there to hear heartbeats; only ever grows.$$;
comment on column flowgres.watch.swept_at is $$When the last counted sweep ran, by the engine's clock.$$;

alter table flowgres.runners add column heard_seconds double precision not null default 0;
comment on column flowgres.runners.heard_seconds is $$watch.watched_seconds at its last heartbeat: what lies between is its silence.$$;

-- Not by seen_at: a heartbeat changes no indexed column now, and so leaves nothing to vacuum. A table of a few rows: both take no time.
-- squawk-ignore require-concurrent-index-deletion
drop index flowgres.runners_live_idx;
-- squawk-ignore require-concurrent-index-creation
create index runners_live_idx on flowgres.runners (id) where stopped_at is null;

-- The defaults of before, where nobody has chosen them.
update flowgres.settings as s
set value = d.value
from (values ('lease_seconds', '30'::jsonb, '10'::jsonb), ('heartbeat_seconds', '3', '2')) as d (name, old_value, value)
where s.tenant_id = '00000000-0000-0000-0000-000000000000' and s.name = d.name and s.value = d.old_value
  and not exists (
    select from flowgres.audit_log as a
    where a.tenant_id = s.tenant_id and a.action = 'setting_changed' and a.subject = s.name);
