-- What a start may bring along: bounds on what is stored with every execution.

set local role flowgres_owner;

create or replace function flowgres.check_payload(p_tenant_id uuid, p_payload jsonb, p_what text)
  returns void language plpgsql
as $$
begin
  -- The stored size is a cheap bound: anything this small is neither too large nor too deep. But 1e5000 is small until it is
  -- written out.
  if pg_column_size(p_payload) < 512 and octet_length(p_payload::text) <= 4000 then
    return;
  end if;
  if p_payload @? '$.** ? (@.type() == "number" && (@ >= 1e4000 || @ <= -1e4000))' then
    perform flowgres.fail(
      p_status => 422, p_code => 'number_too_long', p_message => format('%s holds a number of more than 4000 digits', p_what),
      p_hint => 'Most programs cannot read it: send it as a text.');
  end if;
  if pg_column_size(p_payload) > 65536
    and octet_length(p_payload::text) > (flowgres.setting(p_tenant_id, 'max_payload_bytes'))::integer
  then
    perform flowgres.fail(
      p_status => 413, p_code => 'payload_too_large',
      p_message => format('%s is larger than %s bytes', p_what, flowgres.setting(p_tenant_id, 'max_payload_bytes')),
      p_hint => 'Store large data elsewhere and pass a reference.');
  end if;
  if p_payload @? '$.**{64}' then
    perform flowgres.fail(
      p_status => 422, p_code => 'payload_too_deep', p_message => format('%s is nested deeper than 64 levels', p_what),
      p_hint => 'Flatten the data.');
  end if;
end;
$$;
comment on function flowgres.check_payload(uuid, jsonb, text) is $$Refuse JSON that is too large or too deep to be stored, or holds numbers that nobody can read.$$;

create or replace function flowgres.check_metadata(p_metadata jsonb)
  returns void language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
begin
  if jsonb_typeof(p_metadata) <> 'object' then
    perform flowgres.fail(
      p_status => 422, p_code => 'metadata_invalid', p_message => 'metadata is not an object', p_details => 'metadata',
      p_hint => 'Send {"key": "value"}.');
  elsif octet_length(p_metadata::text) > 16384 then
    perform flowgres.fail(
      p_status => 413, p_code => 'metadata_too_large', p_message => 'metadata is larger than 16384 bytes', p_details => 'metadata',
      p_hint => 'Put data into the input; metadata is for labels.');
  elsif p_metadata @? '$.**{16}' then
    perform flowgres.fail(
      p_status => 422, p_code => 'payload_too_deep', p_message => 'metadata is nested deeper than 16 levels', p_details => 'metadata',
      p_hint => 'Flatten the data.');
  end if;
end;
$$;
comment on function flowgres.check_metadata(jsonb) is $$Refuse metadata that is no object, or too large or deep for what is carried along with every execution.$$;

create or replace function flowgres.check_length(p_argument text, p_value text, p_most integer)
  returns void language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
begin
  if length(p_value) > p_most then
    perform flowgres.fail(
      p_status => 422, p_code => 'argument_too_long',
      p_message => format('%s has %s characters, and %s are the most', p_argument, length(p_value), p_most),
      p_details => p_argument, p_hint => 'Put what is long into the input, or elsewhere.');
  end if;
end;
$$;
comment on function flowgres.check_length(text, text, integer) is $$Refuse a text that is longer than what it is stored in should be.$$;
