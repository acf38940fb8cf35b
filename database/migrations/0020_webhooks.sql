-- Webhooks: addresses that start executions, and every delivery that came to them.

set local role flowgres_owner;

create table flowgres.webhooks (
  tenant_id uuid not null,
  id uuid not null,
  workflow_id uuid not null,
  place smallint not null,
  path text,
  token text not null,
  token_hash bytea not null,
  scheme text not null,
  defined_secret_name text,
  secret_name text,
  previous_secret_name text,
  previous_until timestamptz,
  input jsonb,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint webhooks_pkey primary key (tenant_id, id),
  constraint webhooks_workflow_fkey foreign key (tenant_id, workflow_id) references flowgres.workflows (tenant_id, id),
  constraint webhooks_scheme_is_known check (scheme in ('github', 'standard', 'stripe', 'slack', 'token', 'none')),
  constraint webhooks_only_none_has_no_secret check ((scheme = 'none') = (secret_name is null)),
  constraint webhooks_previous_secret_ends check ((previous_secret_name is null) = (previous_until is null)),
  constraint webhooks_token_is_long check (token ~ '^wh_[A-Za-z0-9_-]{32,}$')
);
comment on table flowgres.webhooks is $$Webhook triggers of active versions, each with its address

They follow the workflow: another version changes them and keeps their addresses; a deleted workflow has none.$$;
comment on column flowgres.webhooks.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.webhooks.id is $$Identifier; it stays when the trigger is changed$$;
comment on column flowgres.webhooks.workflow_id is $$The workflow that it starts$$;
comment on column flowgres.webhooks.place is $$Which of the triggers of the definition it is, from 0$$;
comment on column flowgres.webhooks.path is $$The last part of its address below the tenant's, as the author chose it; null when there is none$$;
comment on column flowgres.webhooks.token is $$The random address: whoever has it may send, where nothing else is asked$$;
comment on column flowgres.webhooks.token_hash is $$SHA-256 of the token, by which it is found$$;
comment on column flowgres.webhooks.scheme is $$How deliveries are signed: github, standard, stripe, slack, token or none$$;
comment on column flowgres.webhooks.defined_secret_name is $$The secret that the definition names$$;
comment on column flowgres.webhooks.secret_name is $$The secret that deliveries are checked with: that of the definition, or of a rotation since$$;
comment on column flowgres.webhooks.previous_secret_name is $$The secret of before the last rotation; good as well until previous_until$$;
comment on column flowgres.webhooks.previous_until is $$Until when the previous secret is good$$;
comment on column flowgres.webhooks.input is $$How the input is made of the payload; null is what the payload has of the declared inputs$$;
comment on column flowgres.webhooks.created_at is $$When it was first active$$;
comment on column flowgres.webhooks.updated_at is $$When it last changed$$;

create index webhooks_workflow_idx on flowgres.webhooks (tenant_id, workflow_id);
create unique index webhooks_path_idx on flowgres.webhooks (tenant_id, path) where path is not null;
-- Over all tenants: the token alone says whose it is.
create unique index webhooks_token_idx on flowgres.webhooks (token_hash);

create table flowgres.webhook_deliveries (
  tenant_id uuid not null,
  id uuid not null,
  webhook_id uuid not null,
  received_at timestamptz not null,
  outcome text not null,
  http_status smallint not null,
  reason text,
  message text,
  key text,
  execution_id uuid,
  redelivery_of uuid,
  content_type text,
  byte_count integer not null,
  trigger jsonb,
  constraint webhook_deliveries_pkey primary key (tenant_id, id),
  constraint webhook_deliveries_outcome_is_known check (outcome in ('accepted', 'duplicate', 'answered', 'failed', 'rejected')),
  constraint webhook_deliveries_only_the_proven_are_kept check (outcome <> 'rejected' or trigger is null)
) partition by range (id);
comment on table flowgres.webhook_deliveries is $$What came to webhooks, and what became of it

Kept for delivery_retention_days. What a delivery brought stands in its execution, and here when it started none.$$;
comment on column flowgres.webhook_deliveries.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.webhook_deliveries.id is $$Identifier, a UUID v7$$;
comment on column flowgres.webhook_deliveries.webhook_id is $$The webhook, which may be gone$$;
comment on column flowgres.webhook_deliveries.received_at is $$When it was judged$$;
comment on column flowgres.webhook_deliveries.outcome is $$accepted, duplicate, answered (a question of the sender's), failed (authentic, and nothing could start) or rejected$$;
comment on column flowgres.webhook_deliveries.http_status is $$The status of the answer$$;
comment on column flowgres.webhook_deliveries.reason is $$Why it was not accepted, as a code$$;
comment on column flowgres.webhook_deliveries.message is $$The same in words$$;
comment on column flowgres.webhook_deliveries.key is $$What the sender calls this delivery; the same key starts nothing again$$;
comment on column flowgres.webhook_deliveries.execution_id is $$What it started; of a duplicate, what the first one has started$$;
comment on column flowgres.webhook_deliveries.redelivery_of is $$The delivery that was delivered once more$$;
comment on column flowgres.webhook_deliveries.content_type is $$The media type that the sender gave$$;
comment on column flowgres.webhook_deliveries.byte_count is $$Bytes of the body$$;
comment on column flowgres.webhook_deliveries.trigger is $$What it brought, when it was authentic and no execution has it$$;

create index webhook_deliveries_webhook_idx on flowgres.webhook_deliveries (tenant_id, webhook_id, id);

insert into flowgres.history_families (family, retention_setting) values ('deliveries', 'delivery_retention_days');
insert into flowgres.history_tables (family, position, table_name, key_column, storage) values
('deliveries', 1, 'webhook_deliveries', 'id', 'autovacuum_freeze_min_age = 0');

create table flowgres.webhook_keys (
  tenant_id uuid not null,
  webhook_id uuid not null,
  key text not null,
  execution_id uuid not null,
  expires_at timestamptz not null,
  constraint webhook_keys_pkey primary key (tenant_id, webhook_id, key)
);
comment on table flowgres.webhook_keys is $$Deliveries that have started an execution: the key is what makes each start once

Kept as long as keys of starts are.$$;
comment on column flowgres.webhook_keys.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.webhook_keys.webhook_id is $$The webhook, which may be gone$$;
comment on column flowgres.webhook_keys.key is $$What the sender calls the delivery$$;
comment on column flowgres.webhook_keys.execution_id is $$What it started$$;
comment on column flowgres.webhook_keys.expires_at is $$When the row may be deleted$$;

create index webhook_keys_expiry_idx on flowgres.webhook_keys (expires_at);

create table flowgres.webhook_rejections (
  tenant_id uuid not null,
  webhook_id uuid not null,
  minute timestamptz not null,
  count integer not null,
  expires_at timestamptz not null,
  constraint webhook_rejections_pkey primary key (tenant_id, webhook_id, minute)
);
comment on table flowgres.webhook_rejections is $$How many deliveries a webhook has rejected in a minute: the first ones are logged, the others only counted$$;
comment on column flowgres.webhook_rejections.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.webhook_rejections.webhook_id is $$The webhook, which may be gone$$;
comment on column flowgres.webhook_rejections.minute is $$When the minute began$$;
comment on column flowgres.webhook_rejections.count is $$Rejections of that minute, logged or not$$;
comment on column flowgres.webhook_rejections.expires_at is $$When the row may be deleted$$;

create index webhook_rejections_expiry_idx on flowgres.webhook_rejections (expires_at);
