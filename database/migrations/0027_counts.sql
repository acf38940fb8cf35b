-- What is counted where it happens, and who has started something: so that measuring costs what happened, and not what there is.
-- squawk-ignore-file ban-drop-constraint

set local role flowgres_owner;

create table flowgres.metric_counts (
  tenant_id uuid not null,
  id bigint generated always as identity,
  measure text not null,
  status text not null,
  reason text not null default '',
  total bigint not null,
  constraint metric_counts_pkey primary key (tenant_id, id),
  constraint metric_counts_measure_is_known check (measure in ('webhook', 'notification'))
) with (autovacuum_analyze_threshold = 2000000000);
comment on table flowgres.metric_counts is $$What was counted a moment ago, on its way into the counters of metric_rollups

Rows are only added, so nobody waits for anybody; whoever measures takes them away in the transaction that adds them up.$$;
comment on column flowgres.metric_counts.tenant_id is $$Tenant whose it is$$;
comment on column flowgres.metric_counts.id is $$Number of the row$$;
comment on column flowgres.metric_counts.measure is $$webhook (deliveries that came) or notification (deliveries that ended)$$;
comment on column flowgres.metric_counts.status is $$The outcome$$;
comment on column flowgres.metric_counts.reason is $$Why, of a closed list; empty when there is nothing to say$$;
comment on column flowgres.metric_counts.total is $$How many$$;

create table flowgres.metric_starters (
  tenant_id uuid not null,
  from_at timestamptz not null,
  until_at timestamptz not null,
  id bigint generated always as identity,
  constraint metric_starters_pkey primary key (tenant_id, until_at, id),
  constraint metric_starters_span_is_forward check (from_at < until_at)
) with (autovacuum_analyze_threshold = 2000000000);
comment on table flowgres.metric_starters is $$Tenants that have started executions lately: whoever measures looks at these, and at no other

A start adds a row when its tenant has none for the time. Two at once may both: nobody waits, and a tenant is looked at once all the same.$$;
comment on column flowgres.metric_starters.tenant_id is $$Tenant that has started something$$;
comment on column flowgres.metric_starters.from_at is $$Its executions may have started from this moment on$$;
comment on column flowgres.metric_starters.until_at is $$And before this one$$;
comment on column flowgres.metric_starters.id is $$Number of the row$$;
-- What was started before nobody has noted; and for a while sessions may go on with the functions of before.
insert into flowgres.metric_starters (tenant_id, from_at, until_at)
select t.tenant_id, '-infinity', now() + interval '1 hour' from flowgres.tenants as t;

alter table flowgres.metric_rollups drop constraint metric_rollups_measure_is_known;
alter table flowgres.metric_rollups add constraint metric_rollups_measure_is_known check (
  measure in ('execution', 'wait', 'step', 'runner', 'webhook', 'notification')
) not valid;
comment on column flowgres.metric_rollups.measure is $$execution, wait (how long executions waited for their first step), step; of counters also runner (what
runners count), webhook (deliveries that came) and notification (deliveries that ended)$$;
comment on column flowgres.metric_rollups.type is $$Type of the step; of a runner's figure its name; of a delivery the reason$$;
