-- What clients read of their tenant and of the installation: keys and secrets without their values, runners, settings, audit.

set local role flowgres_owner;

create or replace view flowgres_api.tenants with (security_invoker = true) as
select t.tenant_id, t.slug, t.name, t.status, t.created_at, t.updated_at
from flowgres.tenants as t;

comment on view flowgres_api.tenants is $$Tenants

A caller sees its own, an operator all.$$;
comment on column flowgres_api.tenants.tenant_id is $$Identifier of the tenant$$;
comment on column flowgres_api.tenants.slug is $$Short name, unique in the installation$$;
comment on column flowgres_api.tenants.name is $$Display name$$;
comment on column flowgres_api.tenants.status is $$active, paused or suspended$$;
comment on column flowgres_api.tenants.created_at is $$When it was registered$$;
comment on column flowgres_api.tenants.updated_at is $$When it last changed$$;

create or replace view flowgres_api.secrets with (security_invoker = true) as
select s.tenant_id, s.name, s.created_at, s.updated_at, s.updated_by
from flowgres.secrets as s;

comment on view flowgres_api.secrets is $$Secrets

Names only: values are encrypted and never served. PUT /secrets/NAME at the front stores one.$$;
comment on column flowgres_api.secrets.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.secrets.name is $$Name by which configurations refer to it$$;
comment on column flowgres_api.secrets.created_at is $$When it was first stored$$;
comment on column flowgres_api.secrets.updated_at is $$When its value was last replaced$$;
comment on column flowgres_api.secrets.updated_by is $$Who stored the value$$;

create or replace view flowgres_api.api_keys with (security_invoker = true) as
select
  k.tenant_id,
  k.prefix,
  k.name,
  k.role,
  k.roles,
  case
    when k.revoked_at is not null then 'revoked'
    when k.expires_at <= (select flowgres.now()) then 'expired'
    else 'active'
  end as status,
  k.created_by,
  k.created_at,
  k.expires_at,
  k.revoked_at
from flowgres.api_keys as k;

comment on view flowgres_api.api_keys is $$API keys

For administrators. A key itself was shown once and is not stored.$$;
comment on column flowgres_api.api_keys.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.api_keys.prefix is $$First 8 digits of the key's random part; names the key in calls and as actor key:<prefix>$$;
comment on column flowgres_api.api_keys.name is $$What it is for$$;
comment on column flowgres_api.api_keys.role is $$viewer, member, admin or worker$$;
comment on column flowgres_api.api_keys.roles is $$Business roles, for decisions; of a worker its queues, as queue:<name>$$;
comment on column flowgres_api.api_keys.status is $$active, expired or revoked$$;
comment on column flowgres_api.api_keys.created_by is $$Who made it$$;
comment on column flowgres_api.api_keys.created_at is $$When it was made$$;
comment on column flowgres_api.api_keys.expires_at is $$When it stops working; null is never$$;
comment on column flowgres_api.api_keys.revoked_at is $$When it was revoked$$;

create or replace view flowgres_api.runners with (security_invoker = true) as
select
  r.tenant_id,
  r.id,
  r.name,
  r.version,
  r.capabilities,
  r.labels,
  r.concurrency,
  r.status,
  r.started_at,
  r.seen_at,
  r.drained_at,
  r.stopped_at
from flowgres.list_runners() as r;

comment on view flowgres_api.runners is $$Runners

The processes that work for this installation, alive or gone.$$;
comment on column flowgres_api.runners.tenant_id is $$Tenant that owns the row: the system tenant, as runners serve all$$;
comment on column flowgres_api.runners.id is $$Identifier, new for every process$$;
comment on column flowgres_api.runners.name is $$Name that it gave itself, its host's unless told otherwise; for tenants one made from its id$$;
comment on column flowgres_api.runners.version is $$Version of its program$$;
comment on column flowgres_api.runners.capabilities is $$What it serves: core, sql, and names of custom step types$$;
comment on column flowgres_api.runners.labels is $$Labels that it serves$$;
comment on column flowgres_api.runners.concurrency is $$Steps that it runs at once$$;
comment on column flowgres_api.runners.status is $$working, idle, draining, blocked (its claims are refused), lost (not seen for the time of a lease) or stopped$$;
comment on column flowgres_api.runners.started_at is $$When it registered$$;
comment on column flowgres_api.runners.seen_at is $$Its last heartbeat$$;
comment on column flowgres_api.runners.drained_at is $$When it was told to take no more$$;
comment on column flowgres_api.runners.stopped_at is $$When it ended$$;

create or replace view flowgres_api.settings with (security_invoker = true) as
select
  s.tenant_id,
  s.name,
  s.value,
  coalesce(s.description, d.description) as description,
  s.tenant_id <> '00000000-0000-0000-0000-000000000000' as is_override,
  s.tenant_id <> '00000000-0000-0000-0000-000000000000' or not exists (
    select from flowgres.settings as o
    where o.tenant_id = (select flowgres.tenant_id()) and o.name = s.name
  ) as is_effective,
  s.updated_at
from flowgres.settings as s
left join flowgres.settings as d
  on d.tenant_id = '00000000-0000-0000-0000-000000000000' and d.name = s.name;

comment on view flowgres_api.settings is $$Settings

The limits that hold for a tenant: the installation's rows, and the caller's own that override them. Filter is_effective=is.true.
An operator sees the switches of the installation, too.$$;
comment on column flowgres_api.settings.tenant_id is $$Tenant that owns the row; all zeros for the installation$$;
comment on column flowgres_api.settings.name is $$Name of the setting$$;
comment on column flowgres_api.settings.value is $$Its value$$;
comment on column flowgres_api.settings.description is $$What it limits or switches$$;
comment on column flowgres_api.settings.is_override is $$Whether the row is a tenant's own$$;
comment on column flowgres_api.settings.is_effective is $$Whether this row is the one that holds for the caller$$;
comment on column flowgres_api.settings.updated_at is $$When it was last set$$;

create or replace view flowgres_api.audit_log with (security_invoker = true) as
select a.tenant_id, a.id, a.at, a.actor, a.action, a.subject, a.details
from flowgres.audit_log as a;

comment on view flowgres_api.audit_log is $$Audit log

For administrators: who did which administrative act, and when. Rows are only ever added.$$;
comment on column flowgres_api.audit_log.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.audit_log.id is $$Identifier, a UUID v7: sorting by it sorts by age$$;
comment on column flowgres_api.audit_log.at is $$When it was done$$;
comment on column flowgres_api.audit_log.actor is $$Who was authenticated: the token's subject, key:<prefix> or login:<name>$$;
comment on column flowgres_api.audit_log.action is $$What was done, such as api_key_created$$;
comment on column flowgres_api.audit_log.subject is $$What it was done to$$;
comment on column flowgres_api.audit_log.details is $$More about it; never a key or a secret$$;
