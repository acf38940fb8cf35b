-- Functions of users that sql steps may call: which there are, how they are called, and who allows them.
--
-- They are looked up in the catalogue by name and never through a search_path, and types are told as from pg_catalog: so names mean
-- the same whoever asks, and nobody needs a right on the schema to ask.

set local role flowgres_owner;

create or replace function flowgres.describe_function(
  p_function oid,
  out arguments jsonb, out result_type text, out returns_set boolean, out is_void boolean
)
  language sql stable set search_path to pg_catalog, pg_temp
as $$
  select
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', n.name, 'type', format_type(t.type, null), 'required', t.place <= p.pronargs - p.pronargdefaults) order by t.place), '[]')
      from unnest(p.proargtypes::oid[]) with ordinality as t (type, place)
      left join (
        select nullif(u.name, '') as name, row_number() over (order by u.place) as place
        from unnest(p.proargnames) with ordinality as u (name, place)
        where coalesce((p.proargmodes::text[])[u.place], 'i') in ('i', 'b', 'v')
      ) as n on n.place = t.place
    ),
    format_type(p.prorettype, null), p.proretset, p.prorettype = 'void'::regtype
  from pg_proc as p
  where p.oid = p_function;
$$;
comment on function flowgres.describe_function(oid) is $$What a function takes and gives: arguments as [{name, type, required}], in their order.$$;

create or replace function flowgres.allowed_functions(p_tenant_id uuid)
  returns table (signature text, name text, schema_name text, function_name text, id oid, arguments jsonb, result_type text,
    returns_set boolean, is_void boolean, for_all boolean)
  language sql stable set search_path to pg_catalog, pg_temp
as $$
  select
    a.signature, a.schema_name || '.' || a.function_name, a.schema_name, a.function_name, p.oid, d.arguments, d.result_type,
    d.returns_set, d.is_void, a.for_all
  from (
    select f.signature, f.schema_name, f.function_name, f.argument_types, bool_or(f.tenant_id = flowgres.system_tenant_id()) as for_all
    from flowgres.sql_functions as f
    where f.tenant_id in (p_tenant_id, flowgres.system_tenant_id())
    group by f.signature, f.schema_name, f.function_name, f.argument_types
  ) as a
  join pg_namespace as n on n.nspname = a.schema_name
  join pg_proc as p
    on p.pronamespace = n.oid and p.proname = a.function_name and oidvectortypes(p.proargtypes) = a.argument_types and p.prokind = 'f'
  cross join lateral flowgres.describe_function(p_function => p.oid) as d
  order by a.signature;
$$;
comment on function flowgres.allowed_functions(uuid) is $$Functions that sql steps of a tenant may call, as far as they exist.$$;

create or replace function flowgres.fit_function(p_tenant_id uuid, p_name text, p_arguments text[])
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_signatures text[];
  v_found record;
  v_unknown text;
  v_lacking text;
begin
  select array_agg(f.signature) into v_signatures
  from flowgres.allowed_functions(p_tenant_id => p_tenant_id) as f
  where f.name = p_name;
  if v_signatures is null then
    return jsonb_build_object(
      'code', 'function_not_allowed', 'message', format('no function "%s" may be called by steps', left(p_name, 130)),
      'hint', coalesce(
        flowgres.did_you_mean(p_word => p_name, p_known => array(
          select distinct f.name from flowgres.allowed_functions(p_tenant_id => p_tenant_id) as f)),
        'An operator allows functions: flowgres_api.allow_function(signature), or flowgres db functions allow SIGNATURE.'));
  end if;
  -- All that is given has to be known, and all that has no default to be given.
  for v_found in
    select f.*, array(select a.value ->> 'name' from jsonb_array_elements(f.arguments) as a (value)) as names
    from flowgres.allowed_functions(p_tenant_id => p_tenant_id) as f
    where f.name = p_name
  loop
    if v_found.names @> p_arguments and not exists (
      select from jsonb_array_elements(v_found.arguments) as a (value)
      where (a.value ->> 'required')::boolean and a.value ->> 'name' <> all(p_arguments))
    then
      if v_unknown = '' then
        return jsonb_build_object(
          'code', 'function_ambiguous', 'message', format('more than one "%s" takes these arguments', left(p_name, 130)),
          'hint', format('There are %s. Give the arguments that tell them apart, or another name to one of them.', array_to_string(v_signatures, ', ')));
      end if;
      v_unknown := '';
      v_lacking := v_found.signature;
    end if;
  end loop;
  if v_unknown = '' then
    return jsonb_build_object('signature', v_lacking);
  end if;
  select a.name into v_unknown from unnest(p_arguments) as a (name) where a.name <> all(v_found.names) limit 1;
  if v_unknown is not null then
    return jsonb_build_object(
      'code', 'unknown_argument', 'argument', v_unknown,
      'message', format('%s has no argument "%s"', v_signatures[cardinality(v_signatures)], left(v_unknown, 60)),
      'hint', flowgres.did_you_mean(p_word => v_unknown, p_known => v_found.names));
  end if;
  select string_agg(a.value ->> 'name', ', ') into v_lacking
  from jsonb_array_elements(v_found.arguments) as a (value)
  where (a.value ->> 'required')::boolean and a.value ->> 'name' <> all(p_arguments);
  return jsonb_build_object(
    'code', 'missing_argument', 'message', format('%s needs %s', v_signatures[cardinality(v_signatures)], v_lacking),
    'hint', 'Name it in args.');
end;
$$;
comment on function flowgres.fit_function(uuid, text, text[]) is $$The allowed function of a name that takes these arguments: {signature}, or why there is none: {code, message, hint, argument}.$$;

create or replace function flowgres.call_text(p_function oid, p_arguments text[])
  returns text language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_function text := (
    select format('%I.%I', n.nspname, p.proname) from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace where p.oid = p_function);
  v_about record;
  v_call text;
  v_from text := '';
begin
  select d.* into v_about from flowgres.describe_function(p_function => p_function) as d;
  select
    format('%s(%s)', v_function, string_agg(format('%I => a.%I', a.value ->> 'name', a.value ->> 'name'), ', ')),
    format(
      ' from pg_catalog.jsonb_to_record($1::pg_catalog.jsonb) as a (%s)',
      string_agg(format('%I %s', a.value ->> 'name', a.value ->> 'type'), ', '))
  into v_call, v_from
  from jsonb_array_elements(v_about.arguments) as a (value)
  where a.value ->> 'name' = any(p_arguments);
  if p_arguments = '{}' then
    -- Without arguments the parameter is still there, and goes to nothing.
    v_call := v_function || '()';
    v_from := ' from (select $1::pg_catalog.jsonb) as a';
  end if;
  return case
    when v_about.is_void then format('select null::pg_catalog.text, 0%s, lateral %s as f limit 1', v_from, v_call)
    when v_about.returns_set then format(
      'select coalesce(pg_catalog.jsonb_agg(r.r), ''[]'')::pg_catalog.text, pg_catalog.count(*) from (select %s as r%s limit 10001) as r',
      v_call, v_from)
    else format('select pg_catalog.to_jsonb(%s)::pg_catalog.text, 0%s', v_call, v_from)
  end;
end;
$$;
comment on function flowgres.call_text(oid, text[]) is $$The statement that calls a function with these arguments, members of the object $1, and gives its result as the text of JSON

Of a set it takes one row more than it may have, and gives their number.$$;

create or replace function flowgres.find_function(p_signature text)
  returns oid language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_parts text[] := regexp_match(p_signature, '^ *([^.() ]{1,63})\.([^.() ]{1,63}) *(?:\((.*)\))? *$');
  v_types text;
  v_ids oid[];
begin
  if v_parts is null then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => format('%L is no function', left(p_signature, 200)),
      p_hint => 'Give schema, name and the types of the arguments: shop.reserve(uuid, integer).');
  end if;
  v_parts[1] := btrim(v_parts[1], '"');
  v_parts[2] := btrim(v_parts[2], '"');
  if v_parts[3] is not null then
    -- Types of other schemas are written as they are; those of PostgreSQL may be written in any of their ways.
    select coalesce(string_agg(
      case when t.type like '%.%' then btrim(t.type) else coalesce(format_type(to_regtype(t.type)::oid, null), btrim(t.type)) end,
      ', ' order by t.place), '')
    into v_types
    from string_to_table(nullif(btrim(v_parts[3]), ''), ',') with ordinality as t (type, place);
  end if;
  v_ids := array(
    select p.oid
    from pg_proc as p
    join pg_namespace as n on n.oid = p.pronamespace
    where n.nspname = v_parts[1] and p.proname = v_parts[2] and (v_types is null or oidvectortypes(p.proargtypes) = v_types));
  if cardinality(v_ids) = 1 then
    return v_ids[1];
  end if;
  perform flowgres.fail(
    p_status => 404, p_code => 'function_not_found',
    p_message => case when v_ids = '{}' then format('there is no function %s', left(p_signature, 200))
      else format('there are %s functions %s.%s', cardinality(v_ids), v_parts[1], v_parts[2]) end,
    p_hint => coalesce((
      select 'There is ' || string_agg(format('%s.%s(%s)', n.nspname, p.proname, oidvectortypes(p.proargtypes)), ', ' order by p.oid) || '.'
      from pg_proc as p
      join pg_namespace as n on n.oid = p.pronamespace
      where n.nspname = v_parts[1] and p.proname = v_parts[2]), 'Create it first.'));
end;
$$;
comment on function flowgres.find_function(text) is $$The function of a signature; without types the only one of its name. Refuses what is none.$$;

create or replace function flowgres.require_callable(p_function oid)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_function pg_proc := (select p from pg_proc as p where p.oid = p_function);
  v_schema text := (select n.nspname from pg_namespace as n where n.oid = v_function.pronamespace);
  v_about record;
  v_why text;
  v_grants text;
begin
  select d.* into v_about from flowgres.describe_function(p_function => p_function) as d;
  v_why := case
    when v_schema in ('flowgres', 'flowgres_api', 'information_schema') or v_schema like 'pg\_%'
      then 'it belongs to flowgres or to PostgreSQL; write a function of your own that calls it'
    when v_function.prokind <> 'f' then 'it is a procedure, an aggregate or a window function'
    when v_function.provariadic <> 0 then 'it takes any number of arguments'
    when v_about.arguments @? '$[*] ? (@.name == null)' then 'it has arguments without names'
    when exists (
      select from unnest(v_function.proargtypes::oid[]) as a (type) join pg_type as t on t.oid = a.type where t.typtype = 'p')
      then 'it takes arguments of any type'
    when (select t.typtype = 'p' and t.typname not in ('void', 'record') from pg_type as t where t.oid = v_function.prorettype)
      then format('it returns %s', v_about.result_type)
    when v_about.returns_set and v_about.result_type = 'record' and v_function.proargmodes is null
      then 'it returns rows whose columns it does not name'
  end;
  if v_why is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'function_not_callable',
      p_message => format('%s.%s cannot be called by steps: %s', v_schema, v_function.proname, v_why),
      p_hint => 'A step calls a plain function with named arguments of known types.');
  end if;
  v_grants := concat_ws('; ',
    case when not has_schema_privilege('flowgres_sql', v_function.pronamespace, 'usage')
      then format('grant usage on schema %I to flowgres_sql', v_schema) end,
    case when not has_function_privilege('flowgres_sql', p_function, 'execute')
      then format('grant execute on function %I.%I(%s) to flowgres_sql', v_schema, v_function.proname, oidvectortypes(v_function.proargtypes)) end);
  if v_grants <> '' then
    perform flowgres.fail(
      p_status => 422, p_code => 'function_not_granted',
      p_message => format('flowgres_sql, who calls it, may not execute %s.%s', v_schema, v_function.proname),
      p_hint => v_grants || ';');
  end if;
end;
$$;
comment on function flowgres.require_callable(oid) is $$Refuse a function that steps could not or should not call.$$;

set local role flowgres_engine;

create or replace function flowgres.allow_function(p_signature text, p_slug text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_function oid;
  v_schema text;
  v_name text;
  v_types text;
  v_signature text;
  v_tenant_id uuid;
  v_is_new boolean;
begin
  perform flowgres.require_operator();
  v_tenant_id := case when p_slug is null then flowgres.system_tenant_id() else flowgres.tenant_of_slug(p_slug => p_slug) end;
  v_function := flowgres.find_function(p_signature => p_signature);
  perform flowgres.require_callable(p_function => v_function);
  select n.nspname, p.proname, oidvectortypes(p.proargtypes) into v_schema, v_name, v_types
  from pg_catalog.pg_proc as p
  join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
  where p.oid = v_function;
  v_signature := format('%s.%s(%s)', v_schema, v_name, v_types);
  insert into flowgres.sql_functions (
    tenant_id, signature, schema_name, function_name, argument_types, created_by, created_at)
  values (v_tenant_id, v_signature, v_schema, v_name, v_types, flowgres.actor(), flowgres.now())
  on conflict do nothing;
  v_is_new := found;
  if v_is_new then
    perform flowgres.record_audit(p_action => 'sql_function_allowed', p_subject => v_signature, p_tenant_id => v_tenant_id);
  end if;
  return jsonb_build_object('signature', v_signature, 'tenant', p_slug, 'created', v_is_new);
end;
$$;
comment on function flowgres.allow_function(text, text) is $$Let the sql steps of a tenant, or of all, call a function; doing it again changes nothing.$$;

create or replace function flowgres.disallow_function(p_signature text, p_slug text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid;
  v_signature text;
begin
  perform flowgres.require_operator();
  v_tenant_id := case when p_slug is null then flowgres.system_tenant_id() else flowgres.tenant_of_slug(p_slug => p_slug) end;
  -- It may be gone from the database, so it goes by what was written down; spaces and quotes do not count.
  delete from flowgres.sql_functions as f
  where f.tenant_id = v_tenant_id and replace(f.signature, ' ', '') = translate(p_signature, ' "', '')
  returning f.signature into v_signature;
  if v_signature is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'function_not_allowed',
      p_message => format('%s is not allowed there', left(p_signature, 200)),
      p_hint => 'List what is: flowgres db functions list. Give the signature as it stands there, and the same tenant.');
  end if;
  perform flowgres.record_audit(p_action => 'sql_function_disallowed', p_subject => v_signature, p_tenant_id => v_tenant_id);
  return jsonb_build_object('signature', v_signature, 'tenant', p_slug);
end;
$$;
comment on function flowgres.disallow_function(text, text) is $$Take that back: steps that call it fail from the next call on.$$;
