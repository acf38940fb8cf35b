-- Subscriptions: events and changes of tables that start executions.

set local role flowgres_owner;

create table flowgres.subscriptions (
  tenant_id uuid not null,
  id uuid not null,
  workflow_id uuid not null,
  place smallint not null,
  kind text not null,
  name text not null,
  changes text[],
  filter jsonpath,
  input jsonb,
  is_active boolean not null,
  last_error jsonb,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint subscriptions_pkey primary key (tenant_id, id),
  constraint subscriptions_workflow_fkey foreign key (tenant_id, workflow_id) references flowgres.workflows (tenant_id, id),
  constraint subscriptions_kind_is_known check (kind in ('event', 'table')),
  constraint subscriptions_changes_are_of_tables check ((changes is not null) = (kind = 'table')),
  constraint subscriptions_changes_are_known check (changes <@ '{insert,update,delete}')
);
comment on table flowgres.subscriptions is $$Event and table triggers of active versions: what starts when something is told or a table changes

They follow the workflow: another version changes them, an archived workflow has none.$$;
comment on column flowgres.subscriptions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.subscriptions.id is $$Identifier; it stays when the trigger is changed$$;
comment on column flowgres.subscriptions.workflow_id is $$The workflow that it starts$$;
comment on column flowgres.subscriptions.place is $$Which of the triggers of the definition it is, from 0$$;
comment on column flowgres.subscriptions.kind is $$event or table$$;
comment on column flowgres.subscriptions.name is $$Name of the event, or of the table with its schema$$;
comment on column flowgres.subscriptions.changes is $$Of a table: which changes, out of insert, update and delete; null for an event$$;
comment on column flowgres.subscriptions.filter is $$What must hold for the payload; null is always$$;
comment on column flowgres.subscriptions.input is $$Mapping of the payload to the input; null is the payload itself$$;
comment on column flowgres.subscriptions.is_active is $$Whether its workflow is active, and it starts something$$;
comment on column flowgres.subscriptions.last_error is $$Why something that it was meant for started nothing: {code, message, at}; null when nothing was refused since it changed$$;
comment on column flowgres.subscriptions.created_at is $$When it was first active$$;
comment on column flowgres.subscriptions.updated_at is $$When it last changed$$;

create index subscriptions_workflow_idx on flowgres.subscriptions (tenant_id, workflow_id);
create index subscriptions_lookup_idx on flowgres.subscriptions (tenant_id, name, kind) where is_active;

create table flowgres.event_keys (
  tenant_id uuid not null,
  name text not null,
  key text not null,
  execution_ids uuid[] not null,
  expires_at timestamptz not null,
  constraint event_keys_pkey primary key (tenant_id, name, key)
);
comment on table flowgres.event_keys is $$Keys of events that were told: what makes each start something once

Kept as long as keys of starts are.$$;
comment on column flowgres.event_keys.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.event_keys.name is $$Name of the event$$;
comment on column flowgres.event_keys.key is $$What the caller knows it by$$;
comment on column flowgres.event_keys.execution_ids is $$What it started$$;
comment on column flowgres.event_keys.expires_at is $$When the row may be deleted$$;

create index event_keys_expiry_idx on flowgres.event_keys (expires_at);

create table flowgres.table_changes (
  tenant_id uuid not null,
  id uuid not null,
  name text not null,
  change text not null,
  old_rows json,
  new_rows json,
  row_count integer not null,
  hops smallint not null,
  attempts smallint not null default 0,
  changed_at timestamptz not null,
  due_at timestamptz not null,
  constraint table_changes_pkey primary key (tenant_id, id),
  constraint table_changes_change_is_known check (change in ('insert', 'update', 'delete')),
  constraint table_changes_has_what_changed check (
    (old_rows is not null) = (change <> 'insert') and (new_rows is not null) = (change <> 'delete'))
);
comment on table flowgres.table_changes is $$Changes of tables of applications, written in their transactions, until a runner has started what they start

A row holds up to a thousand changed rows of one statement.$$;
comment on column flowgres.table_changes.tenant_id is $$Tenant whose workflows it may start$$;
comment on column flowgres.table_changes.id is $$Identifier, in the order of time$$;
comment on column flowgres.table_changes.name is $$The table with its schema, as it was called when its trigger was installed$$;
comment on column flowgres.table_changes.change is $$insert, update or delete$$;
comment on column flowgres.table_changes.old_rows is $$The rows before, as a list$$;
comment on column flowgres.table_changes.new_rows is $$The rows after, as a list, in the same order$$;
comment on column flowgres.table_changes.row_count is $$How many rows$$;
comment on column flowgres.table_changes.hops is $$How many executions, one started by the other, led to the change$$;
comment on column flowgres.table_changes.attempts is $$How often starting from it has failed$$;
comment on column flowgres.table_changes.changed_at is $$When the statement ran$$;
comment on column flowgres.table_changes.due_at is $$When a runner may take it$$;

create index table_changes_due_idx on flowgres.table_changes (due_at);
-- Compressing them would cost the application more than writing them, and they are gone in a moment.
alter table flowgres.table_changes alter column old_rows set storage external, alter column new_rows set storage external;
