-- Moving instances on, or telling of them, that have been in a state for as long as its sla allows.
--
-- The timer is a column of the instance, which whatever moves it writes anew: leaving the state ends it, coming again begins another
-- one. Every runner fires what is due, and who fires an instance holds its row. Only flowgres.now() decides.

set local role flowgres_owner;

create or replace function flowgres.tell_slas(p_tenant_id uuid, p_ids uuid[], p_actor text, p_event text, p_seconds double precision)
  returns void language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_instance flowgres.instances;
  v_told jsonb;
  v_row flowgres.instance_history;
begin
  for v_instance in
    select i.* from flowgres.instances as i where i.tenant_id = p_tenant_id and i.id = any(p_ids) order by i.id
  loop
    v_told := flowgres.tell_event(
      p_tenant_id => p_tenant_id, p_name => p_event, p_payload => jsonb_build_object(
        'instance_id', v_instance.id, 'entity_table', v_instance.entity_table, 'entity_id', v_instance.entity_id,
        'workflow_name', v_instance.workflow_name, 'state', v_instance.state, 'since', v_instance.updated_at),
      -- The row of the history with which the stay began.
      p_key => format('%s/%s', v_instance.id, v_instance.history_count), p_attributes => null, p_hops => 0, p_created_by => 'engine');
    v_row := row(
      p_tenant_id, v_instance.id, v_instance.history_count + 1, flowgres.uuid_v7(v_now), v_instance.state, v_instance.state, null, 'sla',
      'system', p_actor, v_now, jsonb_build_object(
        'action', 'sla', 'after', p_seconds, 'event', p_event, 'started', v_told -> 'started', 'refused', v_told -> 'refused'),
      '{}', null, '');
    v_row.hash := flowgres.history_hash(v_instance.history_head, v_row);
    -- Since when it is there stays as it was: it is the same stay, and nothing is due any more in it.
    update flowgres.instances as i
    set due_at = null, history_count = v_row.seq, history_head = v_row.hash
    where i.tenant_id = p_tenant_id and i.id = v_instance.id;
    insert into flowgres.instance_history values (v_row.*);
  end loop;
end;
$$;
comment on function flowgres.tell_slas(uuid, uuid[], text, text, double precision) is $$Tell of instances that were in a state for too long, whose rows the caller has locked: an event and a row of history for each

They stay where they are.$$;

create or replace function flowgres.fire_sla(
  p_tenant_id uuid, p_ids uuid[], p_state text, p_to text, p_event text, p_seconds double precision
)
  returns integer language plpgsql
as $$
declare
  v_actor text := 'sla:' || p_state;
  v_code text;
  v_refused jsonb := '[]';
  v_now timestamptz := flowgres.now();
begin
  begin
    if p_event is null then
      v_refused := flowgres.move_instances(
        p_tenant_id => p_tenant_id, p_ids => p_ids, p_to => p_to, p_executed_by => 'system', p_metadata => '{}', p_context => '{}',
        p_notes => null, p_reports => true, p_own => array_fill(
          jsonb_build_object('actor', v_actor, 'metadata', jsonb_build_object('action', 'sla', 'after', p_seconds)),
          array[cardinality(p_ids)]));
    else
      perform flowgres.tell_slas(
        p_tenant_id => p_tenant_id, p_ids => p_ids, p_actor => v_actor, p_event => p_event, p_seconds => p_seconds);
    end if;
  exception
  when lock_not_available then
    return 0;
  when others then
    -- What has nothing to do with these instances comes again, and then it may do.
    if sqlstate ~ '^(40|53|55|57|58)' then
      raise;
    end if;
    get stacked diagnostics v_code = constraint_name;
    if cardinality(p_ids) > 1 then
      return (
        select sum(flowgres.fire_sla(
          p_tenant_id => p_tenant_id, p_ids => array[i.id], p_state => p_state, p_to => p_to, p_event => p_event,
          p_seconds => p_seconds))
        from unnest(p_ids) as i (id));
    end if;
    v_refused := jsonb_build_array(jsonb_build_object(
      'instance_id', p_ids[1], 'code', coalesce(nullif(v_code, ''), sqlstate), 'message', sqlerrm, 'actor', v_actor, 'status', 500));
    perform flowgres.note_refusals(
      p_tenant_id => p_tenant_id, p_refused => v_refused, p_to => coalesce(p_to, p_state), p_executed_by => 'system',
      p_now => v_now);
  end;
  if v_refused <> '[]' then
    -- Nothing that the rules judge by changes while it stays there, so it would be refused again for ever. What would be started may be
    -- there later: each time it is waited for as long again as it is overdue.
    update flowgres.instances as i
    set due_at = case when r.value ? 'status' then v_now + greatest(
      interval '1 minute', v_now - i.updated_at - make_interval(secs => p_seconds)) end
    from jsonb_array_elements(v_refused) as r (value)
    where i.tenant_id = p_tenant_id and i.id = (r.value ->> 'instance_id')::uuid;
  end if;
  return cardinality(p_ids) - jsonb_array_length(v_refused);
end;
$$;
comment on function flowgres.fire_sla(uuid, uuid[], text, text, text, double precision) is $$Move instances on, or tell of them, that were in a state for too long, whose rows the caller has locked; returns how many it did that with

One of p_to and p_event is null.
What is refused is told in the audit log, and is not tried again, but for what could not be started. Where somebody holds what the transition starts, they stay due.$$;

create or replace function flowgres.next_sla_at()
  returns timestamptz language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_first record;
begin
  -- One entry of the index, however many there are: mostly nothing is due.
  select i.due_at, t.status into v_first
  from (select s.tenant_id, s.due_at from flowgres.instances as s where s.due_at is not null order by s.due_at limit 1) as i
  join flowgres.tenants as t on t.tenant_id = i.tenant_id;
  if v_first.status is distinct from 'suspended' then
    return v_first.due_at;
  end if;
  return (
    select min(d.due_at)
    from flowgres.tenants as t
    cross join lateral (
      select i.due_at from flowgres.instances as i where i.tenant_id = t.tenant_id and i.due_at is not null order by i.due_at limit 1
    ) as d
    where t.status <> 'suspended');
end;
$$;
comment on function flowgres.next_sla_at() is $$When the first sla of all tenants is due; null when none is. Those of suspended tenants wait.$$;

set local role flowgres_engine;

create or replace function flowgres.fire_slas(
  p_limit integer, out p_picked integer, out p_moved integer, out p_next_seconds double precision
)
  language plpgsql security definer set search_path to pg_catalog, pg_temp
  -- Who starts by the same key as a transition here may leave its transaction open: the others are not to wait for it.
  set lock_timeout to '100ms'
as $$
declare
  c_most_of_one constant integer := 500;
  c_most_looked_at constant integer := 1000;
  v_now timestamptz := flowgres.now();
  v_due flowgres.instances[];
  v_is_told boolean;
  v_first timestamptz := flowgres.next_sla_at();
begin
  p_picked := 0;
  p_moved := 0;
  if v_first is null or v_first > v_now then
    p_next_seconds := extract(epoch from v_first - v_now);
    return;
  end if;
  perform flowgres.require_original();
  v_due := array(
    select i
    from (
      select d.tenant_id, d.id, d.due_at, d.turn
      from flowgres.tenants as a
      -- Of each tenant its first ones, whatever others have waiting: more than runners hold at a time.
      cross join lateral (
        select s.tenant_id, s.id, s.due_at, row_number() over (order by s.due_at) as turn
        from (
          select i.tenant_id, i.id, i.due_at from flowgres.instances as i
          where i.tenant_id = a.tenant_id and i.due_at <= v_now order by i.due_at limit c_most_of_one
        ) as s
      ) as d
      where a.status <> 'suspended'
      order by d.turn, d.due_at, d.id
      limit c_most_looked_at
    ) as t
    join flowgres.instances as i on i.tenant_id = t.tenant_id and i.id = t.id
    -- Judged again under the lock: it may have moved just now, and have another timer or none.
    where i.due_at <= v_now
    -- In turns: a tenant with a thousand of them at once delays nobody else's.
    order by t.turn, t.due_at, t.id
    limit p_limit
    for no key update of i skip locked);
  p_picked := cardinality(v_due);
  if p_picked > 0 then
    p_moved := (
      select sum(flowgres.fire_sla(
        p_tenant_id => g.tenant_id, p_ids => g.ids, p_state => g.state, p_to => g.sla_to, p_event => g.sla_event,
        p_seconds => g.sla_seconds))
      from (
        select i.tenant_id, i.version_id, i.state, s.sla_to, s.sla_event, s.sla_seconds, array_agg(i.id order by i.id) as ids
        from unnest(v_due) as i
        join flowgres.machine_states as s on s.tenant_id = i.tenant_id and s.version_id = i.version_id and s.name = i.state
        group by i.tenant_id, i.version_id, i.state, s.sla_to, s.sla_event, s.sla_seconds
      ) as g);
  end if;
  if p_moved > 0 then
    v_is_told := flowgres.wake_runners();
  end if;
  p_next_seconds := (
    select extract(epoch from i.due_at - flowgres.now())
    from flowgres.instances as i
    where i.due_at > v_now order by i.due_at limit 1);
end;
$$;
comment on function flowgres.fire_slas(integer) is $$Move instances on, or tell of them, whose time in their state is over: p_limit of them at most

Returns how many it took, with how many of them it did that, and in how many seconds the next one is due (null when none is). Whoever got as many as it
wanted calls again. Each tenant has its turn.$$;
