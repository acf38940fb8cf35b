-- Limits: how many executions of a workflow and key run at once, how many steps of a named limit, and how many in a time.
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion

set local role flowgres_owner;

create table flowgres.limits (
  tenant_id uuid not null,
  kind text not null,
  name text not null,
  capacity integer,
  per_seconds double precision,
  bucket_numbers bigint[] not null default '{}',
  bucket_counts integer[] not null default '{}',
  updated_at timestamptz not null,
  constraint limits_pkey primary key (tenant_id, kind, name),
  constraint limits_kind_is_known check (kind in ('step', 'workflow')),
  constraint limits_capacity_is_some check (capacity between 1 and 10000),
  constraint limits_capacity_is_that_of_steps check ((capacity is null) = (kind = 'workflow')),
  constraint limits_time_is_bounded check (per_seconds between 1 and 2592000),
  constraint limits_buckets_are_parallel check (cardinality(bucket_numbers) = cardinality(bucket_counts))
) with (fillfactor = 50);
comment on table flowgres.limits is $$What bounds how much runs at once, or in a time; whoever lets something go holds the row$$;
comment on column flowgres.limits.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.limits.kind is $$step: a limit that steps name; workflow: one whose versions say how many executions run at once$$;
comment on column flowgres.limits.name is $$Name that steps give, or the id of the workflow$$;
comment on column flowgres.limits.capacity is $$How many at once, or in a time; null for a workflow, as each version says its own$$;
comment on column flowgres.limits.per_seconds is $$The time in which so many may begin; null: so many at once$$;
comment on column flowgres.limits.bucket_numbers is $$Parts of that time in which something began, sixty of them to per_seconds, numbered from the epoch$$;
comment on column flowgres.limits.bucket_counts is $$How many began in each$$;
comment on column flowgres.limits.updated_at is $$When somebody set it last$$;

create table flowgres.limit_slots (
  tenant_id uuid not null,
  line text not null,
  execution_id uuid not null,
  queue_id bigint not null default 0,
  step_index smallint,
  iteration integer,
  taken_at timestamptz not null,
  came_at timestamptz,
  constraint limit_slots_pkey primary key (tenant_id, line, execution_id, queue_id)
) with (fillfactor = 80);
comment on table flowgres.limit_slots is $$Places that are taken

One of an execution is free when that has ended, one of a step when its row of the queue has left it: nobody has to give it back, and
who lets go next finds that out.$$;
comment on column flowgres.limit_slots.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.limit_slots.line is $$Line of the queue that its holder waited in$$;
comment on column flowgres.limit_slots.execution_id is $$Execution that has it, or whose step has it$$;
comment on column flowgres.limit_slots.queue_id is $$Row of the queue of the step that has it; 0 when the execution has it$$;
comment on column flowgres.limit_slots.step_index is $$The step that has it$$;
comment on column flowgres.limit_slots.iteration is $$Its iteration; -1 for the step itself$$;
comment on column flowgres.limit_slots.taken_at is $$When it was taken$$;
comment on column flowgres.limit_slots.came_at is $$When the execution that has it came into the line; null for a step$$;

-- There are as many lines of limits as keys: who goes from line to line of what runners claim does not meet them.
drop index flowgres.work_queue_ready_idx;
create index work_queue_ready_idx on flowgres.work_queue (capability, tenant_id, priority, is_new, rank)
where runner_id is null and due_at is null and not held and capability not like 'limit:%';
-- Lines in which something waits to be let go, by tenants, who take turns; whatever the collation of the database makes of their names.
create index work_queue_limits_idx on flowgres.work_queue (tenant_id, capability collate "C", priority, is_new, rank)
where runner_id is null and due_at is null and not held and capability like 'limit:%';

alter table flowgres.workflow_versions add column concurrency jsonb;
comment on column flowgres.workflow_versions.concurrency is $$How many executions run at once (settings.concurrency): limit, key, when_full; null: any number$$;

alter table flowgres.cancellations add column code text;
comment on column flowgres.cancellations.code is $$Code of the error that the execution ends with; null is cancelled$$;
