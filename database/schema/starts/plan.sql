-- What becomes of starts of a version that has a rule for them.
--
-- Whoever starts holds the row of the key until its transaction ends, so starts of one key come one after the other. It waits
-- for nothing else: an execution that somebody holds has begun, or is about to end.

set local role flowgres_owner;

create or replace function flowgres.hold_waiting(p_tenant_id uuid, p_execution_id uuid)
  returns boolean language plpgsql
as $$
declare
  v_count integer;
begin
  perform from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id = p_execution_id and e.finished_at is null and e.started_at is null
  for no key update skip locked;
  if not found then
    return false;
  end if;
  -- A row that a claim has made ready, or is about to, is no longer parked: judged under its lock.
  select count(*) into v_count
  from (
    select from flowgres.work_queue as q
    where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id and q.due_at is not null and q.waits_for = 'start'
    for update skip locked
  ) as q;
  return v_count > 0 and v_count = (
    select count(*) from flowgres.work_queue as q where q.tenant_id = p_tenant_id and q.execution_id = p_execution_id);
end;
$$;
comment on function flowgres.hold_waiting(uuid, uuid) is $$Lock an execution that waits to begin, with its rows of the queue; false when it has begun, has ended, or is held

Waits for nobody: promotions and claims pass over what is locked here, and this passes over what they have.$$;

create or replace function flowgres.plan_debounce(
  p_version flowgres.workflow_versions, p_key flowgres.start_keys, p_places integer[], p_ids uuid[],
  p_scheduled_at timestamptz, inout p_plan flowgres.start_plan
)
  language plpgsql
as $$
declare
  v_rule flowgres.start_rule := p_version.start_rule;
  v_now timestamptz := flowgres.now();
  v_is_waiting boolean := p_key.execution_id is not null
    and flowgres.hold_waiting(p_tenant_id => p_key.tenant_id, p_execution_id => p_key.execution_id);
  v_since timestamptz := case when v_is_waiting then p_key.since else v_now end;
  v_begins_at timestamptz := greatest(p_scheduled_at, least(
    v_now + make_interval(secs => v_rule.window_seconds), v_since + make_interval(secs => v_rule.most_seconds)));
  v_id uuid := case when v_is_waiting then p_key.execution_id else p_ids[p_places[1]] end;
  v_last integer := p_places[cardinality(p_places)];
  v_place integer;
begin
  foreach v_place in array p_places loop
    p_plan.ids[v_place] := v_id;
  end loop;
  if v_is_waiting then
    p_plan.moved_ids := p_plan.moved_ids || v_id;
    p_plan.moved_places := p_plan.moved_places || v_last;
    p_plan.moved_begins_at := p_plan.moved_begins_at || v_begins_at;
  else
    p_plan.new_ids := p_plan.new_ids || v_id;
    p_plan.new_places := p_plan.new_places || v_last;
    p_plan.new_begins_at := p_plan.new_begins_at || v_begins_at;
  end if;
  update flowgres.start_keys as k
  set execution_id = v_id, since = v_since, expires_at = greatest(v_begins_at, v_now) + interval '1 day'
  where k.tenant_id = p_key.tenant_id and k.workflow_id = p_key.workflow_id and k.key = p_key.key;
end;
$$;
comment on function flowgres.plan_debounce is $$Starts of a key that wait until no other comes: the last one counts

The execution that waits takes its input and begins later, but not later than the rule allows from the first one on. Once it has
begun the next start makes another one.$$;

create or replace function flowgres.plan_throttle(
  p_version flowgres.workflow_versions, p_key flowgres.start_keys, p_places integer[], p_ids uuid[],
  inout p_plan flowgres.start_plan
)
  language plpgsql
as $$
declare
  v_rule flowgres.start_rule := p_version.start_rule;
  v_now timestamptz := flowgres.now();
  v_window interval := make_interval(secs => v_rule.window_seconds);
  v_begins timestamptz[] := p_key.begins_at;
  v_begins_at timestamptz;
  v_place integer;
begin
  foreach v_place in array p_places loop
    -- As many as may begin in the time are known: the next one begins when the first of them is that far back.
    v_begins_at := greatest(v_now, v_begins[cardinality(v_begins) - v_rule.start_limit + 1] + v_window);
    if v_begins_at > v_now and v_rule.response = 'reject' or v_begins_at > v_now + interval '1827 days' then
      perform flowgres.fail(
        p_status => 429, p_code => 'start_throttled',
        p_headers => flowgres.retry_after(v_begins_at - v_now), p_hint => flowgres.retry_hint(v_begins_at - v_now),
        p_message => format('workflow %s lets %s executions begin in %s s%s', p_version.workflow_id, v_rule.start_limit,
          v_rule.window_seconds, case when p_key.key <> '' then format(' for the key %s', left(p_key.key, 100)) else '' end));
    end if;
    v_begins := v_begins || v_begins_at;
    v_begins := v_begins[greatest(cardinality(v_begins) - v_rule.start_limit + 1, 1):];
    p_plan.ids[v_place] := p_ids[v_place];
    p_plan.new_ids := p_plan.new_ids || p_ids[v_place];
    p_plan.new_places := p_plan.new_places || v_place;
    p_plan.new_begins_at := p_plan.new_begins_at || nullif(v_begins_at, v_now);
  end loop;
  update flowgres.start_keys as k
  set execution_id = p_plan.ids[v_place], begins_at = v_begins, expires_at = v_begins_at + v_window + interval '1 hour'
  where k.tenant_id = p_key.tenant_id and k.workflow_id = p_key.workflow_id and k.key = p_key.key;
end;
$$;
comment on function flowgres.plan_throttle is $$Starts of a key of which only so many may begin in a time, whichever time of that length one looks at

Those beyond begin when there is room, in the order of their starts, or are refused with 429.$$;

create or replace function flowgres.plan_singleton(
  p_version flowgres.workflow_versions, p_key flowgres.start_keys, p_places integer[], p_ids uuid[],
  inout p_plan flowgres.start_plan
)
  language plpgsql
as $$
declare
  v_first integer := p_places[1];
  v_is_alone boolean := p_key.execution_id is null or not exists (
    select from flowgres.executions as e
    where e.tenant_id = p_key.tenant_id and e.id = p_key.execution_id and e.finished_at is null);
  v_id uuid := case when v_is_alone then p_ids[v_first] else p_key.execution_id end;
  v_place integer;
begin
  if (p_version.start_rule).response = 'reject' and (not v_is_alone or cardinality(p_places) > 1) then
    perform flowgres.fail(
      p_status => 409, p_code => 'singleton_running',
      p_message => case when v_is_alone then 'two inputs of this call have the same key, and only one execution of it may run'
        else format('execution %s has not ended, and only one of its key may run', v_id) end,
      p_details => case when not v_is_alone then v_id::text end,
      p_hint => 'Start again when it has ended, or let settings.start say singleton: return.');
  end if;
  foreach v_place in array p_places loop
    p_plan.ids[v_place] := v_id;
  end loop;
  if v_is_alone then
    p_plan.new_ids := p_plan.new_ids || v_id;
    p_plan.new_places := p_plan.new_places || v_first;
    p_plan.new_begins_at := p_plan.new_begins_at || null::timestamptz;
    update flowgres.start_keys as k
    set execution_id = v_id, expires_at = flowgres.now() + interval '1 day'
    where k.tenant_id = p_key.tenant_id and k.workflow_id = p_key.workflow_id and k.key = p_key.key;
  end if;
end;
$$;
comment on function flowgres.plan_singleton is $$Starts of a key of which one execution at most has not ended: another start stands for it, or is refused with 409.$$;

create or replace function flowgres.plan_starts(
  p_version flowgres.workflow_versions, p_ids uuid[], p_inputs jsonb[], p_scheduled_at timestamptz
)
  returns flowgres.start_plan language plpgsql
as $$
declare
  v_plan flowgres.start_plan;
  v_group record;
  v_key flowgres.start_keys;
begin
  -- In the order of the keys: two calls with many cannot wait for each other.
  for v_group in
    select k.key, array_agg(k.place::integer order by k.place) as places
    from (
      select flowgres.start_key(p_input => i.value, p_path => (p_version.start_rule).key_path) as key, i.place
      from unnest(p_inputs) with ordinality as i (value, place)
    ) as k
    group by k.key
    order by k.key collate "C"
  loop
    insert into flowgres.start_keys as k (tenant_id, workflow_id, key, expires_at)
    values (p_version.tenant_id, p_version.workflow_id, v_group.key, flowgres.now() + interval '1 day')
    on conflict (tenant_id, workflow_id, key) do update set expires_at = greatest(k.expires_at, excluded.expires_at)
    returning k.* into v_key;
    case (p_version.start_rule).kind
      when 'debounce' then
        v_plan := flowgres.plan_debounce(
          p_version => p_version, p_key => v_key, p_places => v_group.places, p_ids => p_ids,
          p_scheduled_at => p_scheduled_at, p_plan => v_plan);
      when 'throttle' then
        v_plan := flowgres.plan_throttle(
          p_version => p_version, p_key => v_key, p_places => v_group.places, p_ids => p_ids,
          p_plan => v_plan);
      when 'singleton' then
        v_plan := flowgres.plan_singleton(
          p_version => p_version, p_key => v_key, p_places => v_group.places, p_ids => p_ids,
          p_plan => v_plan);
    end case;
  end loop;
  if (p_version.start_rule).kind = 'singleton' and p_scheduled_at is not null then
    v_plan.new_begins_at := array_fill(p_scheduled_at, array[cardinality(v_plan.new_ids)]);
  end if;
  return v_plan;
end;
$$;
comment on function flowgres.plan_starts is $$What becomes of starts of a version that has a rule for them; locks their keys.$$;

create or replace function flowgres.retry_after(p_wait interval)
  returns jsonb language sql immutable set search_path to pg_catalog, pg_temp
as $$ select jsonb_build_object('Retry-After', greatest(ceil(extract(epoch from p_wait)), 1)::bigint::text); $$;
comment on function flowgres.retry_after(interval) is $$The header that says when a call may come again.$$;

create or replace function flowgres.retry_hint(p_wait interval)
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$ select format('Start again in %s s.', flowgres.retry_after(p_wait) ->> 'Retry-After'); $$;
comment on function flowgres.retry_hint(interval) is $$The same for people.$$;

create or replace function flowgres.check_may_schedule(
  p_version flowgres.workflow_versions, p_scheduled_at timestamptz, p_now timestamptz
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if (p_version.start_rule).kind = 'throttle' and p_scheduled_at > p_now then
    perform flowgres.fail(
      p_status => 422, p_code => 'scheduled_at_refused', p_message => 'a throttle says itself when executions of this workflow begin',
      p_details => 'scheduled_at', p_hint => 'Start without scheduled_at.');
  end if;
end;
$$;
comment on function flowgres.check_may_schedule is $$Refuse a start for later where a throttle decides: it cannot keep room in times to come.$$;

create or replace function flowgres.answer_ruled_start(
  p_tenant_id uuid, p_execution_id uuid, p_is_created boolean, p_workflow_id uuid, p_idempotency_key text
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if not p_is_created and p_idempotency_key is not null then
    update flowgres.idempotency_keys as k
    set execution_id = p_execution_id
    where k.tenant_id = p_tenant_id and k.workflow_id = p_workflow_id and k.key = p_idempotency_key;
  end if;
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', case when p_is_created then '201' else '200' end, true);
  end if;
  return (
    select jsonb_build_object(
      'execution_id', e.id, 'status', e.status, 'created', p_is_created, 'scheduled_at', e.scheduled_at)
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id = p_execution_id);
end;
$$;
comment on function flowgres.answer_ruled_start is $$Answer a start of a version that has a rule for starts; a repeated call with its key gets the same execution.$$;
