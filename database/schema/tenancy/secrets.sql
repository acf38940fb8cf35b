-- Secrets: stored as the front encrypted them, read by runners (get_secrets), never decrypted here.

set local role flowgres_definer;

create or replace function flowgres.put_secret(
  p_name text, p_key_id text, p_nonce bytea, p_ciphertext bytea, p_allow_short boolean default false
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_is_new boolean;
begin
  if p_name is null or p_name !~ '^[A-Za-z][A-Za-z0-9_]{0,62}$' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => format('%L is no name for a secret', left(p_name, 100)),
      p_details => 'name', p_hint => 'Letters, digits and underscores, a letter first, at most 63.');
  end if;
  if coalesce(length(p_nonce), 0) <> 12 or coalesce(length(p_ciphertext), 0) < 16 or coalesce(p_key_id, '') = '' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'a secret is stored encrypted: AES-256-GCM, nonce of 12 bytes',
      p_hint => 'PUT /secrets/NAME at the front encrypts it.');
  end if;
  if length(p_ciphertext) < 8 + 16 and not coalesce(p_allow_short, false) then
    perform flowgres.fail(
      p_status => 422, p_code => 'secret_too_short',
      p_message => 'a secret has at least 8 characters: a shorter one cannot be masked',
      p_hint => 'Is it one? p_allow_short takes it, and it is masked nowhere.');
  end if;
  if length(p_ciphertext) > 65536 + 16 then
    perform flowgres.fail(
      p_status => 413, p_code => 'payload_too_large', p_message => 'a secret has at most 65536 bytes');
  end if;
  insert into flowgres.secrets as s (tenant_id, name, key_id, nonce, ciphertext, created_at, updated_at, updated_by)
  values (v_tenant_id, p_name, p_key_id, p_nonce, p_ciphertext, v_now, v_now, flowgres.actor())
  on conflict (tenant_id, name) do update
  set
    key_id = excluded.key_id, nonce = excluded.nonce, ciphertext = excluded.ciphertext, updated_at = excluded.updated_at,
    updated_by = excluded.updated_by
  -- A row that this statement inserted has no deleter.
  returning s.xmax = 0 into v_is_new;
  perform flowgres.record_audit(p_action => 'secret_stored', p_subject => p_name);
  return jsonb_build_object('name', p_name, 'created', v_is_new, 'updated_at', v_now);
end;
$$;
comment on function flowgres.put_secret(text, text, bytea, bytea, boolean) is $$Store or replace a secret of the caller's tenant

The front encrypts: AES-256-GCM with tenant and name as associated data, so that a row moved elsewhere does not open.
One of less than 8 bytes is taken with p_allow_short alone: it would be found by accident in what has nothing to do with it, so
nothing is masked for its sake.$$;

create or replace function flowgres.delete_secret(p_name text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
begin
  delete from flowgres.secrets as s where s.tenant_id = v_tenant_id and s.name = p_name;
  if not found then
    perform flowgres.fail(
      p_status => 404, p_code => 'secret_not_found', p_message => format('secret %L does not exist', left(p_name, 100)),
      p_hint => 'List /secrets.');
  end if;
  perform flowgres.record_audit(p_action => 'secret_deleted', p_subject => p_name);
  return jsonb_build_object('name', p_name, 'deleted', true);
end;
$$;
comment on function flowgres.delete_secret(text) is $$Delete a secret of the caller's tenant.$$;
