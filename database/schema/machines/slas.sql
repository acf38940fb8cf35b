-- Moving instances on that have been in a state for as long as its sla allows.
--
-- The timer is a column of the instance, which whatever moves it writes anew: leaving the state ends it, coming again begins another
-- one. Every runner fires what is due, and who fires an instance holds its row. Only flowgres.now() decides.

set local role flowgres_owner;

create or replace function flowgres.fire_sla(p_tenant_id uuid, p_ids uuid[], p_state text, p_to text, p_seconds double precision)
  returns integer language plpgsql
as $$
declare
  v_actor text := 'sla:' || p_state;
  v_code text;
  v_refused jsonb;
  v_now timestamptz := flowgres.now();
begin
  begin
    v_refused := flowgres.move_instances(
      p_tenant_id => p_tenant_id, p_ids => p_ids, p_to => p_to, p_executed_by => 'system', p_metadata => '{}', p_context => '{}',
      p_notes => null, p_reports => true, p_own => array_fill(
        jsonb_build_object('actor', v_actor, 'metadata', jsonb_build_object('action', 'sla', 'after', p_seconds)),
        array[cardinality(p_ids)]));
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
          p_tenant_id => p_tenant_id, p_ids => array[i.id], p_state => p_state, p_to => p_to, p_seconds => p_seconds))
        from unnest(p_ids) as i (id));
    end if;
    v_refused := jsonb_build_array(jsonb_build_object(
      'instance_id', p_ids[1], 'code', coalesce(nullif(v_code, ''), sqlstate), 'message', sqlerrm, 'actor', v_actor, 'status', 500));
    perform flowgres.note_refusals(
      p_tenant_id => p_tenant_id, p_refused => v_refused, p_to => p_to, p_executed_by => 'system',
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
comment on function flowgres.fire_sla(uuid, uuid[], text, text, double precision) is $$Move instances on that were in a state for too long, whose rows the caller has locked; returns how many moved

What is refused is told in the audit log, and is not tried again, but for what could not be started. Where somebody holds what the transition starts, they stay due.$$;

set local role flowgres_engine;

create or replace function flowgres.fire_slas(
  p_limit integer, out p_picked integer, out p_moved integer, out p_next_seconds double precision
)
  language plpgsql security definer set search_path to pg_catalog, pg_temp
  -- Who starts by the same key as a transition here may leave its transaction open: the others are not to wait for it.
  set lock_timeout to '100ms'
as $$
declare
  c_most_looked_at constant integer := 10000;
  v_now timestamptz := flowgres.now();
  v_due flowgres.instances[];
  v_is_told boolean;
  -- One entry of the index, however many there are: mostly nothing is due.
  v_first timestamptz := (select i.due_at from flowgres.instances as i where i.due_at is not null order by i.due_at limit 1);
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
      select d.tenant_id, d.id, d.due_at, row_number() over (partition by d.tenant_id order by d.due_at, d.id) as turn
      from (
        select i.tenant_id, i.id, i.due_at from flowgres.instances as i
        where i.due_at <= v_now order by i.due_at limit c_most_looked_at
      ) as d
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
        p_tenant_id => g.tenant_id, p_ids => g.ids, p_state => g.state, p_to => g.sla_to, p_seconds => g.sla_seconds))
      from (
        select i.tenant_id, i.version_id, i.state, s.sla_to, s.sla_seconds, array_agg(i.id order by i.id) as ids
        from unnest(v_due) as i
        join flowgres.machine_states as s on s.tenant_id = i.tenant_id and s.version_id = i.version_id and s.name = i.state
        group by i.tenant_id, i.version_id, i.state, s.sla_to, s.sla_seconds
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
comment on function flowgres.fire_slas(integer) is $$Move instances on whose time in their state is over, p_limit of them at most

Returns how many it took, how many moved, and in how many seconds the next one is due (null when none is). Whoever got as many as it
wanted calls again. Each tenant has its turn.$$;
