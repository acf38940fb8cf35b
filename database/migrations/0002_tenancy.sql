-- Tenants, their settings, keys and secrets, and who did what.

set local role flowgres_owner;

create table flowgres.tenants (
  tenant_id uuid not null,
  slug text not null,
  name text not null,
  status text not null default 'active',
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  constraint tenants_pkey primary key (tenant_id),
  constraint tenants_slug_key unique (slug),
  constraint tenants_slug_is_identifier check (slug ~ '^[a-z][a-z0-9_-]{0,62}$'),
  constraint tenants_name_is_short check (length(name) between 1 and 200),
  constraint tenants_status_is_known check (status in ('active', 'paused', 'suspended'))
);
comment on table flowgres.tenants is $$Isolated customers of this installation

The slug is unique across tenants: one of the few things that are.$$;

create table flowgres.tenant_logins (
  tenant_id uuid not null,
  login_name text not null,
  created_at timestamptz not null default clock_timestamp(),
  constraint tenant_logins_pkey primary key (tenant_id, login_name),
  -- One login, one tenant: across tenants on purpose.
  constraint tenant_logins_login_name_key unique (login_name),
  constraint tenant_logins_tenant_fkey foreign key (tenant_id) references flowgres.tenants (tenant_id) on delete cascade
);
comment on table flowgres.tenant_logins is $$Which tenant a database login of another service works for

A login can set its own settings, so a login that is not listed here belongs to no tenant.$$;

create table flowgres.settings (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  name text not null,
  value jsonb not null,
  description text,
  updated_at timestamptz not null default clock_timestamp(),
  constraint settings_pkey primary key (tenant_id, name)
);
comment on table flowgres.settings is $$Limits and switches

Rows of the system tenant are the defaults of the installation; a row of a tenant overrides them.$$;

create table flowgres.api_keys (
  tenant_id uuid not null,
  prefix text not null,
  name text not null,
  key_hash bytea not null,
  role text not null,
  roles text[] not null default '{}',
  created_by text,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz,
  revoked_at timestamptz,
  constraint api_keys_pkey primary key (tenant_id, prefix),
  constraint api_keys_tenant_fkey foreign key (tenant_id) references flowgres.tenants (tenant_id) on delete cascade,
  constraint api_keys_role_is_known check (role in ('viewer', 'member', 'admin')),
  constraint api_keys_name_is_short check (length(name) between 1 and 200),
  constraint api_keys_hash_is_sha256 check (length(key_hash) = 32)
);
comment on table flowgres.api_keys is $$API keys, stored as SHA-256 of 256 random bits; the key itself is shown once.$$;

create table flowgres.secrets (
  tenant_id uuid not null,
  name text not null,
  key_id text not null,
  nonce bytea not null,
  ciphertext bytea not null,
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  updated_by text,
  constraint secrets_pkey primary key (tenant_id, name),
  constraint secrets_tenant_fkey foreign key (tenant_id) references flowgres.tenants (tenant_id) on delete cascade,
  constraint secrets_name_is_identifier check (name ~ '^[A-Za-z][A-Za-z0-9_]{0,62}$')
);
comment on table flowgres.secrets is $$Secrets, encrypted with a key that is not in the database

AES-256-GCM with tenant and name as associated data; written through the front, read by runners.$$;

create table flowgres.audit_log (
  tenant_id uuid not null,
  id uuid not null,
  at timestamptz not null default clock_timestamp(),
  actor text not null,
  action text not null,
  subject text,
  details jsonb,
  constraint audit_log_pkey primary key (tenant_id, id)
);
comment on table flowgres.audit_log is $$Administrative acts: who did what, when. Rows are only ever added.$$;
