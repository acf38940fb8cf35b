-- Streams of events, and calls that wait for the end of an execution.
--
-- squawk-ignore-file prefer-robust-stmts

set local role flowgres_owner;

-- Without a default nothing is rewritten.
alter table flowgres.executions add column is_awaited boolean;

-- Unlogged: after a crash nobody listens any more, and whoever comes back is told to begin anew.
create unlogged table flowgres.stream_watches (
  tenant_id uuid not null,
  complete_from bigint,
  watched_until timestamptz not null,
  constraint stream_watches_pkey primary key (tenant_id)
);
comment on table flowgres.stream_watches is $$Tenants whose changes are written down for their streams

Mostly empty: while nobody listens to a tenant, its steps write nothing for it.$$;
comment on column flowgres.stream_watches.tenant_id is $$Tenant that somebody listens to$$;
comment on column flowgres.stream_watches.complete_from is $$All changes by transactions with this id or a later one are there; null until that is known$$;
comment on column flowgres.stream_watches.watched_until is $$When the row may be deleted, unless somebody renews it$$;

create unlogged table flowgres.stream_changes (
  tenant_id uuid not null,
  xid bigint not null,
  execution_id uuid not null,
  last_seq integer not null,
  after_seq integer not null,
  at timestamptz not null,
  constraint stream_changes_pkey primary key (tenant_id, xid, execution_id, last_seq),
  constraint stream_changes_hold_an_event check (last_seq > after_seq)
);
comment on table flowgres.stream_changes is $$Which events came into being by which transaction, of tenants that somebody listens to

The events themselves are where they always are. The numbers of an execution are in commit order, but those of a tenant are not: a stream
of it goes from snapshot to snapshot, and reads what the transactions between them have written.$$;
comment on column flowgres.stream_changes.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.stream_changes.xid is $$The transaction, by its full id$$;
comment on column flowgres.stream_changes.execution_id is $$The execution that went on$$;
comment on column flowgres.stream_changes.last_seq is $$Number of its last event then$$;
comment on column flowgres.stream_changes.after_seq is $$Number of its last event before$$;
comment on column flowgres.stream_changes.at is $$When, for its deletion$$;
