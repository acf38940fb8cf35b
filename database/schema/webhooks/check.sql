-- Whether webhook triggers are sound: their paths, and the secrets that they name.

set local role flowgres_owner;

create or replace function flowgres.check_webhook_triggers(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_trigger record;
  v_errors jsonb[] := '{}';
begin
  for v_trigger in
    select format('triggers[%s]', t.place - 1) as path, t.value -> 'path' as own,
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
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_webhook_triggers(jsonb) is $$Paths of webhooks that are there twice.$$;

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
