-- Workflows, their immutable versions, and the steps compiled from each version.

set local role flowgres_owner;

create table flowgres.workflows (
  tenant_id uuid not null,
  id uuid not null,
  name text not null,
  title text,
  kind text not null,
  status text not null default 'draft',
  description text,
  metadata jsonb not null default '{}',
  active_version integer,
  latest_version integer not null default 0,
  created_by text,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  deleted_at timestamptz,
  constraint workflows_pkey primary key (tenant_id, id),
  constraint workflows_tenant_fkey foreign key (tenant_id) references flowgres.tenants (tenant_id),
  constraint workflows_name_is_identifier check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  constraint workflows_kind_is_known check (kind in ('dag', 'state_machine')),
  constraint workflows_status_is_known check (status in ('draft', 'active', 'inactive', 'archived')),
  constraint workflows_active_has_version check (status <> 'active' or active_version is not null)
);
comment on table flowgres.workflows is $$Named definitions

A deleted workflow keeps its row, because executions of the past still point at it; its name is free again.$$;

create unique index workflows_name_idx on flowgres.workflows (tenant_id, name) where deleted_at is null;

create table flowgres.workflow_versions (
  tenant_id uuid not null,
  id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  version_label text,
  state text not null,
  checksum text not null,
  source jsonb not null,
  definition jsonb not null,
  compiled_format smallint not null default 1,
  step_count smallint not null,
  hidden_step_count smallint not null default 0,
  root_indexes smallint[] not null,
  sink_indexes smallint[] not null,
  inputs jsonb,
  timeout_seconds double precision not null,
  priority smallint not null default 5,
  correlation_path jsonpath,
  errors jsonb,
  created_by text,
  created_at timestamptz not null default clock_timestamp(),
  constraint workflow_versions_pkey primary key (tenant_id, id),
  constraint workflow_versions_version_key unique (tenant_id, workflow_id, version),
  constraint workflow_versions_workflow_fkey foreign key (tenant_id, workflow_id)
  references flowgres.workflows (tenant_id, id),
  constraint workflow_versions_state_is_known check (state in ('draft', 'checking', 'ready', 'invalid')),
  constraint workflow_versions_priority_is_digit check (priority between 0 and 9)
);
comment on table flowgres.workflow_versions is $$Immutable texts of workflows, compiled at import

Executions stay on the version that they started with. `source` is the text as given, `definition` its canonical form.
`checking` waits for a runner to confirm the expressions of a definition that came in by SQL.$$;
comment on column flowgres.workflow_versions.compiled_format is $$How to read the compiled steps after an upgrade.$$;
comment on column flowgres.workflow_versions.step_count is $$Steps of the author; hidden steps come on top.$$;
comment on column flowgres.workflow_versions.hidden_step_count is $$Steps that the compiler added: 1 when the workflow has outputs.$$;
comment on column flowgres.workflow_versions.sink_indexes is $$Steps without children: their outputs are the execution's when it declares none.$$;
comment on column flowgres.workflow_versions.timeout_seconds is $$Active time of one execution; waits do not count.$$;

create table flowgres.workflow_steps (
  tenant_id uuid not null,
  version_id uuid not null,
  index smallint not null,
  id text not null,
  type text not null,
  description text,
  capability text not null default 'core',
  dependencies smallint[] not null default '{}',
  children smallint[] not null default '{}',
  gates smallint[] not null default '{}',
  branches jsonb,
  join_rule text not null default 'default',
  when_expression text,
  config jsonb not null default '{}',
  output_template jsonb,
  reference_indexes smallint[] not null default '{}',
  secret_names text[] not null default '{}',
  timeout_seconds double precision,
  max_attempts smallint not null,
  retry_delay_seconds double precision not null,
  retry_factor double precision not null,
  retry_max_delay_seconds double precision not null,
  retry_jitter boolean not null,
  retry_errors text[] not null,
  on_error text not null default 'fail',
  failure_handled boolean not null default false,
  next_index smallint,
  constraint workflow_steps_pkey primary key (tenant_id, version_id, index),
  -- The id first: with the version first it would look as good as the primary key for finding a step by its index.
  constraint workflow_steps_id_key unique (id, version_id, tenant_id),
  constraint workflow_steps_version_fkey foreign key (tenant_id, version_id)
  references flowgres.workflow_versions (tenant_id, id) on delete cascade,
  constraint workflow_steps_join_rule_is_known check (join_rule in ('default', 'all', 'any', 'always', 'failed', 'end')),
  constraint workflow_steps_on_error_is_known check (on_error in ('fail', 'continue', 'skip')),
  constraint workflow_steps_attempts_are_positive check (max_attempts >= 1)
);
comment on table flowgres.workflow_steps is $$Compiled steps: nodes and edges of a version by number

Edges are stored in both directions, so that advancing an execution reads rows and never parses a definition.$$;
-- Who calls whom: few rows, asked at every import.
create index workflow_steps_calls_idx on flowgres.workflow_steps (tenant_id, version_id) where type = 'sub_workflow';
comment on column flowgres.workflow_steps.capability is $$What a runner must serve to claim it: core, or the name of a custom step type.$$;
comment on column flowgres.workflow_steps.gates is $$Those dependencies that decide by branch: when all are dead the step is skipped.$$;
comment on column flowgres.workflow_steps.branches is $$For a condition: {"true": [indexes], "false": [indexes]}; other children are always taken.$$;
comment on column flowgres.workflow_steps.join_rule is $$When to run: default, all, any, always, failed; end is the hidden outputs step (always, but not in a failing execution).$$;
comment on column flowgres.workflow_steps.reference_indexes is $$Steps whose outputs its expressions name: a claim sends only those.$$;
comment on column flowgres.workflow_steps.next_index is $$The step that may be run ahead after this one: it hangs on this one alone, and only computes.$$;
comment on column flowgres.workflow_steps.failure_handled is $$A direct child joins on failed, so a failure here does not fail the execution.$$;

create table flowgres.step_types (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  type text not null,
  config_schema jsonb not null default '{}',
  is_core boolean not null default false,
  updated_at timestamptz not null default clock_timestamp(),
  constraint step_types_pkey primary key (tenant_id, type),
  constraint step_types_type_is_identifier check (type ~ '^[a-z][a-z0-9_]{0,62}$')
);
comment on table flowgres.step_types is $$Step types that runners have said they serve, with the JSON Schema of their configuration.$$;

create index workflow_versions_id_idx on flowgres.workflow_versions (id);
create index workflow_versions_checking_idx on flowgres.workflow_versions (created_at) where state = 'checking';
