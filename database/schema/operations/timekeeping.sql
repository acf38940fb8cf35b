-- What must happen because time has passed. Called by every runner about once a second; each call is bounded.

set local role flowgres_engine;

create or replace function flowgres.prune_expired(p_table regclass, p_limit integer, p_now timestamptz)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_count integer;
begin
  execute format(
    'delete from %1$s where ctid = any(array('
    ' select d.ctid from %1$s as d where d.expires_at <= $1 order by d.expires_at limit $2 for update skip locked))', p_table)
  using p_now, p_limit;
  get diagnostics v_count = row_count;
  return v_count;
end;
$$;
comment on function flowgres.prune_expired(regclass, integer, timestamptz) is $$Delete rows of a table whose expires_at has come, the oldest first, past those that others hold; returns how many

The table has an index on expires_at.$$;

create or replace function flowgres.prune(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_tables constant regclass[] := array[
    'flowgres.idempotency_keys', 'flowgres.schedule_slots', 'flowgres.event_keys', 'flowgres.webhook_keys',
    'flowgres.webhook_rejections', 'flowgres.signals', 'flowgres.trace_exports', 'flowgres.trace_ends', 'flowgres.approvals'
  ];
  v_now timestamptz := flowgres.now();
  v_table regclass;
  v_most integer := 0;
begin
  foreach v_table in array c_tables loop
    v_most := greatest(v_most, flowgres.prune_expired(p_table => v_table, p_limit => p_limit, p_now => v_now));
  end loop;
  perform flowgres.forget_runners(p_before => v_now - interval '7 days');
  return greatest(
    v_most, flowgres.prune_starts(p_limit => p_limit, p_now => v_now), flowgres.prune_streams(p_limit => 10 * p_limit),
    flowgres.prune_slots(p_limit => p_limit));
end;
$$;
comment on function flowgres.prune(integer) is $$Delete what has expired, a bounded number of each; returns how many of what was most

Keys of starts, events and deliveries, signals, counts of starts, slots of schedules, changes told to streams, ends for traces, approvals that have ended;
places of limits that nobody has any more; and runners long gone.$$;

create or replace function flowgres.get_secrets(p_tenant_id uuid, p_names text[])
  returns table (name text, key_id text, nonce bytea, ciphertext bytea) language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  select s.name, s.key_id, s.nonce, s.ciphertext
  from flowgres.secrets as s
  where s.tenant_id = p_tenant_id and s.name = any(p_names);
$$;
comment on function flowgres.get_secrets(uuid, text[]) is $$Encrypted secrets of a tenant, for the runner that has the key.$$;
