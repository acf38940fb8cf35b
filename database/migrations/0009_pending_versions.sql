-- Versions that are to become active once a runner has confirmed them.

set local role flowgres_owner;

alter table flowgres.workflows add column pending_versions integer[] not null default '{}';
comment on column flowgres.workflows.pending_versions is $$Versions to activate when a runner has confirmed them, in the order in which that was asked for

A version whose expressions are unchecked never takes the place of an active one. Whatever else is decided about the
workflow in the meantime (another version, deactivate, archive, delete) empties the list.$$;
