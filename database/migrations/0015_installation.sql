-- Where this installation lives: a copy of the database carries the row along, and is found out by it.

set local role flowgres_owner;

create table flowgres.installation (
  tenant_id uuid not null default '00000000-0000-0000-0000-000000000000',
  id uuid not null default gen_random_uuid(),
  place text not null,
  settled_at timestamptz not null default clock_timestamp(),
  settled_by text not null,
  constraint installation_pkey primary key (tenant_id)
);
comment on table flowgres.installation is $$The installation itself, in one row: who it is, and where it was made or adopted

In a copy of the database the place is another one: runners are refused there until an operator adopts it.$$;
comment on column flowgres.installation.tenant_id is $$The system tenant$$;
comment on column flowgres.installation.id is $$Identifier of the installation; a copy that is adopted gets one of its own$$;
comment on column flowgres.installation.place is $$Server, database and table in which it lives, see flowgres.place()$$;
comment on column flowgres.installation.settled_at is $$When it was installed or adopted there$$;
comment on column flowgres.installation.settled_by is $$Login that installed or adopted it$$;
