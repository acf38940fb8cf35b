-- Limits and switches: defaults of the installation, overrides of tenants.

set local role flowgres_owner;

insert into flowgres.settings (name, value, description) values
  ('protocol', '1', 'Number that runners and this database must agree on; raised by breaking migrations'),
  ('self_registration_enabled', 'false', 'Whether anyone may register a tenant'),
  ('max_steps_per_workflow', '50', 'Steps of one workflow'),
  ('max_definition_bytes', '1048576', 'Size of one definition'),
  ('max_payload_bytes', '1048576', 'Size of one input'),
  ('max_output_bytes', '1048576', 'Size of one output'),
  ('max_json_depth', '64', 'Depth of stored JSON'),
  ('max_sub_workflow_depth', '3', 'Nesting of sub-workflows; the root is level 0'),
  ('max_bulk_starts', '10000', 'Inputs of one start_executions'),
  ('execution_timeout_seconds', '300', 'Active time of an execution whose definition names none'),
  ('http_step_timeout_seconds', '30', 'Time of one attempt of a step that names none'),
  ('max_delay_seconds', '31536000', 'Longest delay of a step'),
  ('lease_seconds', '10', 'A runner not seen for this long loses what it claimed'),
  ('heartbeat_seconds', '2', 'How often a runner shows that it lives'),
  ('poll_seconds', '1', 'How often an idle runner looks for work without being told'),
  ('history_period_days', '7', 'Span of one history partition'),
  ('history_ahead_count', '4', 'History partitions created ahead'),
  ('log_retention_days', '30', 'How long finished executions are kept'),
  ('delivery_retention_days', '7', 'How long webhook deliveries are kept'),
  ('idempotency_key_days', '30', 'How long the key of a start is kept'),
  ('rate_limit_per_minute', '60000', 'Starts of one tenant in a minute'),
  ('max_signals', '10000', 'Signals of one tenant that no step has taken'),
  ('notify_mode', '"send"', 'What notify steps do: send, or log, which writes a line and sends nothing'),
  ('llm_mode', '"call"', 'What llm steps do: call a model, or stub, which answers without one'),
  ('llm_prices', '{}', 'What models cost, by name: {input, output, currency}, per million tokens'),
  ('sql_functions_checked', 'true', 'Whether an import looks for the functions of sql steps; flowgres test has none'),
  ('cron_timezone', '"UTC"', 'Time zone of cron triggers that name none, from when they are activated'),
  ('environment', '"development"', 'Which environment this database is: a runner of another one refuses to work')
on conflict (tenant_id, name) do nothing;

create or replace function flowgres.setting(p_tenant_id uuid, p_name text)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select s.value
    from flowgres.settings as s
    where s.name = p_name and s.tenant_id in (p_tenant_id, '00000000-0000-0000-0000-000000000000')
    order by s.tenant_id desc
    limit 1);
end;
$$;
comment on function flowgres.setting(uuid, text) is $$The value of a setting for a tenant: its own, else the installation's.$$;

create or replace function flowgres.check_setting(p_name text, p_value jsonb)
  returns void language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
declare
  v_words text[] := case p_name when 'notify_mode' then array['send', 'log'] when 'llm_mode' then array['call', 'stub'] end;
begin
  if v_words is not null and p_value #>> '{}' <> all(v_words) then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => format('%s is %s', p_name, array_to_string(v_words, ' or ')),
      p_details => 'value');
  end if;
  if p_name = 'llm_prices' and (
    length(p_value::text) > 65536
    or jsonb_path_exists(p_value, '$.* ? (!(
        @.input.type() == "number" && @.output.type() == "number" && @.input >= 0 && @.output >= 0)
        || exists(@.currency ? (@.type() != "string")))'))
  then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_details => 'value',
      p_message => 'a price is {input, output}, numbers per million tokens, and perhaps currency',
      p_hint => '{"m1": {"input": 3, "output": 15, "currency": "USD"}}');
  end if;
end;
$$;
comment on function flowgres.check_setting(text, jsonb) is $$Refuse a value of a setting that is of the right kind and still none of its values

What a setting may be besides its kind (text, number, object) is said here, but for time zones.$$;

create or replace function flowgres.check_room(p_tenant_id uuid, p_things text, p_count bigint, p_added bigint, p_remedy text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_most integer := (flowgres.setting(p_tenant_id, 'max_' || p_things))::integer;
begin
  if p_count + p_added > v_most then
    perform flowgres.fail(
      p_status => 409, p_code => 'too_many_' || p_things,
      p_message => format('%s %s and %s more are more than the %s of one tenant', p_count, p_things, p_added, v_most),
      p_hint => format('%s, or ask an operator to raise max_%s.', p_remedy, p_things));
  end if;
end;
$$;
comment on function flowgres.check_room(uuid, text, bigint, bigint, text) is $$Refuse p_added more of something than a tenant may have, which is the setting max_<p_things>

p_things is their name in the plural, as in schedules; p_count how many there are; p_remedy what makes room, as the beginning of a sentence.$$;

create or replace function flowgres.seed_settings(p_settings jsonb)
  returns integer language sql set search_path to pg_catalog, pg_temp
as $$
  with seeded as (
    insert into flowgres.settings (name, value)
    select e.key, e.value from jsonb_each(p_settings) as e
    on conflict (tenant_id, name) do update set value = excluded.value, updated_at = clock_timestamp()
    returning 1
  )
  select count(*)::integer from seeded;
$$;
comment on function flowgres.seed_settings(jsonb) is $$Set the installation's defaults, as the installer does from its environment.$$;

create or replace function flowgres.tenant_settings()
  returns text[] language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select array[
    'max_steps_per_workflow', 'max_definition_bytes', 'max_payload_bytes', 'max_output_bytes', 'max_json_depth',
    'max_sub_workflow_depth', 'max_bulk_starts', 'execution_timeout_seconds', 'http_step_timeout_seconds',
    'max_delay_seconds', 'log_retention_days', 'delivery_retention_days', 'idempotency_key_days',
    'rate_limit_per_minute', 'api_key_grace_seconds', 'max_schedules', 'cron_timezone', 'max_subscriptions',
    'max_event_subscribers', 'max_event_hops', 'max_webhooks', 'max_notifications', 'max_signals', 'notify_mode',
    'llm_mode', 'llm_prices'
  ];
$$;
comment on function flowgres.tenant_settings() is $$Settings that hold for a tenant

A tenant sees the installation's values of these alone (policy tenant_select), and its administrator may change them: what limits it,
only to something lower.$$;
