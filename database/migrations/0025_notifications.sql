-- Notifications: webhooks that tell a receiver how executions end.

set local role flowgres_owner;

create table flowgres.notifications (
  tenant_id uuid not null,
  id uuid not null,
  name text,
  workflow_id uuid,
  place smallint,
  version_id uuid not null,
  url text not null,
  secret_name text not null,
  events text[] not null,
  failed_count integer not null default 0,
  disabled_at timestamptz,
  disabled_reason text,
  created_by text,
  created_at timestamptz not null,
  updated_at timestamptz not null,
  constraint notifications_pkey primary key (tenant_id, id),
  constraint notifications_workflow_fkey foreign key (tenant_id, workflow_id) references flowgres.workflows (tenant_id, id),
  constraint notifications_name_key unique (tenant_id, name),
  constraint notifications_place_key unique (tenant_id, workflow_id, place),
  constraint notifications_name_is_identifier check (name ~ '^[a-z][a-z0-9_-]{0,62}$'),
  constraint notifications_has_name_or_place check ((name is null) = (place is not null)),
  constraint notifications_place_is_of_a_workflow check (place is null or workflow_id is not null),
  constraint notifications_events_are_some check (cardinality(events) > 0),
  constraint notifications_disabled_has_reason check ((disabled_at is null) = (disabled_reason is null))
);
comment on table flowgres.notifications is $$Who is told how executions end: a tenant's own by name, a workflow's by their place in its definition

Each is told by executions that nobody sees but as deliveries: of the version version_id, of the workflow that its tenant has for it.$$;
comment on column flowgres.notifications.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.notifications.id is $$Identifier$$;
comment on column flowgres.notifications.name is $$Its name; null for one that stands in a definition$$;
comment on column flowgres.notifications.workflow_id is $$The workflow whose executions it tells of; null for all$$;
comment on column flowgres.notifications.place is $$Which one of settings.notify of the active version it is, from 0$$;
comment on column flowgres.notifications.version_id is $$The version whose executions are its deliveries: it holds url and secret$$;
comment on column flowgres.notifications.url is $$Where it is sent$$;
comment on column flowgres.notifications.secret_name is $$Name of the secret that it is signed with$$;
comment on column flowgres.notifications.events is $$What it tells of: completed, failed, cancelled$$;
comment on column flowgres.notifications.failed_count is $$How many deliveries in a row were given up$$;
comment on column flowgres.notifications.disabled_at is $$Since when nothing is sent any more$$;
comment on column flowgres.notifications.disabled_reason is $$Why: gone (it answered 410) or failing$$;
comment on column flowgres.notifications.created_by is $$Who made it$$;
comment on column flowgres.notifications.created_at is $$When it was made$$;
comment on column flowgres.notifications.updated_at is $$When it last changed$$;
