-- Columns of private tables, for those who read them in psql or pgAdmin: the ledgers and the clock.
--
-- Those that a migration explains are not repeated.

set local role flowgres_owner;

comment on column flowgres.migrations.tenant_id is $$The system tenant, all zeros$$;
comment on column flowgres.migrations.number is $$Place in the order of application, from 1$$;
comment on column flowgres.migrations.name is $$Name of the file$$;
comment on column flowgres.migrations.checksum is $$SHA-256 of its text: a file that was edited later is refused$$;
comment on column flowgres.migrations.applied_at is $$When it was applied$$;

comment on column flowgres.schema_files.tenant_id is $$The system tenant, all zeros$$;
comment on column flowgres.schema_files.name is $$Name of the file with its folder$$;
comment on column flowgres.schema_files.fingerprint is $$SHA-256 of the text last applied: another text is applied again$$;
comment on column flowgres.schema_files.applied_at is $$When it was last applied$$;

comment on column flowgres.clock.tenant_id is $$The system tenant, all zeros$$;
comment on column flowgres.clock.shift is $$What is added to the server's time$$;

comment on view flowgres.right_differences is $$Owners and rights that are not as they should be

No row when all is well; repair mends a row. A row without one says what access/grants.sql should say.$$;
comment on column flowgres.right_differences.object is $$What it is about$$;
comment on column flowgres.right_differences.problem is $$What is wrong with it$$;
comment on column flowgres.right_differences.actor is $$Role that mends it; null is the login itself$$;
comment on column flowgres.right_differences.repair is $$Statement that mends it; null when only a change of the file can$$;
