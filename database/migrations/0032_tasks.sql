-- Tasks: steps that workers outside do, in any language.
-- squawk-ignore-file ban-drop-constraint, constraint-missing-not-valid, require-concurrent-index-creation

set local role flowgres_owner;

create table flowgres.tasks (
  tenant_id uuid not null,
  execution_id uuid not null,
  id text not null,
  step_index smallint not null,
  iteration integer not null,
  queue_id bigint not null,
  queue text not null,
  payload jsonb not null,
  lease_seconds double precision not null,
  timeout_seconds double precision,
  attempt smallint not null,
  created_at timestamptz not null,
  status text not null,
  worker text,
  token bigint,
  claimed_at timestamptz,
  ends_at timestamptz,
  lease_until timestamptz,
  progress jsonb,
  progress_count smallint not null default 0,
  output jsonb,
  error jsonb,
  finished_at timestamptz,
  constraint tasks_pkey primary key (tenant_id, execution_id, id),
  constraint tasks_status_is_known check (status in ('waiting', 'claimed', 'completed', 'failed')),
  constraint tasks_claim_is_whole check (
    (worker is null) = (token is null) and (worker is null) = (claimed_at is null) and (worker is null) = (lease_until is null)
    and (status = 'waiting' or worker is not null)),
  constraint tasks_finished_at_matches_status check ((finished_at is not null) = (status in ('completed', 'failed')))
) partition by range (execution_id);
comment on table flowgres.tasks is $$Steps of the type task: what a worker is given, who has it, and what came of it

One row a step, iteration and round; another attempt begins it anew. Whether it may still be claimed says work_queue. The rows go with
the history of their executions.$$;
comment on column flowgres.tasks.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.tasks.execution_id is $$The execution: its time decides the partition$$;
comment on column flowgres.tasks.id is $$Identifier: execution, step, iteration and round, the same for all attempts$$;
comment on column flowgres.tasks.step_index is $$The step's number in workflow_steps$$;
comment on column flowgres.tasks.iteration is $$Number of a foreach iteration; -1 for the step itself$$;
comment on column flowgres.tasks.queue_id is $$Its row in work_queue, while it is open$$;
comment on column flowgres.tasks.queue is $$Which workers it is for$$;
comment on column flowgres.tasks.payload is $$What the worker is given$$;
comment on column flowgres.tasks.lease_seconds is $$How long a worker has it unless it says otherwise$$;
comment on column flowgres.tasks.timeout_seconds is $$How long a worker may have it at most, however often it extends; null is any time$$;
comment on column flowgres.tasks.attempt is $$Number of the attempt, from 1$$;
comment on column flowgres.tasks.created_at is $$When this attempt was there to be claimed$$;
comment on column flowgres.tasks.status is $$waiting, claimed, completed or failed: what workers have said of this attempt$$;
comment on column flowgres.tasks.worker is $$The worker that has or had it, as it calls itself$$;
comment on column flowgres.tasks.token is $$Fence of the last claim$$;
comment on column flowgres.tasks.claimed_at is $$When it was claimed$$;
comment on column flowgres.tasks.ends_at is $$When the worker's time is over, however often it extends$$;
comment on column flowgres.tasks.lease_until is $$When the lease ran or runs out$$;
comment on column flowgres.tasks.progress is $$What the worker last said of how far it is$$;
comment on column flowgres.tasks.progress_count is $$How many events tell of its progress$$;
comment on column flowgres.tasks.output is $$What the worker gave$$;
comment on column flowgres.tasks.error is $$Why it failed, as the worker said$$;
comment on column flowgres.tasks.finished_at is $$When the worker was done with it$$;

create index tasks_queue_idx on flowgres.tasks (tenant_id, queue, execution_id);

insert into flowgres.history_tables (family, position, table_name, key_column, storage) values
('executions', 8, 'tasks', 'execution_id', 'fillfactor = 80, autovacuum_freeze_min_age = 0');

-- Tasks that wait for a worker, and those that one has: never among what runners look at. Of all other rows it holds none.
create index work_queue_tasks_idx on flowgres.work_queue (tenant_id, capability, (due_at < 'infinity'), priority, rank)
where capability like 'task:%';

-- Workers serve named queues and may do nothing else: their business roles are queue:<name>.
alter table flowgres.api_keys drop constraint api_keys_role_is_known;
alter table flowgres.api_keys add constraint api_keys_role_is_known check (role in ('viewer', 'member', 'admin', 'worker'));
