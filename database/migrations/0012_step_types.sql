-- Step types that packages bring may take secrets, where they say so.

set local role flowgres_owner;

alter table flowgres.step_types add column secret_places text[] not null default '{}';
comment on column flowgres.step_types.secret_places is $$Keys of its configuration that secrets may be named below$$;
