-- The time of a state may tell of an event instead of moving the instance on.

set local role flowgres_owner;

alter table flowgres.machine_states add column sla_event text;
comment on column flowgres.machine_states.sla_event is $$The event that is told after that time, where it leads to no state$$;

alter table flowgres.machine_states
drop constraint machine_states_final_has_no_sla,
drop constraint machine_states_sla_is_whole;
alter table flowgres.machine_states
add constraint machine_states_final_has_no_sla check (not is_final or sla_seconds is null) not valid,
add constraint machine_states_sla_is_whole check (num_nonnulls(sla_to, sla_event) = num_nonnulls(sla_seconds)) not valid;
alter table flowgres.machine_states validate constraint machine_states_final_has_no_sla;
alter table flowgres.machine_states validate constraint machine_states_sla_is_whole;

comment on column flowgres.instance_history.transition_name is $$Its name; null at the start, migrated of a migration, sla where the time of a state told of an event$$;
comment on column flowgres.instances.due_at is $$When the sla of the state that it is in moves it on or tells of it; null when that has none, when it has told, or when it was refused$$;

-- Each tenant has its turn, however many of another one are late. Partial, and of a table that is new: it is built in a moment.
-- squawk-ignore require-concurrent-index-creation
create index instances_late_idx on flowgres.instances (tenant_id, due_at) where due_at is not null;
