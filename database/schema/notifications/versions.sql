-- What sends a notification: a workflow that each tenant has for it and nobody sees, with a version for each url and secret.

set local role flowgres_owner;

create or replace function flowgres.notification_definition(p_url text, p_secret_name text)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_build_object(
    'name', 'notification',
    -- Waiting for the next attempt is active time.
    'settings', jsonb_build_object('timeout', 2592000, 'priority', 9),
    'steps', jsonb_build_array(jsonb_build_object(
      'id', 'deliver', 'type', 'http', 'depends_on', '[]'::jsonb, 'timeout', 15,
      'config', jsonb_build_object(
        'method', 'POST', 'url', p_url, 'body', '{{ input.message }}', 'follow_redirects', false, 'response', 'text',
        'sign', jsonb_build_object('secret', format('{{ secrets.%s }}', p_secret_name), 'id', '{{ input.id }}')),
      -- What it answers is not ours to keep.
      'output', jsonb_build_object('status', '{{ response.status }}', 'duration_ms', '{{ response.duration_ms }}'),
      -- 5 s, 40 s, 5 min, 43 min, 6 h, and then every 10 h; each a random part of it.
      'retry', jsonb_build_object(
        'attempts', 12, 'delay', 5, 'factor', 8, 'max_delay', 36000, 'jitter', true,
        -- All but 410: who answers that wants no more.
        'errors', '["timeout", "connect", "tls", "1xx", "3xx", "5xx"]'::jsonb
        || (select jsonb_agg(s.status::text order by s.status) from generate_series(400, 499) as s (status) where s.status <> 410)))));
$$;
comment on function flowgres.notification_definition(text, text) is $$The definition of a delivery, in canonical form: one signed request, tried again for about two days.$$;

create or replace function flowgres.notification_version(p_tenant_id uuid, p_url text, p_secret_name text)
  returns uuid language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_id uuid := flowgres.hidden_id(p_tenant_id);
  v_definition jsonb := flowgres.notification_definition(p_url => p_url, p_secret_name => p_secret_name);
  v_workflow flowgres.workflows;
  v_written record;
begin
  -- Deleted before anything was: its name is nobody's, and no list has it.
  insert into flowgres.workflows (tenant_id, id, name, kind, status, created_by, created_at, updated_at, deleted_at)
  values (p_tenant_id, v_id, 'notification', 'dag', 'archived', 'engine', v_now, v_now, '-infinity')
  on conflict (tenant_id, id) do nothing;
  select w.* into strict v_workflow
  from flowgres.workflows as w where w.tenant_id = p_tenant_id and w.id = v_id
  for no key update;
  select * into v_written
  from flowgres.write_version(p_workflow => v_workflow, p_source => v_definition, p_definition => v_definition, p_state => 'ready');
  return (v_written.version).id;
end;
$$;
comment on function flowgres.notification_version(uuid, text, text) is $$The version that sends to this url with this secret; made if there is none

Locks the workflow of the deliveries, after that of the author.$$;
