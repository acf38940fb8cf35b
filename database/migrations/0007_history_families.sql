-- Families of partitions: which tables are cut into periods together, and how long their rows are kept.
--
-- history_periods has a row for each period and no readers but the maintenance, so the locks that its new key takes last no time.
-- squawk-ignore-file adding-not-nullable-field, ban-drop-default, ban-drop-constraint, constraint-missing-not-valid
-- squawk-ignore-file adding-serial-primary-key-field
--
-- A later family is one migration: its tables (partitioned by range of a UUID v7, with a primary key that begins with the
-- tenant and this id), a row in history_families and a row for each table in history_tables. The partitions follow by
-- themselves (schema/operations/history_apply.sql).

set local role flowgres_owner;

create table flowgres.history_families (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  family text not null,
  retention_setting text not null,
  period_setting text not null default 'history_period_days',
  ahead_setting text not null default 'history_ahead_count',
  waits_for_end boolean not null default false,
  constraint history_families_pkey primary key (tenant_id, family)
);
comment on table flowgres.history_families is $$Groups of tables that are cut into periods together and dropped together.$$;
comment on column flowgres.history_families.tenant_id is $$The system tenant: families belong to the installation.$$;
comment on column flowgres.history_families.family is $$Name of the family.$$;
comment on column flowgres.history_families.retention_setting is $$The setting that says for how many days rows are kept.$$;
comment on column flowgres.history_families.period_setting is $$The setting with the shortest span of a period, in days.$$;
comment on column flowgres.history_families.ahead_setting is $$The setting with the number of such spans to be prepared for.$$;
comment on column flowgres.history_families.waits_for_end is $$Rows belong to executions, and stay until these have ended.$$;

create table flowgres.history_tables (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  family text not null,
  position smallint not null,
  table_name text not null,
  key_column text not null,
  storage text not null,
  constraint history_tables_pkey primary key (tenant_id, family, position),
  constraint history_tables_name_is_unique unique (tenant_id, table_name),
  constraint history_tables_family_exists foreign key (tenant_id, family)
  references flowgres.history_families (tenant_id, family)
);
comment on table flowgres.history_tables is $$The partitioned tables of each family, locked in the order of their position

The first one has a row for each key, and the others hold what belongs to it.$$;
comment on column flowgres.history_tables.tenant_id is $$The system tenant: families belong to the installation.$$;
comment on column flowgres.history_tables.family is $$The family that the table belongs to.$$;
comment on column flowgres.history_tables.position is $$1 for the table that has a row for each key.$$;
comment on column flowgres.history_tables.table_name is $$Name of the partitioned table in the schema flowgres.$$;
comment on column flowgres.history_tables.key_column is $$The UUID v7 by whose ranges the table is partitioned.$$;
comment on column flowgres.history_tables.storage is $$Storage parameters of each partition.$$;

insert into flowgres.history_families (family, retention_setting, waits_for_end) values ('executions', 'log_retention_days', true);
-- Executions are updated in place while they run; the others are mostly appended to: frozen by the vacuum that follows the inserts,
-- they are not written once more by the one against wraparound.
insert into flowgres.history_tables (family, position, table_name, key_column, storage) values
  ('executions', 1, 'executions', 'id', 'fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05'),
  ('executions', 2, 'step_executions', 'execution_id', 'fillfactor = 95, autovacuum_freeze_min_age = 0'),
  ('executions', 3, 'attempts', 'execution_id', 'autovacuum_freeze_min_age = 0'),
  ('executions', 4, 'events', 'execution_id', 'autovacuum_freeze_min_age = 0');

create table flowgres.history_sweeps (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  family text not null,
  suffix text not null,
  last_tenant_id uuid not null,
  last_key uuid not null,
  constraint history_sweeps_pkey primary key (tenant_id, family, suffix)
);
comment on table flowgres.history_sweeps is $$How far the search for old rows has come in a partition that cannot be dropped.$$;
comment on column flowgres.history_sweeps.tenant_id is $$The system tenant: periods belong to the installation.$$;
comment on column flowgres.history_sweeps.family is $$The family of the partition.$$;
comment on column flowgres.history_sweeps.suffix is $$The suffix of the partition: of a period, or default.$$;
comment on column flowgres.history_sweeps.last_tenant_id is $$Tenant of the row looked at last.$$;
comment on column flowgres.history_sweeps.last_key is $$Key of the row looked at last.$$;

alter table flowgres.history_periods
add column family text not null default 'executions',
add column planned_days integer,
add column attached_at timestamptz;
comment on column flowgres.history_periods.tenant_id is $$The system tenant: periods belong to the installation.$$;
comment on column flowgres.history_periods.family is $$The family whose tables have partitions for this span.$$;
comment on column flowgres.history_periods.starts_at is $$Ids from this moment on; -infinity: from the smallest id on.$$;
comment on column flowgres.history_periods.ends_at is $$Ids before this moment.$$;
comment on column flowgres.history_periods.suffix is $$What follows the name of the table in the names of the partitions.$$;
comment on column flowgres.history_periods.created_at is $$When the tables of the period were made.$$;
comment on column flowgres.history_periods.planned_days is $$The length that the settings asked for when the period was made.$$;
comment on column flowgres.history_periods.attached_at is $$When its tables became partitions; null: they are made, but stand apart.$$;

update flowgres.history_periods as p
set attached_at = p.created_at, planned_days = round(extract(epoch from p.ends_at - p.starts_at) / 86400);
-- The first period was made without a lower bound.
update flowgres.history_periods as p
set starts_at = '-infinity'
where p.starts_at = (select min(f.starts_at) from flowgres.history_periods as f);

alter table flowgres.history_periods alter column planned_days set not null;
alter table flowgres.history_periods alter column family drop default;
alter table flowgres.history_periods drop constraint history_periods_pkey;
alter table flowgres.history_periods
add constraint history_periods_pkey primary key (tenant_id, family, starts_at);

do $$
declare
  v_row record;
begin
  for v_row in
    select i.inhrelid::regclass as partition, t.storage
    from flowgres.history_tables as t
    join pg_catalog.pg_inherits as i on i.inhparent = format('flowgres.%I', t.table_name)::regclass
    order by t.position, i.inhrelid
  loop
    execute format('alter table %s set (%s)', v_row.partition, v_row.storage);
  end loop;
end
$$;
