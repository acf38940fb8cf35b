-- Runner processes: registration, heartbeat, signing off, rescue of what the dead hold.

set local role flowgres_engine;

create or replace function flowgres.register_runner(p_runner_id uuid, p_info jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_system_id uuid := flowgres.system_tenant_id();
  v_now timestamptz := flowgres.now();
  v_environment text := flowgres.setting(v_system_id, 'environment') #>> '{}';
  v_protocol integer := (flowgres.setting(v_system_id, 'protocol'))::integer;
begin
  if (p_info ->> 'protocol')::integer is distinct from v_protocol then
    perform flowgres.fail(
      p_status => 409, p_code => 'protocol_mismatch',
      p_message => format('the runner speaks protocol %s, the database %s', p_info ->> 'protocol', v_protocol),
      p_hint => 'Install the same version of flowgres: flowgres db upgrade, or upgrade the runner.');
  end if;
  if p_info ->> 'environment' is distinct from v_environment then
    perform flowgres.fail(
      p_status => 409, p_code => 'environment_mismatch',
      p_message => format('the runner is for %L, this database is %L', p_info ->> 'environment', v_environment),
      p_hint => 'A copy of production must not send anything. Set ENV of the runner, or change the database''s: '
        'flowgres db install --change-environment.');
  end if;
  perform flowgres.require_original();
  insert into flowgres.runners (id, name, version, protocol, capabilities, labels, concurrency, started_at, seen_at, heard_seconds)
  values (
    p_runner_id, coalesce(p_info ->> 'name', 'runner'), coalesce(p_info ->> 'version', '?'), v_protocol,
    case when coalesce((p_info ->> 'serves_core')::boolean, true) then array['core'] else '{}' end || array(
      select t.value ->> 'type' from jsonb_array_elements(coalesce(p_info -> 'step_types', '[]')) as t (value)
      where not coalesce((t.value ->> 'core')::boolean, false) or (t.value ->> 'optional')::boolean),
    array(select jsonb_array_elements_text(coalesce(p_info -> 'labels', '[]'))),
    coalesce((p_info ->> 'concurrency')::integer, 100), v_now, v_now, flowgres.watched_seconds(p_now => v_now));
  insert into flowgres.step_types (type, config_schema, secret_places, is_core)
  select
    t.value ->> 'type', coalesce(t.value -> 'config_schema', '{}'),
    array(select jsonb_array_elements_text(coalesce(t.value -> 'secret_places', '[]'))),
    coalesce((t.value ->> 'core')::boolean, false)
  from jsonb_array_elements(coalesce(p_info -> 'step_types', '[]')) as t (value)
  order by 1
  on conflict (tenant_id, type) do update
  set
    config_schema = excluded.config_schema, secret_places = excluded.secret_places, is_core = excluded.is_core,
    updated_at = clock_timestamp();
  return jsonb_build_object(
    'now', v_now,
    'lease_seconds', flowgres.setting(v_system_id, 'lease_seconds'),
    'heartbeat_seconds', flowgres.setting(v_system_id, 'heartbeat_seconds'),
    'poll_seconds', flowgres.setting(v_system_id, 'poll_seconds'),
    'step_timeout_seconds', flowgres.setting(v_system_id, 'http_step_timeout_seconds'),
    'max_output_bytes', flowgres.setting(v_system_id, 'max_output_bytes'),
    'max_json_depth', flowgres.setting(v_system_id, 'max_json_depth'),
    'max_delay_seconds', flowgres.setting(v_system_id, 'max_delay_seconds'));
end;
$$;
comment on function flowgres.register_runner(uuid, jsonb) is $$Announce a new runner process

p_info: {name, version, protocol, environment, step_types: [{type, config_schema, secret_places, core, optional}], serves_core, labels,
concurrency}; without serves_core it does not take the steps that every runner can run. Returns the
settings that runners follow.$$;

create or replace function flowgres.heartbeat(p_runner_id uuid, p_running jsonb, p_stats jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
as $$
declare
  v_now timestamptz;
  v_must_drain boolean;
begin
  -- Whoever had to wait for the row was silent by no fault of its own: the time is asked once the row is ours.
  perform from flowgres.runners as r
  where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id
  for no key update;
  v_now := flowgres.now();
  update flowgres.runners as r
  set seen_at = v_now, heard_seconds = flowgres.watched_seconds(p_now => v_now), stats = p_stats
  where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id and r.stopped_at is null
  returning r.drained_at is not null
    or r.protocol <> (flowgres.setting(flowgres.system_tenant_id(), 'protocol'))::integer
  into v_must_drain;
  return jsonb_build_object(
    -- The address may lead to a copy now: whoever lives there by the copy's rows has to register, and is refused.
    'alive', found and not flowgres.is_copy(),
    'now', v_now,
    'drain', coalesce(v_must_drain, false),
    'lost', (
      select coalesce(jsonb_agg((r.value ->> 2)::bigint), '[]')
      from jsonb_array_elements(p_running) as r (value)
      where not exists (
        select from flowgres.work_queue as q
        where q.tenant_id = (r.value ->> 0)::uuid and q.execution_id = (r.value ->> 1)::uuid
          and q.id = (r.value ->> 2)::bigint and q.runner_id = p_runner_id and q.token = (r.value ->> 3)::bigint)));
end;
$$;
comment on function flowgres.heartbeat(uuid, jsonb, jsonb) is $$Show that a runner lives

One row is the lease of all it has claimed. p_running lists leases as [tenant, execution, queue row, token]; the answer names
those that it no longer holds, to be aborted. alive is false once it was given up: it must register anew. drain is
true when it was told to finish, or a breaking upgrade has made its protocol one of the past.$$;

create or replace function flowgres.declare_idle(p_runner_id uuid, p_idle boolean)
  returns double precision language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_due_at timestamptz;
begin
  update flowgres.runners as r set is_idle = p_idle
  where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id and r.is_idle <> p_idle;
  select q.due_at into v_due_at
  from flowgres.work_queue as q
  where q.due_at >= coalesce((flowgres.known_floors()).due_at, '-infinity')
  order by q.due_at
  limit 1;
  return case when v_due_at < 'infinity' then greatest(extract(epoch from v_due_at - flowgres.now()), 0) end;
end;
$$;
comment on function flowgres.declare_idle(uuid, boolean) is $$Say that a runner is about to sleep, so that starts wake it; returns the seconds to the next due step, or null

The runner claims once more afterwards: what came in between is found then.$$;

create or replace function flowgres.stop_runner(p_runner_id uuid)
  returns void language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  update flowgres.runners as r set stopped_at = flowgres.now(), is_idle = false, is_signed_off = true
  where r.tenant_id = '00000000-0000-0000-0000-000000000000' and r.id = p_runner_id and r.stopped_at is null;
  if found then
    -- What somebody holds, or a claim under way brings, is the next sweep's.
    perform flowgres.give_back(p_runner_id => p_runner_id, p_leases => '[]', p_is_listed => false);
  end if;
end;
$$;
comment on function flowgres.stop_runner(uuid) is $$Sign a runner off, and give back whatever it still holds.$$;

create or replace function flowgres.rescue_expired_leases(p_limit integer)
  returns integer language plpgsql security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
as $$
declare
  v_now timestamptz := flowgres.now();
  v_watched_seconds double precision;
  v_lease_seconds double precision := (flowgres.setting(flowgres.system_tenant_id(), 'lease_seconds'))::double precision;
  v_runner_id uuid;
  v_is_signed_off boolean;
  v_reports flowgres.step_report[];
  v_count integer := 0;
begin
  perform flowgres.require_read_committed();
  v_watched_seconds := flowgres.keep_watch(p_now => v_now);
  update flowgres.runners as r
  set stopped_at = v_now, is_idle = false
  where r.ctid = any(array(
    -- A row that is held is that of a runner whose heartbeat may be waiting for it.
    select s.ctid
    from flowgres.runners as s
    where s.stopped_at is null and s.heard_seconds < v_watched_seconds - v_lease_seconds
    for update skip locked));

  -- Leases of runners that are gone: given up just now or before, or signed off while a call of theirs was under way.
  for v_runner_id, v_is_signed_off in
    select r.id, r.is_signed_off
    from flowgres.runners as r
    where r.stopped_at is not null and exists (select from flowgres.work_queue as q where q.runner_id = r.id)
    order by r.stopped_at
  loop
    if v_is_signed_off then
      -- It lived to the end, so no step of its is to blame for that.
      v_count := v_count + flowgres.give_back(p_runner_id => v_runner_id, p_leases => '[]', p_is_listed => false);
      exit when v_count >= p_limit;
      continue;
    end if;
    select array_agg(flowgres.make_lost_report(
      p_tenant_id => l.tenant_id, p_execution_id => l.execution_id, p_queue_id => l.id, p_token => l.token,
      p_step_index => l.step_index, p_milliseconds => extract(epoch from v_now - l.claimed_at) * 1000))
    into v_reports
    from (
      select q.* from flowgres.work_queue as q where q.runner_id = v_runner_id order by q.id limit p_limit - v_count
    ) as l
    -- Somebody who holds an execution must not keep the others from being rescued: it is the next sweep's.
    cross join lateral (
      select from flowgres.executions as e
      where e.tenant_id = l.tenant_id and e.id = l.execution_id
      for no key update skip locked
    ) as e;
    if v_reports is not null then
      perform flowgres.advance(
        p_runner_id => v_runner_id, p_reports => v_reports, p_capabilities => '{}', p_want => 0);
      v_count := v_count + cardinality(v_reports);
    end if;
    exit when v_count >= p_limit;
  end loop;
  if v_count > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_count;
end;
$$;
comment on function flowgres.rescue_expired_leases(integer) is $$Give up runners that were silent for a lease, and free what they hold, a bounded number; returns how many

This is the sweep, about once a second by every runner, and silence counts only while there are sweeps. The attempt stays
counted: a step that kills its runner is failed after its attempts.$$;

create or replace function flowgres.get_version(p_version_id uuid)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select jsonb_build_object(
      'version_id', v.id, 'workflow_id', v.workflow_id, 'workflow_name', w.name, 'version', v.version,
      'tenant_id', v.tenant_id, 'tenant_slug', t.slug, 'timeout_seconds', v.timeout_seconds,
      'compiled_format', v.compiled_format,
      'limits', jsonb_build_object(
        'max_output_bytes', flowgres.setting(v.tenant_id, 'max_output_bytes'),
        'step_timeout_seconds', flowgres.setting(v.tenant_id, 'http_step_timeout_seconds'),
        'max_delay_seconds', flowgres.setting(v.tenant_id, 'max_delay_seconds'),
        'max_json_depth', flowgres.setting(v.tenant_id, 'max_json_depth'),
        'provider_settings', jsonb_build_object(
          'notify_mode', flowgres.setting(v.tenant_id, 'notify_mode'),
          'llm_mode', flowgres.setting(v.tenant_id, 'llm_mode'),
          'llm_prices', flowgres.setting(v.tenant_id, 'llm_prices'))),
      'steps', (
        select jsonb_agg(
          jsonb_build_object(
            'index', s.index, 'id', s.id, 'type', s.type, 'config', s.config, 'when', s.when_expression,
            'output', s.output_template, 'uses_secrets', to_jsonb(s.secret_names), 'timeout_seconds', s.timeout_seconds,
            'capability', s.capability, 'section', s.section, 'items', s.iterates -> 'items',
            'until', s.repeats -> 'until', 'on_timeout', s.on_timeout,
            'record', case when v.definition @? '$.**.record' then (
              select l.step ->> 'record' from flowgres.list_sections(v.definition) as l where l.section = s.section and l.id = s.id) end,
            'next', s.next_index, 'sees_instance', flowgres.sees_instance(s),
            'chain', (
              select jsonb_build_object(
                'count', cardinality(c.indexes), 'is_whole', c.is_whole, 'opened_count', cardinality(c.opens))
              from flowgres.chains as c
              where c.tenant_id = s.tenant_id and c.version_id = s.version_id and c.head = s.index),
            'branches', (
              select jsonb_object_agg(b.key, (
                select coalesce(jsonb_agg(c.id order by c.index), '[]')
                from flowgres.workflow_steps as c
                where c.tenant_id = s.tenant_id and c.version_id = s.version_id and to_jsonb(c.index) <@ b.value))
              from jsonb_each(s.branches) as b),
            'references', (
              select coalesce(jsonb_agg(r.id order by r.index), '[]')
              from flowgres.workflow_steps as r
              where r.tenant_id = s.tenant_id and r.version_id = s.version_id and r.index = any(s.reference_indexes)))
          order by s.index)
        from flowgres.workflow_steps as s
        where s.tenant_id = v.tenant_id and s.version_id = v.id))
    from flowgres.workflow_versions as v
    join flowgres.workflows as w on w.tenant_id = v.tenant_id and w.id = v.workflow_id
    join flowgres.tenants as t on t.tenant_id = v.tenant_id
    where v.id = p_version_id);
end;
$$;
comment on function flowgres.get_version(uuid) is $$A compiled version, for the runners' cache: it never changes.$$;
