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
  select case when p_execution_id is not null then 'x:' || p_execution_id else coalesce('k:' || p_key, '') end;
$$;
comment on function flowgres.signal_address(text, uuid) is $$Whom a signal is for: an execution, those that wait with a key, or without one.$$;

create or replace function flowgres.signal_lock(p_tenant_id uuid, p_name text)
  returns bigint language sql immutable parallel safe
as $$
  select hashtextextended(p_tenant_id || ' signal ' || p_name, 0);
$$;
comment on function flowgres.signal_lock(uuid, text) is $$The advisory lock that those hold together who send signals of a name, and one who begins to wait for it.$$;

create or replace function flowgres.register_waits(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[]
)
  language plpgsql
as $$
declare
  v_report flowgres.step_report;
  v_place integer;
  v_quiet bigint[];
begin
  -- Names that nobody is sending: whoever begins to before this has committed adds a note. Where somebody is, there is one here.
  v_quiet := array(
    select l.id
    from (
      select distinct flowgres.signal_lock(p_tenant_id => r.t, p_name => a.value ->> 'signal') as id
      from unnest(p_places) as n (place)
      cross join lateral (select (p_reports[n.place]).*) as r
      cross join lateral jsonb_array_elements(r.input -> 'for') as a (value)
      where a.value ? 'signal'
      offset 0
    ) as l
    where pg_try_advisory_xact_lock(l.id));
  -- Under the leases: whoever wakes one of these does so after this transaction.
  delete from flowgres.waits as w
  using unnest(p_places) as n (place)
  where w.tenant_id = (p_reports[n.place]).t and w.execution_id = (p_reports[n.place]).x and w.queue_id = (p_reports[n.place]).q;
  insert into flowgres.waits (
    tenant_id, execution_id, queue_id, place, token, kind, name, address, takes_earlier, filter, match, index, registered_at)
  select
    r.t, r.x, r.q, a.place, r.k, case when a.value ? 'event' then 'event' else 'signal' end,
    coalesce(a.value ->> 'event', a.value ->> 'signal'), coalesce(a.value ->> 'address', flowgres.signal_address(p_key => a.value ->> 'key')),
    a.value ->> 'accept' is distinct from 'new', (a.value ->> 'when')::jsonpath, a.value -> 'match',
    (a.value ->> 'index')::smallint, p_state.now
  from unnest(p_places) as n (place)
  cross join lateral (select (p_reports[n.place]).*) as r
  cross join lateral jsonb_array_elements(r.input -> 'for') with ordinality as a (value, place);
  -- A signal that was sent before, or is being sent at this moment, is looked for when both have committed.
  insert into flowgres.pending_wakes (tenant_id, execution_id, queue_id, token, requested_at)
  select r.t, r.x, r.q, r.k, p_state.now
  from unnest(p_places) as n (place)
  cross join lateral (select (p_reports[n.place]).*) as r
  where exists (
    select
    from jsonb_array_elements(r.input -> 'for') as a (value)
    where a.value ? 'signal' and (
      flowgres.signal_lock(p_tenant_id => r.t, p_name => a.value ->> 'signal') <> all(v_quiet)
      or exists (
        select from flowgres.signals as s
        where s.tenant_id = r.t and s.name = a.value ->> 'signal' and s.kind = 'signal' and s.consumed_at is null
          and s.address in (
            coalesce(a.value ->> 'address', flowgres.signal_address(p_key => a.value ->> 'key')), flowgres.signal_address(p_key => null, p_execution_id => r.x)))));
  foreach v_place in array p_places loop
    v_report := p_reports[v_place];
    v_report.waits := flowgres.label_wait(p_for => v_report.input -> 'for');
    p_reports[v_place] := v_report;
  end loop;
end;
$$;
comment on function flowgres.register_waits(flowgres.advance_state, flowgres.step_report[], integer[]) is $$Write down which signals and events these steps wait for.$$;

create or replace function flowgres.forget_waits(p_rows tid[])
  returns void language sql
as $$
  delete from flowgres.waits as w
  using flowgres.work_queue as q
  where q.ctid = any(p_rows) and w.tenant_id = q.tenant_id and w.execution_id = q.execution_id and w.queue_id = q.id;
$$;
comment on function flowgres.forget_waits(tid[]) is $$Delete what the steps of these rows of the queue wait for, which the caller has locked.$$;
