-- Columns of private tables, for those who read them in psql or pgAdmin: tenants, settings, keys, secrets and the audit.
--
-- Those that a migration explains are not repeated.

set local role flowgres_owner;

comment on column flowgres.tenants.tenant_id is $$Identifier; part of every key of every other table$$;
comment on column flowgres.tenants.slug is $$Short name, by which operators choose it$$;
comment on column flowgres.tenants.name is $$Display name$$;
comment on column flowgres.tenants.status is $$active, paused or suspended; nobody is authenticated for a suspended one$$;
comment on column flowgres.tenants.created_at is $$When it was registered$$;
comment on column flowgres.tenants.updated_at is $$When it last changed$$;

comment on column flowgres.tenant_logins.tenant_id is $$The tenant that the login works for$$;
comment on column flowgres.tenant_logins.login_name is $$Name of the database role that logs in$$;
comment on column flowgres.tenant_logins.created_at is $$When it was mapped$$;

comment on column flowgres.settings.tenant_id is $$The tenant that overrides; the system tenant, all zeros, for the installation$$;
comment on column flowgres.settings.name is $$Name of the setting$$;
comment on column flowgres.settings.value is $$Its value; an override has the type of the installation's$$;
comment on column flowgres.settings.description is $$What it limits or switches; on rows of the installation$$;
comment on column flowgres.settings.updated_at is $$When it was last set$$;

comment on column flowgres.api_keys.tenant_id is $$The tenant that the key speaks for; the key carries it$$;
comment on column flowgres.api_keys.prefix is $$First 8 digits of the random part: what the key is called by$$;
comment on column flowgres.api_keys.name is $$What it is for$$;
comment on column flowgres.api_keys.key_hash is $$SHA-256 of the whole key$$;
comment on column flowgres.api_keys.role is $$viewer, member or admin$$;
comment on column flowgres.api_keys.roles is $$Business roles, for decisions$$;
comment on column flowgres.api_keys.created_by is $$Who made it$$;
comment on column flowgres.api_keys.created_at is $$When it was made$$;
comment on column flowgres.api_keys.expires_at is $$When it stops working; null is never$$;
comment on column flowgres.api_keys.revoked_at is $$When it was revoked$$;

comment on column flowgres.secrets.tenant_id is $$Tenant that owns it; part of what is authenticated with the value$$;
comment on column flowgres.secrets.name is $$Name by which configurations refer to it$$;
comment on column flowgres.secrets.key_id is $$Which key of the runners encrypted it: tells old ones apart during a rotation$$;
comment on column flowgres.secrets.nonce is $$Nonce of the encryption, new for each value$$;
comment on column flowgres.secrets.ciphertext is $$The encrypted value, with its authentication tag$$;
comment on column flowgres.secrets.created_at is $$When it was first stored$$;
comment on column flowgres.secrets.updated_at is $$When its value was last replaced$$;
comment on column flowgres.secrets.updated_by is $$Who stored the value$$;

comment on column flowgres.audit_log.tenant_id is $$Tenant that it happened to; the system tenant, all zeros, for the installation$$;
comment on column flowgres.audit_log.id is $$Identifier, a UUID v7: sorting by it sorts by age$$;
comment on column flowgres.audit_log.at is $$When it was done$$;
comment on column flowgres.audit_log.actor is $$Who was authenticated: the token's subject, key:<prefix> or login:<name>$$;
comment on column flowgres.audit_log.action is $$What was done, such as api_key_created$$;
comment on column flowgres.audit_log.subject is $$What it was done to$$;
comment on column flowgres.audit_log.details is $$More about it; never a key or a secret$$;
