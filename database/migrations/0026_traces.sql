-- Traces: which ended executions are still to be told to a collector (OpenTelemetry).
--
-- A trace is made of history, after the fact. What is kept here is only which executions nobody has told of yet, and only while some
-- runner tells.

set local role flowgres_owner;

create table flowgres.trace_exports (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  expires_at timestamptz not null,
  constraint trace_exports_pkey primary key (tenant_id)
) with (autovacuum_analyze_threshold = 2000000000);
comment on table flowgres.trace_exports is $$Whether runners tell of ended executions

One row, or none where no runner ever did: whoever ends executions looks here.$$;
comment on column flowgres.trace_exports.tenant_id is $$The system tenant: executions are told of for all at once$$;
comment on column flowgres.trace_exports.expires_at is $$Until when ends are kept; runners that tell put it off$$;

create table flowgres.trace_ends (
  tenant_id uuid not null,
  execution_id uuid not null,
  taken_until timestamptz,
  expires_at timestamptz not null,
  constraint trace_ends_pkey primary key (tenant_id, execution_id)
) with (
  -- As of any queue: room to be taken in place, swept early, and no statistics.
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 2000,
  autovacuum_analyze_threshold = 2000000000
);
comment on table flowgres.trace_ends is $$Executions that have ended, and that no collector has been told of yet$$;
comment on column flowgres.trace_ends.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.trace_ends.execution_id is $$The execution$$;
comment on column flowgres.trace_ends.taken_until is $$Until when a runner that tells of it has time; then another one takes it$$;
comment on column flowgres.trace_ends.expires_at is $$When it is let go, told or not$$;
create index trace_ends_expiry_idx on flowgres.trace_ends (expires_at);
