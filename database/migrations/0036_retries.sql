-- Executions that are retried from the steps that failed: by a person, or by themselves as often as max_retries says.
--
-- New columns without defaults that a table would be written anew for; nothing waits for this but the moment of the lock.

set local role flowgres_owner;

alter table flowgres.executions
add column retry_count smallint not null default 0,
add column retry_at timestamptz;

alter table flowgres.step_executions
add column generation smallint,
add column redo integer[];

alter table flowgres.workflow_versions
add column max_retries smallint not null default 0;
comment on column flowgres.workflow_versions.max_retries is $$How often its executions are retried by themselves, when their start says nothing else.$$;

alter table flowgres.cancellations
add column generation smallint;
comment on column flowgres.cancellations.generation is $$Generation of the child that is to be cancelled: one that was retried since goes on. Null: whichever it is in.$$;

alter type flowgres.advance_state add attribute retried_slots integer[];

create type flowgres.retried_child as (
  execution_id uuid,
  step_index smallint,
  iteration integer,
  child_id uuid,
  child_status text
);
comment on type flowgres.retried_child is $$A step that ended without its child having been done with: it waits for the same child again, or takes what that has completed with$$;

alter table flowgres.metric_open
add column counted_generation smallint;
comment on column flowgres.metric_open.counted_generation is $$The last generation whose end is in the figures, of an execution that was retried; null when none is$$;

-- An execution may end more than once while its end is to be told. The table holds an hour of untold ends at most.
alter table flowgres.trace_ends
add column generation smallint not null default 1,
-- squawk-ignore ban-drop-constraint
drop constraint trace_ends_pkey,
-- squawk-ignore constraint-missing-not-valid, adding-serial-primary-key-field
add constraint trace_ends_pkey primary key (tenant_id, execution_id, generation);
comment on column flowgres.trace_ends.generation is $$Which of its ends it is$$;
