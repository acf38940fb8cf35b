-- Figures that are kept: what executions and steps came to, by minute and hour, and for ever; and what failed alike.
--
-- They are made from history after the fact (schema/metrics/), so no step waits for them.

set local role flowgres_owner;

create table flowgres.metric_marks (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  measured_until timestamptz not null default '1970-01-01 00:00:00+00',
  asked_at timestamptz,
  asked_xid xid8,
  constraint metric_marks_pkey primary key (tenant_id)
) with (autovacuum_analyze_threshold = 2000000000);
comment on table flowgres.metric_marks is $$How far history is measured

One row. What started before is in metric_rollups, or in metric_open when it had not ended; whoever measures holds the row.$$;
comment on column flowgres.metric_marks.tenant_id is $$The system tenant: history is measured for all at once$$;
comment on column flowgres.metric_marks.measured_until is $$Executions with ids before this moment are measured; to the millisecond$$;
comment on column flowgres.metric_marks.asked_at is $$A later moment, as soon as all transactions of then have ended$$;
comment on column flowgres.metric_marks.asked_xid is $$A transaction id that was given out after that moment$$;

create table flowgres.metric_rollups (
  tenant_id uuid not null,
  span_seconds integer not null,
  starts_at timestamptz not null,
  workflow_id uuid not null,
  measure text not null,
  step text not null default '',
  type text not null default '',
  status text not null default '',
  total bigint not null,
  retried bigint not null default 0,
  seconds double precision not null default 0,
  places smallint[] not null default '{}',
  counts bigint[] not null default '{}',
  constraint metric_rollups_pkey primary key (tenant_id, span_seconds, starts_at, workflow_id, measure, step, type, status),
  constraint metric_rollups_measure_is_known check (measure in ('execution', 'wait', 'step', 'runner')),
  constraint metric_rollups_span_is_known check (span_seconds in (0, 60, 3600)),
  constraint metric_rollups_places_are_counted check (cardinality(places) = cardinality(counts))
) with (fillfactor = 70);
comment on table flowgres.metric_rollups is $$What ended, by minute and by hour of the start of its execution, and for the whole installation

Durations are a histogram of 24 places to a power of ten: place p holds what took more than 10^((p-1)/24) s and at most 10^(p/24) s.$$;
comment on column flowgres.metric_rollups.tenant_id is $$Tenant that owns it; the system tenant has the counters of the installation$$;
comment on column flowgres.metric_rollups.span_seconds is $$How long the span is: 60, 3600, or 0 for a counter that is never taken away$$;
comment on column flowgres.metric_rollups.starts_at is $$When the span begins; -infinity for a counter$$;
comment on column flowgres.metric_rollups.workflow_id is $$The workflow; all zeros in a counter$$;
comment on column flowgres.metric_rollups.measure is $$execution, wait (how long executions waited for their first step), step, or runner (what runners count)$$;
comment on column flowgres.metric_rollups.step is $$The step; empty for executions and in counters$$;
comment on column flowgres.metric_rollups.type is $$Type of the step; of a runner's figure its name$$;
comment on column flowgres.metric_rollups.status is $$How it ended$$;
comment on column flowgres.metric_rollups.total is $$How many$$;
comment on column flowgres.metric_rollups.retried is $$How many attempts beyond the first they took together$$;
comment on column flowgres.metric_rollups.seconds is $$How long they took together$$;
comment on column flowgres.metric_rollups.places is $$Places of the histogram that are not empty, ascending$$;
comment on column flowgres.metric_rollups.counts is $$How many are in each of these places$$;
create index metric_rollups_age_idx on flowgres.metric_rollups (starts_at) where span_seconds > 0;

create table flowgres.metric_open (
  tenant_id uuid not null,
  execution_id uuid not null,
  look_at timestamptz not null,
  constraint metric_open_pkey primary key (tenant_id, execution_id)
);
comment on table flowgres.metric_open is $$Executions that had not ended when history was measured up to them

Figures read them as they are, until a look finds that they have ended.$$;
comment on column flowgres.metric_open.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.metric_open.execution_id is $$The execution$$;
comment on column flowgres.metric_open.look_at is $$When to look whether it has ended: the older it is, the seldomer$$;
create index metric_open_look_idx on flowgres.metric_open (look_at);

create table flowgres.error_rollups (
  tenant_id uuid not null,
  starts_at timestamptz not null,
  workflow_id uuid not null,
  step text not null,
  code text not null,
  digest uuid not null,
  message text not null,
  count bigint not null,
  first_at timestamptz not null,
  last_at timestamptz not null,
  sample_execution_id uuid not null,
  constraint error_rollups_pkey primary key (tenant_id, starts_at, workflow_id, step, code, digest)
) with (fillfactor = 70);
comment on table flowgres.error_rollups is $$Failures that are alike, by hour of the start of their execution$$;
comment on column flowgres.error_rollups.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.error_rollups.starts_at is $$When the hour begins$$;
comment on column flowgres.error_rollups.workflow_id is $$The workflow$$;
comment on column flowgres.error_rollups.step is $$The step that failed; empty when it was the execution itself$$;
comment on column flowgres.error_rollups.code is $$Code of the error$$;
comment on column flowgres.error_rollups.digest is $$MD5 of the message: what makes it part of a key of bounded length$$;
comment on column flowgres.error_rollups.message is $$The message without what differs from one failure to the next$$;
comment on column flowgres.error_rollups.count is $$How many$$;
comment on column flowgres.error_rollups.first_at is $$When the first one failed$$;
comment on column flowgres.error_rollups.last_at is $$When the last one failed$$;
comment on column flowgres.error_rollups.sample_execution_id is $$Execution of the last one$$;
create index error_rollups_age_idx on flowgres.error_rollups (starts_at);
