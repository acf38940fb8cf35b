-- One way to refuse: a stable code, a sentence and a hint, with the right status.

set local role flowgres_owner;

create or replace function flowgres.fail(
  p_status integer,
  p_code text,
  p_message text,
  p_details text default null,
  p_hint text default null,
  p_headers jsonb default '{}'
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if nullif(current_setting('request.method', true), '') is not null then
    raise sqlstate 'PGRST' using
      message = jsonb_build_object(
        'code', p_code, 'message', p_message, 'details', p_details, 'hint', p_hint)::text,
      detail = jsonb_build_object('status', p_status, 'headers', p_headers)::text;
  end if;
  raise exception using
    errcode = 'FG' || p_status,
    message = p_message,
    detail = coalesce(p_details, ''),
    hint = coalesce(p_hint, ''),
    -- Where a client without HTTP finds the stable code, and the front its headers.
    constraint = p_code,
    datatype = p_headers::text;
end;
$$;
comment on function flowgres.fail(integer, text, text, text, text, jsonb) is $$Refuse a call

Under PostgREST the status and the JSON error body; in SQL the SQLSTATE FG<status>, with the code in the field CONSTRAINT NAME and the
headers, as JSON, in DATATYPE NAME.$$;
