-- Executions in hand: what is paused, by what, and which workflows and tenants stand still.

set local role flowgres_owner;

alter table flowgres.executions
add column paused_at timestamptz,
add column paused_for uuid;

alter table flowgres.work_queue
add column held_for uuid;
comment on column flowgres.work_queue.held_for is $$Of which pause it is held: its execution, or its workflow; null where nothing is paused$$;

-- The rows of a workflow that is resumed are found by it, in the order of their age. Of what is not held it has nothing.
-- squawk-ignore require-concurrent-index-creation
create index work_queue_held_idx on flowgres.work_queue (held_for, rank) where held_for is not null;

alter type flowgres.advance_state add attribute paused_flags boolean[];

create table flowgres.pauses (
  tenant_id uuid not null,
  workflow_id uuid not null,
  paused_at timestamptz not null,
  paused_by text,
  reason text,
  resumed_at timestamptz,
  is_by_operator boolean not null default false,
  due_at timestamptz not null,
  constraint pauses_pkey primary key (tenant_id, workflow_id)
);
comment on table flowgres.pauses is $$Workflows and tenants that stand still, and those that were resumed and are not all let go yet$$;
comment on column flowgres.pauses.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres.pauses.workflow_id is $$The workflow; all zeros for all of the tenant$$;
comment on column flowgres.pauses.paused_at is $$Since when$$;
comment on column flowgres.pauses.paused_by is $$Who paused it$$;
comment on column flowgres.pauses.reason is $$Why$$;
comment on column flowgres.pauses.resumed_at is $$When it was resumed; null while it stands still. The row goes when nothing is held any more$$;
comment on column flowgres.pauses.is_by_operator is $$Whether an operator has paused it: then no one else lets it go on$$;
comment on column flowgres.pauses.due_at is $$When a sweep looks next at what it holds$$;
