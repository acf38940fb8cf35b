-- Whether webhook triggers are sound: paths, and how their input is made.

set local role flowgres_owner;

create or replace function flowgres.is_payload_path(p_value jsonb)
  returns boolean language sql immutable parallel safe
as $$ select jsonb_typeof(p_value) = 'string' and starts_with(p_value #>> '{}', '$'); $$;
comment on function flowgres.is_payload_path(jsonb) is $$Whether a member of a webhook's input is a jsonpath on the payload; anything else stands for itself.$$;

create or replace function flowgres.check_webhook_triggers(p_definition jsonb, p_found jsonb[])
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_trigger record;
  v_errors jsonb[] := '{}';
begin
  for v_trigger in
    select format('triggers[%s]', t.place - 1) as path, t.value -> 'path' as own, t.value -> 'input' as input,
      row_number() over (partition by t.value -> 'path' order by t.place) as turn
    from jsonb_array_elements(
      case when jsonb_typeof(p_definition -> 'triggers') = 'array' then p_definition -> 'triggers' else '[]' end
    ) with ordinality as t (value, place)
    where jsonb_typeof(t.value) = 'object' and t.value -> 'type' = '"webhook"'
    order by t.place
    limit 100
  loop
    if jsonb_typeof(v_trigger.own) = 'string' and v_trigger.turn > 1 then
      v_errors := v_errors || flowgres.problem(
        p_path => v_trigger.path || '.path', p_code => 'duplicate_path', p_message => 'another webhook has this path already',
        p_hint => 'Choose another one.');
    end if;
    v_errors := v_errors || flowgres.check_payload_paths(p_path => v_trigger.path || '.input', p_input => v_trigger.input, p_found => p_found);
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_webhook_triggers(jsonb, jsonb[]) is $$Paths that are there twice, and inputs that PostgreSQL takes for no jsonpath, of those in which nothing else was found.$$;

create or replace function flowgres.check_payload_paths(p_path text, p_input jsonb, p_found jsonb[])
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_member record;
  v_errors jsonb[] := '{}';
begin
  for v_member in
    select p_path as path, p_input as value where jsonb_typeof(p_input) = 'string'
    union all
    select flowgres.join_path(p_path, m.key), m.value
    from jsonb_each(case when jsonb_typeof(p_input) = 'object' then p_input else '{}' end) as m
    limit 200
  loop
    continue when not flowgres.is_payload_path(v_member.value)
      or exists (select from unnest(p_found) as f where f ->> 'path' = v_member.path);
    begin
      perform (v_member.value #>> '{}')::jsonpath;
    exception when syntax_error or invalid_text_representation or numeric_value_out_of_range then
      v_errors := v_errors || flowgres.problem(
        p_path => v_member.path, p_code => 'jsonpath_invalid', p_message => 'this is no jsonpath',
        p_hint => 'Write a jsonpath on the payload, such as $.order.id.');
    end;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_payload_paths(text, jsonb, jsonb[]) is $$Members of a webhook's input that PostgreSQL takes for no jsonpath.$$;

create or replace function flowgres.warn_of_webhook_secrets(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select flowgres.problem(
      p_path => format('triggers[%s].secret', t.place), p_code => 'secret_not_found',
      p_message => format('the secret "%s" is not stored yet: until then every delivery is refused', left(t.secret_name, 60)),
      p_hint => format('PUT /secrets/%s', left(t.secret_name, 60)))
    from flowgres.list_webhook_triggers(p_definition) as t
    where t.scheme <> 'none'
      and not exists (select from flowgres.secrets as s where s.tenant_id = p_tenant_id and s.name = t.secret_name)
    order by t.place);
$$;
comment on function flowgres.warn_of_webhook_secrets(uuid, jsonb) is $$Webhooks whose secret is not stored yet.$$;
