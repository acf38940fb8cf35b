-- Steps that begin to wait for signals and events.

set local role flowgres_owner;

create or replace function flowgres.label_awaited(p_awaited jsonb)
  returns text language sql immutable parallel safe
as $$
  select case when p_awaited ? 'event' then 'event:' || (p_awaited ->> 'event') else 'signal:' || (p_awaited ->> 'signal') end
    || coalesce('/' || (p_awaited ->> 'key'), '');
$$;
comment on function flowgres.label_awaited(jsonb) is $$How one of those that a step waits for is told: signal:packed/42.$$;

create or replace function flowgres.label_wait(p_for jsonb)
  returns text language sql immutable parallel safe
as $$
  select case
    when jsonb_array_length(p_for) = 1 then flowgres.label_awaited(p_for -> 0)
    else left('first_of:' || (
      select coalesce(string_agg(flowgres.label_awaited(a.value), ', ' order by a.place), '')
      from jsonb_array_elements(p_for) with ordinality as a (value, place)), 500)
  end;
$$;
comment on function flowgres.label_wait(jsonb) is $$What the row of the queue of a step that waits says.$$;

create or replace function flowgres.signal_address(p_key text, p_execution_id uuid default null)
  returns text language sql immutable parallel safe
as $$
  select case when p_execution_id is not null then 'x:' || p_execution_id::text else coalesce('k:' || p_key, '') end;
$$;
comment on function flowgres.signal_address(text, uuid) is $$Whom a signal is for: an execution, those that wait with a key, or without one.$$;

create or replace function flowgres.is_signal_key(p_key text)
  returns boolean language sql immutable parallel safe
as $$
  select p_key is null or length(p_key) between 1 and 255 and p_key !~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]';
$$;
comment on function flowgres.is_signal_key(text) is $$Whether a text may be the key of a signal or event; null is none.$$;

create or replace function flowgres.register_waits(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[]
)
  language plpgsql
as $$
declare
  v_report flowgres.step_report;
  v_place integer;
begin
  foreach v_place in array p_places loop
    v_report := p_reports[v_place];
    v_report.waits := flowgres.label_wait(p_for => v_report.input -> 'for');
    if exists (
      select from jsonb_array_elements(v_report.input -> 'for') as a (value) where not flowgres.is_signal_key(a.value ->> 'key'))
    then
      v_report.o := 'failed';
      v_report.error := jsonb_build_object(
        'code', 'config_invalid', 'class', 'validation', 'message', 'key has to be 1 to 255 printable characters',
        'hint', 'The id of an order is a good key.');
    end if;
    p_reports[v_place] := v_report;
  end loop;
  p_places := array(select n.place from unnest(p_places) as n (place) where (p_reports[n.place]).o = 'park');
  -- Under the leases: whoever wakes one of these does so after this transaction.
  delete from flowgres.waits as w
  using unnest(p_places) as n (place)
  where w.tenant_id = (p_reports[n.place]).t and w.execution_id = (p_reports[n.place]).x and w.queue_id = (p_reports[n.place]).q;
  insert into flowgres.waits (
    tenant_id, execution_id, queue_id, place, token, kind, name, address, takes_earlier, filter, match, index, registered_at)
  select
    r.t, r.x, r.q, a.place, r.k, case when a.value ? 'event' then 'event' else 'signal' end,
    coalesce(a.value ->> 'event', a.value ->> 'signal'), case
      when a.value ? 'event' then flowgres.event_address(p_key => a.value ->> 'key', p_match => a.value -> 'match')
      else coalesce(a.value ->> 'address', flowgres.signal_address(p_key => a.value ->> 'key')) end,
    a.value ->> 'accept' is distinct from 'new', (a.value ->> 'when')::jsonpath, a.value -> 'match',
    (a.value ->> 'index')::smallint, p_state.now
  from unnest(p_places) as n (place)
  cross join lateral (select (p_reports[n.place]).*) as r
  cross join lateral jsonb_array_elements(r.input -> 'for') with ordinality as a (value, place);
  -- A signal may have been sent before, or is being sent at this moment. Its sender leaves a note as well: of the two the one that comes to
  -- be seen last is followed when both sides are there.
  insert into flowgres.pending_wakes (tenant_id, execution_id, queue_id, token, requested_at)
  select r.t, r.x, r.q, r.k, p_state.now
  from unnest(p_places) as n (place)
  cross join lateral (select (p_reports[n.place]).*) as r
  where r.k is not null and jsonb_path_exists(r.input, '$.for[*].signal');
end;
$$;
comment on function flowgres.register_waits(flowgres.advance_state, flowgres.step_report[], integer[]) is $$Write down which signals and events these steps wait for.$$;

create or replace function flowgres.forget_waits(p_rows tid[])
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  delete from flowgres.waits as w
  using flowgres.work_queue as q
  where q.ctid = any(p_rows) and w.tenant_id = q.tenant_id and w.execution_id = q.execution_id and w.queue_id = q.id;
end;
$$;
comment on function flowgres.forget_waits(tid[]) is $$Delete what the steps of these rows of the queue wait for, which the caller has locked.$$;
