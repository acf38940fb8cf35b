-- Nobody waits in a circle: who signed off is known, and what is left for a sweep to do is noted without looking for a twin.
--
-- Both tables are the engine's own, and nearly always empty.
-- squawk-ignore-file adding-required-field, ban-drop-constraint, constraint-missing-not-valid, require-concurrent-index-creation
-- squawk-ignore-file adding-serial-primary-key-field, disallowed-unique-constraint, adding-not-nullable-field, adding-field-with-default

set local role flowgres_owner;

alter table flowgres.runners add column is_signed_off boolean not null default false;
comment on column flowgres.runners.is_signed_off is $$Whether it said itself that it ends: its leases are given back, not lost$$;

-- An insert into a unique index waits for whoever has inserted the same and not committed. Claims insert here and hold rows of the
-- queue, which the other may be waiting for. So there may be twins; the second one finds nothing left to do.
alter table flowgres.cancellations
drop constraint cancellations_pkey,
add column id bigint generated always as identity,
add constraint cancellations_pkey primary key (tenant_id, id);
comment on column flowgres.cancellations.id is $$Number of the note; there may be several of one execution$$;
create index cancellations_execution_idx on flowgres.cancellations (tenant_id, execution_id);
create index cancellations_requested_idx on flowgres.cancellations (requested_at);

alter table flowgres.pending_wakes
drop constraint pending_wakes_pkey,
add column id bigint generated always as identity,
add constraint pending_wakes_pkey primary key (tenant_id, id);
comment on column flowgres.pending_wakes.id is $$Number of the note; there may be several of one execution$$;
create index pending_wakes_execution_idx on flowgres.pending_wakes (tenant_id, execution_id);
create index pending_wakes_requested_idx on flowgres.pending_wakes (requested_at);

-- The check of a version takes time, and one runner is enough for it.
alter table flowgres.workflow_versions add column check_until timestamptz;
comment on column flowgres.workflow_versions.check_until is $$Until when a runner has taken the check of this version upon itself$$;
