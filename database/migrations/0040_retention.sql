-- Retention of workflows and tenants, shorter than that of the installation; tenants that are deleted, and then purged.
-- squawk-ignore-file require-concurrent-index-creation

set local role flowgres_owner;

create table flowgres.retentions (
  tenant_id uuid not null,
  workflow_id uuid not null default '00000000-0000-0000-0000-000000000000',
  keep_seconds double precision not null,
  next_at timestamptz not null,
  last_id uuid,
  constraint retentions_pkey primary key (tenant_id, workflow_id),
  constraint retentions_keep_something check (keep_seconds >= 0)
);
comment on table flowgres.retentions is $$Whose executions are deleted before their period of history is dropped, and how far the search for them has come$$;
comment on column flowgres.retentions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.retentions.workflow_id is $$The workflow; all zeros for all executions of the tenant$$;
comment on column flowgres.retentions.keep_seconds is $$How long an execution is kept after its end$$;
comment on column flowgres.retentions.next_at is $$When to look again$$;
comment on column flowgres.retentions.last_id is $$Execution looked at last; null: from the beginning$$;
create index retentions_next_idx on flowgres.retentions (next_at);

-- Overrides that tenants have already.
insert into flowgres.retentions (tenant_id, keep_seconds, next_at)
select s.tenant_id, (s.value #>> '{}')::double precision * 86400, now()
from flowgres.settings as s
where s.name = 'log_retention_days' and s.tenant_id <> '00000000-0000-0000-0000-000000000000'
  and jsonb_typeof(s.value) = 'number';

alter table flowgres.tenants
add column deleted_at timestamptz,
add column deleted_by text;
comment on column flowgres.tenants.deleted_at is $$When it was deleted: nothing of it starts or answers, and it may be purged; null: it is not$$;
comment on column flowgres.tenants.deleted_by is $$Who deleted it$$;

create table flowgres.tenant_purges (
  tenant_id uuid not null,
  step text not null default 'waiting',
  barrier text[],
  deleted_count bigint not null default 0,
  reason text,
  started_at timestamptz not null,
  started_by text not null,
  constraint tenant_purges_pkey primary key (tenant_id),
  constraint tenant_purges_step_is_known check (step in ('waiting', 'cancelling', 'deleting', 'closing'))
);
comment on table flowgres.tenant_purges is $$Purges that have begun: how far each is. The last call of a purge deletes its row$$;
comment on column flowgres.tenant_purges.tenant_id is $$The tenant that goes$$;
comment on column flowgres.tenant_purges.step is $$waiting for transactions that began before, cancelling, deleting, or closing$$;
comment on column flowgres.tenant_purges.barrier is $$Transactions that may still write something of the tenant; null: they were not looked for yet$$;
comment on column flowgres.tenant_purges.deleted_count is $$How many executions, and rows of other tables, are gone$$;
comment on column flowgres.tenant_purges.reason is $$Why, as who began it said$$;
comment on column flowgres.tenant_purges.started_at is $$When it began$$;
comment on column flowgres.tenant_purges.started_by is $$Who began it$$;
