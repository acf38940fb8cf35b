-- Where an execution stands in a trace: W3C Trace Context in and out, and ids that every process finds by itself.
--
-- The trace of an execution has its id: a UUID is as long as the id of a trace. Where a caller brought a trace, or a parent has one, the
-- execution goes on with that: its trigger has the traceparent, and only then anything is written. Ids of spans are made of what names an
-- execution or an attempt, so runners, retries and those who tell of it later agree without a word. trace_context.py is the twin.

set local role flowgres_owner;

create or replace function flowgres.read_traceparent(p_text text)
  returns text language sql immutable parallel safe
as $$
  -- A later version may have more behind the flags; of these only "sampled" is passed on.
  select case
    when p_text collate "C" ~ '^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}($|-)'
      and (p_text !~ '^00' or length(p_text) = 55)
    then '00-' || substr(p_text, 4, 49) || case when substr(p_text, 55, 1) ~ '[13579bdf]' then '-01' else '-00' end end;
$$;
comment on function flowgres.read_traceparent(text) is $$A traceparent (W3C Trace Context) as version 00 writes it; null for what is none.$$;

create or replace function flowgres.read_tracestate(p_text text)
  returns text language sql immutable parallel safe
as $$
  select case when length(p_text) <= 512 and p_text collate "C" ~ '^[ -~]*=[ -~]*$' then p_text end;
$$;
comment on function flowgres.read_tracestate(text) is $$A tracestate that can be passed on; null for what is none, or is longer than others have to take.$$;

create or replace function flowgres.trace_id(p_execution_id uuid, p_trigger jsonb)
  returns text language sql immutable parallel safe
as $$
  select coalesce(substr(flowgres.read_traceparent(p_trigger ->> 'traceparent'), 4, 32), replace(p_execution_id::text, '-', ''));
$$;
comment on function flowgres.trace_id(uuid, jsonb) is $$The trace of an execution, by its trigger: 32 hexadecimal digits.$$;

create or replace function flowgres.trace_flags(p_trigger jsonb)
  returns text language sql immutable parallel safe
as $$
  select coalesce(right(flowgres.read_traceparent(p_trigger ->> 'traceparent'), 2), '01');
$$;
comment on function flowgres.trace_flags(jsonb) is $$01 when the trace of an execution is sampled, as it is unless its caller said otherwise; else 00.$$;

create or replace function flowgres.execution_span(p_execution_id uuid)
  returns text language sql immutable parallel safe
as $$
  -- Never zero: they begin with the variant of a UUID.
  select right(replace(p_execution_id::text, '-', ''), 16);
$$;
comment on function flowgres.execution_span(uuid) is $$The span of an execution as a whole: 16 hexadecimal digits.$$;

create or replace function flowgres.attempt_span(
  p_execution_id uuid, p_generation integer, p_step_index integer, p_iteration integer, p_attempt integer
)
  returns text language sql immutable parallel safe
as $$
  select left(encode(sha256(convert_to(
    concat_ws('/', p_execution_id, p_generation, p_step_index, p_iteration, p_attempt), 'UTF8')), 'hex'), 16);
$$;
comment on function flowgres.attempt_span(uuid, integer, integer, integer, integer) is $$The span of an attempt: 16 hexadecimal digits

p_iteration is -1 for a step that is not iterated; attempts of a step that repeats are counted through all rounds.$$;

create or replace function flowgres.trace_below(p_execution_id uuid, p_trigger jsonb, p_span text)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'traceparent',
    concat_ws('-', '00', flowgres.trace_id(p_execution_id => p_execution_id, p_trigger => p_trigger), p_span, flowgres.trace_flags(p_trigger)),
    'tracestate', flowgres.read_tracestate(p_trigger ->> 'tracestate')));
$$;
comment on function flowgres.trace_below(uuid, jsonb, text) is $$What the trigger of an execution has that goes on with the trace of another one, below one of its spans.$$;

create or replace function flowgres.incoming_trace(p_trigger jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_headers jsonb;
  v_traceparent text := nullif(current_setting('flowgres.traceparent', true), '');
  v_tracestate text;
begin
  if p_trigger ->> 'type' = 'webhook' and p_trigger #> '{headers,traceparent}' is not null then
    -- Its sender's, whoever delivers it once more.
    v_traceparent := p_trigger #>> '{headers,traceparent}';
    v_tracestate := p_trigger #>> '{headers,tracestate}';
  elsif v_traceparent is not null then
    v_tracestate := current_setting('flowgres.tracestate', true);
  else
    v_headers := nullif(current_setting('request.headers', true), '');
    v_traceparent := v_headers ->> 'traceparent';
    v_tracestate := v_headers ->> 'tracestate';
  end if;
  v_traceparent := flowgres.read_traceparent(v_traceparent);
  if v_traceparent is null then
    return null;
  end if;
  return jsonb_strip_nulls(jsonb_build_object(
    'traceparent', v_traceparent, 'tracestate', flowgres.read_tracestate(nullif(v_tracestate, ''))));
end;
$$;
comment on function flowgres.incoming_trace(jsonb) is $$The trace that whoever starts something is in: {traceparent, tracestate}, or null

In this order: that of a webhook's sender, the settings flowgres.traceparent and flowgres.tracestate, the headers of a request through
PostgREST. What is none is passed over, as if nothing had come.$$;
