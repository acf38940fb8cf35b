-- What an import says of the limits that steps name.

set local role flowgres_owner;

create or replace function flowgres.check_limits(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if not p_definition @? '$.steps[*].limit' and not p_definition @? '$.on_failure[*].limit' then
    return '{}';
  end if;
  return array(
    select flowgres.problem(
      p_path => s.path || '.limit', p_code => 'limit_not_found',
      p_message => format('the limit "%s" is not set yet: the step will wait for it', left(s.step ->> 'limit', 63)),
      p_hint => format('flowgres limits set %s --capacity 5', left(s.step ->> 'limit', 63)))
    from flowgres.list_sections(p_definition) as s
    where jsonb_typeof(s.step -> 'limit') = 'string' and not exists (
      select from flowgres.limits as l where l.tenant_id = p_tenant_id and l.kind = 'step' and l.name = s.step ->> 'limit')
    order by s.place);
end;
$$;
comment on function flowgres.check_limits(uuid, jsonb) is $$Steps whose limit nobody has set yet, as warnings.$$;
