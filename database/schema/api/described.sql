-- The functions of the API as the front describes them to the world in OpenAPI 3.1: all of them, with who may call each. What is
-- said comes from the catalogue, comments and texts, and is written nowhere a second time.

set local role flowgres_owner;

create or replace function flowgres.described_functions()
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  with errors as materialized (
    select e.name, e.status, e.code from flowgres.api_errors() as e
  ),
  created as materialized (
    -- Those that may answer 201: they set the status themselves.
    select distinct r.name
    from flowgres.api_reach() as r
    join pg_proc as p on p.proname = r.callee and p.pronamespace = 'flowgres'::regnamespace
    where coalesce(nullif(p.prosrc, ''), pg_get_function_sqlbody(p.oid)) like '%''response.status'', ''201''%'
  )
  select coalesce(jsonb_object_agg(p.proname, flowgres.openapi_title(p_comment => obj_description(p.oid, 'pg_proc')) || jsonb_build_object(
    'arguments', (
      select coalesce(jsonb_object_agg(p.proargnames[a.position], flowgres.openapi_type(p_type => a.type)), '{}')
      from unnest(p.proargtypes::oid[]) with ordinality as a (type, position)),
    'required', coalesce(to_jsonb(p.proargnames[1 : p.pronargs - p.pronargdefaults]), '[]'),
    'answer', flowgres.openapi_answer(p_function => p.oid),
    'statuses', case when exists (select from created as c where c.name = p.proname) then '[200, 201]' else '[200]' end::jsonb,
    'errors', (
      select jsonb_object_agg(s.status::text, s.codes)
      from (
        select e.status, jsonb_agg(distinct e.code order by e.code) as codes
        from errors as e
        where e.name in (p.proname, 'pre_request')
        group by e.status
      ) as s),
    'callers', (
      select coalesce(jsonb_agg(substring(r.rolname from '^flowgres_(.*)') order by r.place), '[]')
      from unnest(array['flowgres_anon', 'flowgres_viewer', 'flowgres_member', 'flowgres_admin', 'flowgres_operator', 'flowgres_worker'])
        with ordinality as r (rolname, place)
      where has_function_privilege(r.rolname, p.oid, 'execute')))), '{}')
  from pg_proc as p
  where p.pronamespace = 'flowgres_api'::regnamespace
    -- Those that take a row embed related ones; they are no calls. One that answers in a media type of its own is the root's.
    and not exists (
      select from unnest(p.proargtypes::oid[]) as a (type) join pg_type as t on t.oid = a.type where t.typtype = 'c')
    and (select t.typname from pg_type as t where t.oid = p.prorettype) <> '*/*';
$$;
comment on function flowgres.described_functions() is $$All functions of the API, for everybody, by name: {summary, description, arguments, required, answer, statuses, errors, callers}.

Arguments and answer are JSON Schema, errors are codes by status, callers are roles of ours without their prefix.$$;
