-- Steps that run once for each item of a list.
-- squawk-ignore-file ban-drop-constraint

set local role flowgres_owner;

alter table flowgres.workflow_steps add column iterates jsonb;
comment on column flowgres.workflow_steps.iterates is $$Run it once for each item: {items, max_parallel, tolerate, at_least, rest}, as the author wrote it$$;

alter table flowgres.step_executions
add column item_count integer,
add column next_item integer,
add column done_count integer,
add column failed_count integer;

alter type flowgres.ready_step add attribute iteration integer;
alter type flowgres.claimed_step add attribute item json;

create table flowgres.step_items (
  tenant_id uuid not null,
  execution_id uuid not null,
  step_index smallint not null,
  first integer not null,
  items jsonb not null,
  constraint step_items_pkey primary key (tenant_id, execution_id, step_index, first)
) partition by range (execution_id);
comment on table flowgres.step_items is $$The items of a foreach, written once, a hundred to a row

An iteration reads the row of its item, whatever else the list has.$$;

insert into flowgres.history_tables (family, position, table_name, key_column, storage) values
('executions', 5, 'step_items', 'execution_id', 'autovacuum_freeze_min_age = 0');
