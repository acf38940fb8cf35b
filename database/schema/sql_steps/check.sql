-- What an import says of the functions that sql steps name.

set local role flowgres_owner;

create or replace function flowgres.check_functions(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if not p_definition @? '$.**.type ? (@ == "sql")' or not (flowgres.setting(p_tenant_id, 'sql_functions_checked'))::boolean then
    return '{}';
  end if;
  return array(
    select flowgres.problem(
      p_path => s.path || case f.fit ->> 'code'
        when 'function_not_allowed' then '.config.function'
        else '.config.args' || coalesce('.' || (f.fit ->> 'argument'), '') end,
      p_code => f.fit ->> 'code', p_message => f.fit ->> 'message', p_hint => f.fit ->> 'hint')
    from flowgres.list_sections(p_definition) as s
    cross join lateral (select s.step #>> '{config,function}' as name, s.step #> '{config,args}' as args) as c
    cross join lateral (
      select flowgres.fit_function(
        p_tenant_id => p_tenant_id, p_name => c.name,
        p_arguments => case when jsonb_typeof(c.args) = 'object' then array(select jsonb_object_keys(c.args)) else '{}' end) as fit
    ) as f
    -- What is no name is told of by the description; arguments that an expression gives are known when it has run.
    where s.step ->> 'type' = 'sql' and c.name ~ (flowgres.definition_schema() #>> '{$defs,sql,properties,function,pattern}') and not f.fit ? 'signature'
      and (f.fit ->> 'code' = 'function_not_allowed' or coalesce(jsonb_typeof(c.args), 'object') = 'object')
    order by s.place);
end;
$$;
comment on function flowgres.check_functions(uuid, jsonb) is $$Sql steps whose function is not allowed, or does not take the arguments that they name.$$;
