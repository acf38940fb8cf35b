-- The description of the API at its root (PostgREST's db-root-spec): what the caller may use, how to say who one is, and what
-- goes wrong. It is read from the catalogue, so it says what is there: PostgREST's own lists writes on views that take none, and
-- knows neither the header X-API-Key nor our errors.

set local role flowgres_owner;

create or replace function flowgres.openapi_type(p_type oid)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (select case
    when t.typelem <> 0 and t.typcategory = 'A' then jsonb_build_object('type', 'array', 'items', flowgres.openapi_type(p_type => t.typelem))
    when t.typname in ('json', 'jsonb') then jsonb_build_object('format', t.typname)
    when t.typname in ('int2', 'int4', 'int8') then jsonb_build_object('type', 'integer', 'format', format_type(t.oid, null))
    when t.typname in ('float4', 'float8', 'numeric') then jsonb_build_object('type', 'number', 'format', format_type(t.oid, null))
    when t.typname = 'bool' then '{"type": "boolean"}'
    when t.typname = 'uuid' then '{"type": "string", "format": "uuid"}'
    when t.typname in ('timestamptz', 'timestamp') then '{"type": "string", "format": "date-time"}'
    when t.typtype = 'c' then jsonb_build_object('type', 'object', 'properties', (
      select jsonb_object_agg(a.attname, flowgres.openapi_type(p_type => a.atttypid))
      from pg_attribute as a
      where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped))
    else jsonb_build_object('type', 'string', 'format', format_type(t.oid, null))
  end
  from pg_type as t
  where t.oid = p_type);
end;
$$;
comment on function flowgres.openapi_type(oid) is $$A type of PostgreSQL in the words of JSON Schema.$$;

create or replace function flowgres.openapi_answer(p_function oid)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select case
    when p.proretset then jsonb_build_object('type', 'array', 'items', flowgres.openapi_type(p_type => p.prorettype))
    else flowgres.openapi_type(p_type => p.prorettype)
  end
  from pg_proc as p
  where p.oid = p_function;
$$;
comment on function flowgres.openapi_answer(oid) is $$What a function answers, one value or a list, in the words of JSON Schema.$$;

create or replace function flowgres.openapi_title(p_comment text)
  returns jsonb language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'summary', split_part(p_comment, e'\n', 1), 'description', nullif(trim(substring(p_comment from '\n(.*)')), '')));
$$;
comment on function flowgres.openapi_title(text) is $$Summary and description: the first line of a comment, and the rest.$$;

create or replace function flowgres.api_reach()
  returns table (name text, callee text) language sql stable rows 1000 set search_path to pg_catalog, pg_temp
as $$
  -- Who calls whom, by their texts: a function may fail with whatever it calls fails with.
  with recursive sources as materialized (
    select p.pronamespace = 'flowgres_api'::regnamespace as is_api, p.proname::text as name,
      coalesce(nullif(p.prosrc, ''), pg_get_function_sqlbody(p.oid)) as body
    from pg_proc as p
    where p.pronamespace in ('flowgres'::regnamespace, 'flowgres_api'::regnamespace)
  ),
  calls as materialized (
    select distinct s.is_api, s.name, m.found[1] as callee
    from sources as s
    cross join lateral regexp_matches(s.body, 'flowgres\.([a-z_0-9]+)[ \t-\r]*\(', 'g') as m (found)
  ),
  reached (name, callee) as (
    select c.name, c.callee from calls as c where c.is_api or c.name = 'pre_request'
    union
    select r.name, c.callee from reached as r join calls as c on c.name = r.callee and not c.is_api
  )
  select r.name, r.callee from reached as r;
$$;
comment on function flowgres.api_reach() is $$Which functions each function of the API calls, itself or through others; and pre_request, which comes before any.$$;

create or replace function flowgres.api_errors()
  returns table (name text, status integer, code text) language sql stable rows 1000 set search_path to pg_catalog, pg_temp
as $$
  with sources as materialized (
    select p.proname::text as name, coalesce(nullif(p.prosrc, ''), pg_get_function_sqlbody(p.oid)) as body
    from pg_proc as p
    where p.pronamespace = 'flowgres'::regnamespace
  ),
  raised as materialized (
    -- The code may depend on something: then all of them are meant.
    select s.name, substring(f.found[1] from 'p_status[ \t-\r]*=>[ \t-\r]*([0-9]{3})')::integer as status, c.found[1] as code
    from sources as s
    cross join lateral regexp_matches(s.body, 'flowgres\.fail\((.*?)p_message', 'g') as f (found)
    cross join lateral regexp_matches(f.found[1], '(?:p_code =>|then|else)[ \t-\r]+''([a-z_0-9]+)''', 'g') as c (found)
    where position('flowgres.fail(' in s.body) > 0
  )
  select distinct r.name, e.status, e.code
  from flowgres.api_reach() as r
  join raised as e on e.name = r.callee;
$$;
comment on function flowgres.api_errors() is $$Errors of the API by function, as their texts raise them; those of pre_request may come with any call.$$;

create or replace function flowgres.openapi_views()
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(c.relname, jsonb_build_object(
    'about', flowgres.openapi_title(p_comment => obj_description(c.oid, 'pg_class')),
    'columns', (
      select jsonb_object_agg(a.attname, flowgres.openapi_type(p_type => a.atttypid)
        || jsonb_strip_nulls(jsonb_build_object('description', col_description(c.oid, a.attnum))))
      from pg_attribute as a
      where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped))), '{}')
  from pg_class as c
  where c.relnamespace = 'flowgres_api'::regnamespace and c.relkind = 'v' and has_table_privilege(c.oid, 'select');
$$;
comment on function flowgres.openapi_views() is $$Views that the caller may read: {name: {about, columns}}.$$;

create or replace function flowgres.openapi_functions()
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(p.proname, jsonb_build_object(
    'about', flowgres.openapi_title(p_comment => obj_description(p.oid, 'pg_proc')),
    'answer', flowgres.openapi_answer(p_function => p.oid),
    'arguments', (
      select coalesce(jsonb_object_agg(p.proargnames[a.position], flowgres.openapi_type(p_type => a.type)), '{}')
      from unnest(p.proargtypes::oid[]) with ordinality as a (type, position)),
    'required', to_jsonb(p.proargnames[1 : p.pronargs - p.pronargdefaults]))), '{}')
  from pg_proc as p
  where p.pronamespace = 'flowgres_api'::regnamespace and has_function_privilege(p.oid, 'execute')
    -- Those that take a row embed related ones; they are no calls.
    and not exists (
      select from unnest(p.proargtypes::oid[]) as a (type) join pg_type as t on t.oid = a.type where t.typtype = 'c');
$$;
comment on function flowgres.openapi_functions() is $$Functions that the caller may call: {name: {about, answer, arguments, required}}.$$;

create or replace function flowgres.openapi_base_path()
  returns text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(substring(
    nullif(current_setting('request.headers', true), '')::jsonb ->> 'x-forwarded-prefix' from '^((?:/[A-Za-z0-9_-]+)+)$'), '/');
$$;
comment on function flowgres.openapi_base_path() is $$Where the API lies, as a proxy that moves it says in X-Forwarded-Prefix.$$;

create or replace function flowgres.openapi()
  returns json language sql stable set search_path to pg_catalog, pg_temp
as $$
  with views as (
    select v.key as name, v.value from jsonb_each(flowgres.openapi_views()) as v
  ),
  functions as (
    select f.key as name, f.value from jsonb_each(flowgres.openapi_functions()) as f
  ),
  errors as materialized (
    select e.name, e.status, e.code from flowgres.api_errors() as e
  ),
  failures as (
    -- What may come back of each call, and of none in particular.
    select
      n.name,
      coalesce((
        select jsonb_object_agg(s.status::text, jsonb_build_object('description', s.codes, 'schema', '{"$ref": "#/definitions/error"}'::jsonb))
        from (
          select e.status, string_agg(distinct e.code, ', ' order by e.code) as codes
          from errors as e
          where e.name in (n.name, 'pre_request')
          group by e.status
        ) as s), '{}') || '{"default": {"description": "Any other error; PGRST... are PostgREST''s own", "schema": {"$ref": "#/definitions/error"}}}'
      as responses
    from (select f.name from functions as f union select '') as n
  ),
  paths as (
    select
      '/' || v.name as path,
      jsonb_build_object('get', (v.value -> 'about') || jsonb_build_object(
        'tags', '["Views"]'::jsonb,
        'produces', '["application/json", "text/csv"]'::jsonb,
        'parameters', (
          select jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
            'name', c.key, 'in', 'query', 'type', 'string', 'description', concat_ws(': ', 'eq., gt., in., is. ...', c.value ->> 'description')))
            order by c.key)
          from jsonb_each(v.value -> 'columns') as c
        ) || '[{"$ref": "#/parameters/select"}, {"$ref": "#/parameters/order"}, {"$ref": "#/parameters/limit"},
               {"$ref": "#/parameters/offset"}, {"$ref": "#/parameters/prefer_count"}]',
        'responses', jsonb_build_object(
          '200', jsonb_build_object('description', 'The rows', 'schema', jsonb_build_object(
            'type', 'array', 'items', jsonb_build_object('$ref', '#/definitions/' || v.name))),
          '206', '{"description": "A part of the rows; Content-Range says which"}'::jsonb)
          || (select f.responses from failures as f where f.name = ''))) as item
    from views as v
    union all
    select
      '/rpc/' || f.name,
      jsonb_build_object('post', (f.value -> 'about') || jsonb_build_object(
        'tags', '["Functions"]'::jsonb,
        'produces', '["application/json"]'::jsonb,
        'consumes', '["application/json"]'::jsonb,
        'parameters', jsonb_build_array(jsonb_build_object(
          'name', 'args', 'in', 'body', 'required', true,
          'schema', jsonb_strip_nulls(jsonb_build_object(
            'type', 'object', 'properties', f.value -> 'arguments', 'required', nullif(f.value -> 'required', '[]'))))),
        'responses', jsonb_build_object('200', jsonb_build_object('description', 'The answer', 'schema', f.value -> 'answer'))
          || e.responses))
    from functions as f
    join failures as e on e.name = f.name
  )
  -- Not jsonb, which orders keys by their length.
  select json_build_object(
    'swagger', '2.0',
    'info', jsonb_build_object(
      'title', 'flowgres', 'version', flowgres.version(),
      'description', concat_ws(e'\n\n',
        substring(obj_description('flowgres_api'::regnamespace, 'pg_namespace') from '\n[ \t-\r]*(.*)'),
        'Say who you are with the header `X-API-Key: fg_live_...`, or with `Authorization: Bearer <JWT>` (from the front''s '
          '`POST /token`); both together are refused. This document lists what its reader may use: without credentials that is '
          'little, so press Authorize and load it again.',
        'Views are read with GET and PostgREST''s filters, and are never written to; functions are called with '
          '`POST /rpc/NAME` and their arguments as JSON. The schema is `flowgres_api`, the only one there is: a client that always '
          'names one (Accept-Profile) names this.',
        'An error is `{code, message, details, hint}`; `code` is a stable word, listed with each call by its status.')),
    'basePath', flowgres.openapi_base_path(),
    'consumes', '["application/json"]'::jsonb,
    'produces', '["application/json"]'::jsonb,
    'securityDefinitions', '{
      "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key: fg_live_..."},
      "JWT": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "Bearer and a JWT, with a space between"}
    }'::jsonb,
    'security', '[{"ApiKey": []}, {"JWT": []}]'::jsonb,
    'tags', '[{"name": "Views", "description": "To be read"}, {"name": "Functions", "description": "To be called"}]'::jsonb,
    'paths', coalesce((select json_object_agg(p.path, p.item order by p.path) from paths as p), '{}'),
    'parameters', '{
      "select": {"name": "select", "in": "query", "type": "string", "description": "Columns, and related rows: id,steps:step_executions(step)"},
      "order": {"name": "order", "in": "query", "type": "string", "description": "Such as created_at.desc"},
      "limit": {"name": "limit", "in": "query", "type": "integer", "description": "Rows at most"},
      "offset": {"name": "offset", "in": "query", "type": "integer", "description": "Rows to pass over"},
      "prefer_count": {"name": "Prefer", "in": "header", "type": "string", "enum": ["count=exact", "count=planned", "count=estimated"],
        "description": "Tell in Content-Range how many there are"}
    }'::jsonb,
    'definitions', coalesce((
      select jsonb_object_agg(v.name, jsonb_build_object(
        'type', 'object', 'description', v.value -> 'about' ->> 'summary', 'properties', v.value -> 'columns'))
      from views as v), '{}') || '{"error": {
        "type": "object", "description": "What every error looks like", "required": ["code", "message"], "properties": {
          "code": {"type": "string", "description": "A stable word"}, "message": {"type": "string", "description": "A sentence"},
          "details": {"type": "string", "description": "What it is about"}, "hint": {"type": "string", "description": "How to mend it"}}}}');
$$;
comment on function flowgres.openapi() is $$The description of the API, for whoever asks: Swagger 2.0.$$;

create or replace function flowgres.openapi_media_type()
  returns text language sql stable set search_path to pg_catalog, pg_temp
as $$
  select case
    when nullif(current_setting('request.headers', true), '')::jsonb ->> 'accept' like '%application/openapi+json%'
      then 'application/openapi+json'
    else 'application/json'
  end;
$$;
comment on function flowgres.openapi_media_type() is $$What the reader of the description calls it: some tools ask for OpenAPI by name.$$;

create or replace function flowgres_api.openapi()
  returns flowgres."*/*" language plpgsql stable
as $$
begin
  perform set_config(
    'response.headers', jsonb_build_array(jsonb_build_object('Content-Type', flowgres.openapi_media_type() || '; charset=utf-8'))::text, true);
  return flowgres.openapi()::text;
end;
$$;
comment on function flowgres_api.openapi() is $$Describe the API

What the caller may use, as Swagger 2.0: the document at the root.$$;
