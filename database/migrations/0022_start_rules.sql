-- Rules of starts: debounce, throttle and singleton by key, and how many starts a tenant may make in a minute.

set local role flowgres_owner;

create type flowgres.start_rule as (
  kind text,
  key_path jsonpath,
  window_seconds double precision,
  most_seconds double precision,
  start_limit integer,
  response text
);
comment on type flowgres.start_rule is $$What a version says of its starts (settings.start), compiled

kind is debounce, throttle or singleton. window_seconds: how long a debounce waits, or the time in which a throttle lets start_limit
executions begin; most_seconds: how long a debounce waits in all. response: delay or reject of a throttle, return or reject of a
singleton.$$;

create type flowgres.start_plan as (
  ids uuid[],
  new_ids uuid[],
  new_places integer[],
  new_begins_at timestamptz[],
  moved_ids uuid[],
  moved_places integer[],
  moved_begins_at timestamptz[]
);
comment on type flowgres.start_plan is $$What becomes of starts by the rule of their version. Not stored anywhere

ids are the executions that they stand for, one for each. new_ids are to be written; moved_ids wait to begin, and are to begin
later, as another start says. The places are those of the starts that count, from 1.$$;

alter table flowgres.workflow_versions add column start_rule flowgres.start_rule;
comment on column flowgres.workflow_versions.start_rule is $$What its definition says of starts; null: each begins an execution$$;

create table flowgres.start_keys (
  tenant_id uuid not null,
  workflow_id uuid not null,
  key text not null,
  execution_id uuid,
  since timestamptz,
  begins_at timestamptz[] not null default '{}',
  expires_at timestamptz not null,
  constraint start_keys_pkey primary key (tenant_id, workflow_id, key)
);
comment on table flowgres.start_keys is $$Keys of starts that their workflow has a rule for: the row is the lock of the key

Gone some time after it stopped to matter.$$;
comment on column flowgres.start_keys.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.start_keys.workflow_id is $$The workflow$$;
comment on column flowgres.start_keys.key is $$The value in the input, as JSON, its hash when it is long; empty where there is none$$;
comment on column flowgres.start_keys.execution_id is $$The execution that the last start stands for$$;
comment on column flowgres.start_keys.since is $$When the first of the starts came that a debounced execution stands for$$;
comment on column flowgres.start_keys.begins_at is $$When the last executions of a throttle begin, as many as it lets begin in its time$$;
comment on column flowgres.start_keys.expires_at is $$When the row may be deleted, if its execution has ended$$;

create index start_keys_expiry_idx on flowgres.start_keys (expires_at);

create table flowgres.start_counts (
  tenant_id uuid not null,
  at timestamptz not null,
  id bigint generated always as identity,
  start_count integer not null,
  constraint start_counts_pkey primary key (tenant_id, at, id)
) with (autovacuum_analyze_threshold = 2000000000);
comment on table flowgres.start_counts is $$Starts of tenants in the last minutes: rows are written and deleted, and never updated$$;
comment on column flowgres.start_counts.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.start_counts.at is $$When$$;
comment on column flowgres.start_counts.id is $$Number of the row$$;
comment on column flowgres.start_counts.start_count is $$How many starts it stands for: those that were not noted are in the count of one that was$$;

create index start_counts_at_idx on flowgres.start_counts (at);

alter table flowgres.tenants
add column start_weight integer,
add column starts_watched_until timestamptz;
comment on column flowgres.tenants.start_weight is $$One of so many starts is noted, for all of them; null: it is to be found out what the limit is$$;
comment on column flowgres.tenants.starts_watched_until is $$Until when each start is held against the limit, and not only those that are noted$$;

-- The limit was a number that nothing asked for. Who left it as it was gets the new default, and is refused nothing that went before.
update flowgres.settings as s
set value = '60000'
where s.tenant_id = '00000000-0000-0000-0000-000000000000' and s.name = 'rate_limit_per_minute' and s.value = '600';
