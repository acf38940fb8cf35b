-- Events find the steps that wait for them.
--
-- Whoever tells of an event looks at a bounded number of waits, and leaves a note for each step. What is left is the engine's: one note for
-- each mailbox, which the claims follow page by page. So telling costs the same however many wait. A wait that asks for members of the
-- payload has a mailbox named for one of them: an event asks only those whose member it has.

set local role flowgres_owner;

create or replace function flowgres.member_address(p_path text[], p_value jsonb)
  returns text language sql immutable parallel safe
as $$
  -- 1 and 1.0 are the same to what contains them.
  select 'm:' || md5(concat_ws('=', p_path::text, jsonb_typeof(p_value), case jsonb_typeof(p_value)
    when 'number' then trim_scale((p_value #>> '{}')::numeric)::text else p_value::text end));
$$;
comment on function flowgres.member_address(text[], jsonb) is $$The mailbox of those that wait for an event with this value at this place of its payload.$$;

create or replace function flowgres.list_members(p_payload jsonb)
  returns table (path text[], value jsonb) language sql immutable parallel safe
as $$
  with recursive members as (
    select array[m.key] as path, m.value
    from jsonb_each(case when jsonb_typeof(p_payload) = 'object' then p_payload else '{}' end) as m
    union all
    -- Of a payload made of nothing but depth no more than this is read.
    select p.path || m.key, m.value
    from members as p
    cross join lateral jsonb_each(
      case when jsonb_typeof(p.value) = 'object' and cardinality(p.path) < 5 then p.value else '{}' end) as m
  )
  select m.path, m.value from members as m where jsonb_typeof(m.value) not in ('object', 'array');
$$;
comment on function flowgres.list_members(jsonb) is $$The plain values of an object and the objects in it, five deep at most.$$;

create or replace function flowgres.event_address(p_key text, p_match jsonb)
  returns text language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
begin
  -- Which member it is decides only how many an event asks in vain: an id divides more than a word does.
  return coalesce('k:' || p_key, (
    select flowgres.member_address(p_path => m.path, p_value => m.value)
    from flowgres.list_members(p_payload => p_match) as m
    order by m.value::text ~ '[0-9]' desc, length(m.value::text) desc, m.path
    limit 1), '');
end;
$$;
comment on function flowgres.event_address(text, jsonb) is $$The mailbox of a step that waits for an event with this key, or whose payload contains this.$$;

create or replace function flowgres.list_event_addresses(p_tenant_id uuid, p_name text, p_payload jsonb, p_key text)
  returns text[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if not exists (select from flowgres.waits as w where w.tenant_id = p_tenant_id and w.name = p_name) then
    return '{}';
  end if;
  return array(
    select a.address
    from (
      values (''), ('k:' || p_key)
      union
      select flowgres.member_address(p_path => m.path, p_value => m.value) from flowgres.list_members(p_payload => p_payload) as m
    ) as a (address)
    where exists (
      select from flowgres.waits as w where w.tenant_id = p_tenant_id and w.name = p_name and w.address = a.address)
    order by a.address);
end;
$$;
comment on function flowgres.list_event_addresses(uuid, text, jsonb, text) is $$The mailboxes that an event reaches, in which some step waits.$$;

create or replace function flowgres.read_event_waits(
  p_tenant_id uuid, p_name text, p_address text, p_payload jsonb, p_until timestamptz, p_limit integer, inout after jsonb,
  out execution_ids uuid[], out queue_ids bigint[], out tokens bigint[], out indexes smallint[], out seen integer
)
  language plpgsql stable set search_path to pg_catalog, pg_temp set enable_sort to off set enable_bitmapscan to off
  set enable_seqscan to off set enable_hashjoin to off set enable_mergejoin to off set jit to off
as $$
begin
  select
    array_agg(p.execution_id order by p.number) filter (where p.fits), array_agg(p.queue_id order by p.number) filter (where p.fits),
    array_agg(p.token order by p.number) filter (where p.fits), array_agg(p.index order by p.number) filter (where p.fits),
    count(*), (array_agg(jsonb_build_array(p.registered_at, p.execution_id, p.queue_id, p.place) order by p.number desc))[1]
  into execution_ids, queue_ids, tokens, indexes, seen, after
  from (
    select
      row_number() over () as number, w.*,
      (w.match is null or p_payload @> w.match)
      and (w.filter is null or jsonb_path_match(p_payload, w.filter, '{}', true))
      and exists (
        select
        from flowgres.work_queue as q
        where q.tenant_id = w.tenant_id and q.execution_id = w.execution_id and q.id = w.queue_id
          and q.token = w.token and q.runner_id is null and q.waits_for like '%:%') as fits
    from (
      select w.*
      from flowgres.waits as w
      where w.tenant_id = p_tenant_id and w.name = p_name and w.address = p_address and w.kind = 'event'
        and w.registered_at <= p_until and w.registered_at >= (after ->> 0)::timestamptz
        and (w.registered_at, w.execution_id, w.queue_id, w.place)
          > ((after ->> 0)::timestamptz, (after ->> 1)::uuid, (after ->> 2)::bigint, (after ->> 3)::smallint)
      order by w.registered_at, w.execution_id, w.queue_id, w.place
      limit p_limit
    ) as w
  ) as p;
end;
$$;
comment on function flowgres.read_event_waits(uuid, text, text, jsonb, timestamptz, integer, jsonb) is $$The next waits of a mailbox that an event reaches, behind one of them

Whom it wakes, how many were looked at, and which was the last. By those who began first, and none that began after p_until.$$;

create or replace function flowgres.tell_waiting(
  p_tenant_id uuid, p_name text, p_payload jsonb, p_key text, p_now timestamptz, out woken integer, out has_more boolean
)
  language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_id uuid := flowgres.uuid_v7(p_now);
  v_address text;
  v_until timestamptz;
  v_page record;
  v_room integer := 1000;
  v_execution_ids uuid[] := '{}';
  v_queue_ids bigint[] := '{}';
  v_tokens bigint[] := '{}';
  v_indexes smallint[] := '{}';
begin
  has_more := false;
  foreach v_address in array flowgres.list_event_addresses(
    p_tenant_id => p_tenant_id, p_name => p_name, p_payload => p_payload, p_key => p_key)
  loop
    -- Who waits now has begun by then, whatever the clock of this transaction says; who begins later is not meant.
    select max(w.registered_at) into v_until
    from flowgres.waits as w
    where w.tenant_id = p_tenant_id and w.name = p_name and w.address = v_address;
    continue when v_until is null;
    v_page := flowgres.read_event_waits(
      p_tenant_id => p_tenant_id, p_name => p_name, p_address => v_address, p_payload => p_payload, p_until => v_until,
      p_limit => v_room, after => '["-infinity", "00000000-0000-0000-0000-000000000000", 0, 0]');
    v_execution_ids := v_execution_ids || v_page.execution_ids;
    v_queue_ids := v_queue_ids || v_page.queue_ids;
    v_tokens := v_tokens || v_page.tokens;
    v_indexes := v_indexes || v_page.indexes;
    if v_page.seen = v_room then
      has_more := true;
      insert into flowgres.pending_wakes (tenant_id, name, address, resume, requested_at)
      values (
        p_tenant_id, p_name, v_address, jsonb_build_object(
          'signal_id', v_id, 'until', v_until,
          'after', coalesce(v_page.after, '["-infinity", "00000000-0000-0000-0000-000000000000", 0, 0]')), p_now);
    end if;
    v_room := v_room - v_page.seen;
  end loop;
  -- A note for each, and the rest is the engine's: whoever tells of an event holds no row of the queue.
  insert into flowgres.pending_wakes (tenant_id, execution_id, queue_id, token, resume, requested_at)
  select distinct on (w.execution_id, w.queue_id)
    p_tenant_id, w.execution_id, w.queue_id, w.token,
    jsonb_strip_nulls(jsonb_build_object('status', 'woken', 'signal_id', v_id, 'index', w.index)), p_now
  from unnest(v_execution_ids, v_queue_ids, v_tokens, v_indexes) as w (execution_id, queue_id, token, index)
  order by w.execution_id, w.queue_id, w.index;
  get diagnostics woken = row_count;
  if woken > 0 or has_more then
    insert into flowgres.signals (tenant_id, id, kind, name, address, key, payload, sent_by, received_at, expires_at)
    values (
      p_tenant_id, v_id, 'event', p_name, flowgres.signal_address(p_key => p_key), p_key, p_payload, flowgres.actor(), p_now,
      p_now + interval '7 days');
  end if;
end;
$$;
comment on function flowgres.tell_waiting(uuid, text, jsonb, text, timestamptz) is $$Wake all steps that wait for an event, once the transaction has committed

Looks at a thousand waits; has_more says that there are others, whom the claims wake that follow.$$;

create or replace function flowgres.follow_events(p_notes flowgres.pending_wakes[])
  returns integer language plpgsql
as $$
declare
  v_note flowgres.pending_wakes;
  v_notes flowgres.pending_wakes[] := array(
    select n from unnest(p_notes) as n where n.name is not null and n.resume is not null order by n.id);
  v_page record;
  v_after jsonb;
  v_payload jsonb;
  v_share integer := greatest(1000 / greatest(cardinality(v_notes), 1), 50);
  v_room integer := 1000;
  v_seen integer;
  v_count integer := 0;
  -- As many as are taken at a time: there may be more of them.
  v_is_left boolean := cardinality(v_notes) >= 20;
begin
  foreach v_note in array v_notes loop
    select s.payload into v_payload
    from flowgres.signals as s
    where s.tenant_id = v_note.tenant_id and s.id = (v_note.resume ->> 'signal_id')::uuid;
    continue when not found;
    v_after := v_note.resume -> 'after';
    v_seen := 0;
    -- To ask in vain costs little: until some are woken, or many were asked.
    while v_after is not null and v_room > 0 and v_seen < 10 * v_share loop
      v_page := flowgres.read_event_waits(
        p_tenant_id => v_note.tenant_id, p_name => v_note.name, p_address => v_note.address, p_payload => v_payload,
        p_until => (v_note.resume ->> 'until')::timestamptz, p_limit => v_share, after => v_after);
      v_after := case when v_page.seen = v_share then v_page.after end;
      v_seen := v_seen + v_page.seen;
      continue when v_page.queue_ids is null;
      v_room := v_room - cardinality(v_page.queue_ids);
      v_count := v_count + flowgres.wake_rows(
        p_tenant_ids => array_fill(v_note.tenant_id, array[cardinality(v_page.queue_ids)]), p_execution_ids => v_page.execution_ids,
        p_queue_ids => v_page.queue_ids, p_tokens => v_page.tokens, p_resumes => array(
          select jsonb_strip_nulls(jsonb_build_object('status', 'woken', 'signal_id', v_note.resume -> 'signal_id', 'index', w.index))
          from unnest(v_page.indexes) with ordinality as w (index, place)
          order by w.place));
      exit;
    end loop;
    continue when v_after is null;
    -- Behind all that was asked for meanwhile.
    insert into flowgres.pending_wakes (tenant_id, name, address, resume, requested_at)
    values (
      v_note.tenant_id, v_note.name, v_note.address, v_note.resume || jsonb_build_object('after', v_after), flowgres.now());
    v_is_left := true;
  end loop;
  if v_is_left then
    -- Whoever found nothing by this would sleep.
    perform pg_notify('flowgres_work', '');
  end if;
  return v_count;
end;
$$;
comment on function flowgres.follow_events(flowgres.pending_wakes[]) is $$Wake the next steps that wait for the events of these notes, a bounded number; returns how many

What is left has a note again. A process that dies here has done nothing.$$;
