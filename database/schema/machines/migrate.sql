-- Moving instances from the version that they started with to another one of their machine, in batches that hold few locks.

set local role flowgres_owner;

create or replace function flowgres.write_migration(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb, p_completed boolean, p_ids uuid[],
  out p_moves jsonb, out p_examples jsonb
)
  language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_actor text := flowgres.actor();
  v_problems jsonb;
begin
  with
  -- As they are now that they are locked: whoever held them may have moved them, or have ended them.
  judged as materialized (
    select
      i::flowgres.instances as instance, v.version, i.state as from_state, g.name as to_state, g.is_final, g.sla_seconds,
      case
        when g.name is null then 'state_unmapped'
        when i.completed_at is not null and not g.is_final and flowgres.find_active(i) is not null then 'instance_exists'
      end as code
    from unnest(p_ids) as a (id)
    cross join lateral (
      select x.* from flowgres.instances as x where x.tenant_id = (p_target).tenant_id and x.id between a.id and a.id
      order by x.id limit 1
    ) as i
    join flowgres.workflow_versions as v on v.tenant_id = i.tenant_id and v.id = i.version_id
    left join flowgres.machine_states as g
      on g.tenant_id = i.tenant_id and g.version_id = (p_target).id and g.name = coalesce(p_map ->> i.state, i.state)
    where (p_completed or i.completed_at is null) and i.workflow_id = (p_target).workflow_id and i.version_id <> (p_target).id
      and v.version = coalesce(p_from_version, v.version)
  ),
  made as materialized (
    select
      j.instance, j.is_final, j.sla_seconds,
      row(
        (p_target).tenant_id, (j.instance).id, (j.instance).history_count + 1, flowgres.uuid_v7(v_now), j.from_state, j.to_state,
        null, 'migrated', 'system', v_actor, v_now, '{"action": "migrated"}',
        jsonb_build_object('from_version', j.version, 'to_version', (p_target).version)
        -- For the end of what is under way: its row is not written here, as whoever ends executions waits for nobody.
        || case when p_map <> '{}' and exists (
          select from flowgres.instance_executions as x
          where x.tenant_id = (p_target).tenant_id and x.instance_id = (j.instance).id and (x.status is null or x.due_at is not null))
          then jsonb_build_object('map', p_map) else '{}' end,
        format('Migrated from version %s to %s', j.version, (p_target).version), '')::flowgres.instance_history as told
    from judged as j
    where not exists (select from judged as r where r.code is not null)
  ),
  chained as materialized (
    select m.instance, m.is_final, m.sla_seconds, m.told, flowgres.history_hash((m.instance).history_head, m.told) as hash from made as m
  ),
  moved as (
    update flowgres.instances as i
    set
      version_id = (p_target).id, state = (c.told).to_state, updated_at = v_now,
      -- Completed it stays since when it was.
      completed_at = case when c.is_final then coalesce((c.instance).completed_at, v_now) end,
      history_count = (c.told).seq, history_head = c.hash,
      -- The time that the new version allows, from now on: what the instance has spent under another rule is not held against it.
      due_at = v_now + make_interval(secs => c.sla_seconds)
    from chained as c
    cross join lateral (
      select x.ctid as place from flowgres.instances as x
      where x.tenant_id = (p_target).tenant_id and x.id between (c.told).instance_id and (c.told).instance_id
      order by x.id limit 1
    ) as l
    where i.ctid = l.place
  ),
  written as (
    insert into flowgres.instance_history (
      tenant_id, instance_id, seq, id, from_state, to_state, transition_id, transition_name, executed_by, actor, executed_at,
      metadata, context, notes, hash)
    select
      (p_target).tenant_id, (c.told).instance_id, (c.told).seq, (c.told).id, (c.told).from_state, (c.told).to_state, null,
      (c.told).transition_name, (c.told).executed_by, v_actor, v_now, (c.told).metadata, (c.told).context, (c.told).notes, c.hash
    from chained as c
  ),
  counted as (
    select j.code, j.version, j.from_state, j.to_state, count(*) as count
    from judged as j
    group by j.code, j.version, j.from_state, j.to_state
  )
  select
    coalesce(jsonb_agg(flowgres.describe_migration_problem(
      p_code => c.code, p_version => c.version, p_from => c.from_state, p_to => c.to_state, p_count => c.count)
      order by c.code desc, c.version, c.from_state) filter (where c.code is not null), '[]'),
    coalesce(jsonb_agg(jsonb_build_object(
      'from_version', c.version, 'from_state', c.from_state, 'to_state', c.to_state, 'instances', c.count)
      order by c.version, c.from_state), '[]'),
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'instance_id', (e.instance).id, 'entity_table', (e.instance).entity_table, 'entity_id', (e.instance).entity_id,
        'from_version', e.version, 'from_state', e.from_state, 'to_state', e.to_state) order by (e.instance).id), '[]')
      from (select j.* from judged as j order by (j.instance).id limit 100) as e
    )
  into v_problems, p_moves, p_examples
  from counted as c;
  if v_problems <> '[]' then
    perform flowgres.refuse_migration(p_problems => v_problems);
  end if;
end;
$$;
comment on function flowgres.write_migration is $$Move instances, whose rows the caller has locked, to a version; returns how many by version and state, and up to 100 of them

All or none. Those that are there by now, or were completed meanwhile, are passed by.$$;

create or replace function flowgres.migrate_batch(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb, p_completed boolean, p_limit integer,
  out p_moves jsonb, out p_examples jsonb
)
  language plpgsql set search_path to pg_catalog, pg_temp
  -- One plan, which a session that began with few instances keeps: each by its key.
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off
  set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  c_most_tries constant integer := 3;
  v_versions uuid[] := array(
    select v.id from flowgres.workflow_versions as v
    where v.tenant_id = (p_target).tenant_id and v.workflow_id = (p_target).workflow_id and v.id <> (p_target).id
      and v.version = coalesce(p_from_version, v.version)
    order by v.version);
  v_ids uuid[];
  v_reopens boolean;
begin
  v_ids := array(
    select f.id
    from unnest(v_versions) with ordinality as v (id, place)
    cross join lateral (
      (
        select i.id from flowgres.instances as i
        where i.tenant_id = (p_target).tenant_id and i.version_id = v.id and i.completed_at is null
        limit p_limit
      )
      union all
      (
        select i.id from flowgres.instances as i
        where p_completed and i.tenant_id = (p_target).tenant_id and i.version_id = v.id and i.completed_at is not null
        limit p_limit
      )
    ) as f
    limit p_limit);
  -- In the order of their ids, as whoever moves many does.
  select coalesce(bool_or(l.completed_at is not null), false) into v_reopens
  from (select a.id from unnest(v_ids) as a (id) order by a.id) as a
  cross join lateral (
    select i.completed_at from flowgres.instances as i
    where i.tenant_id = (p_target).tenant_id and i.id between a.id and a.id
    order by i.id limit 1
    for no key update
  ) as l;
  if not v_reopens then
    select w.* into p_moves, p_examples from flowgres.write_migration(
      p_target => p_target, p_from_version => p_from_version, p_map => p_map, p_completed => p_completed, p_ids => v_ids) as w;
    return;
  end if;
  perform flowgres.lock_openings(p_tenant_id => (p_target).tenant_id, p_reopens => true);
  -- Only what may meet a start pays for a subtransaction: somebody may begin the same entity at this moment.
  for i in 1 .. c_most_tries loop
    begin
      select w.* into p_moves, p_examples from flowgres.write_migration(
        p_target => p_target, p_from_version => p_from_version, p_map => p_map, p_completed => p_completed, p_ids => v_ids) as w;
      return;
    exception when unique_violation then
      -- Look again: by now it can be seen.
      null;
    end;
  end loop;
  perform flowgres.fail(
    p_status => 409, p_code => 'instance_exists', p_message => 'two of these instances would be active for one entity',
    p_hint => 'An entity has one active instance of a machine: map these states to a final one, or leave out completed instances.');
end;
$$;
comment on function flowgres.migrate_batch is $$Lock up to p_limit instances of the other versions, those that are not completed first, and move them (write_migration).$$;

set local role flowgres_definer;

create or replace function flowgres.migrate_instances(
  p_workflow text, p_to_version integer, p_map jsonb, p_from_version integer, p_completed boolean, p_dry_run boolean, p_limit integer
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_workflow flowgres.workflows := flowgres.find_workflow(p_tenant_id => v_tenant_id, p_workflow => p_workflow);
  v_target flowgres.workflow_versions;
  v_map jsonb := coalesce(nullif(p_map, 'null'), '{}');
  v_completed boolean := coalesce(p_completed, false);
  v_problems jsonb := '[]';
  v_moves jsonb;
  v_examples jsonb;
  v_warnings jsonb := '[]';
  v_migrated bigint := 0;
  v_remaining bigint;
  v_now timestamptz;
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'limit must be between 1 and 10000', p_details => 'limit',
      p_hint => 'Call again while remaining is not 0.');
  end if;
  if p_to_version is null or p_to_version = p_from_version then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'to_version must be another version than from_version',
      p_details => 'to_version', p_hint => 'List /workflow_versions.');
  end if;
  v_target := flowgres.find_version(p_workflow => v_workflow, p_version => p_to_version, p_kind => 'state_machine');
  if p_from_version is not null then
    perform flowgres.find_version(p_workflow => v_workflow, p_version => p_from_version, p_kind => 'state_machine');
  end if;
  perform flowgres.check_state_map(p_target => v_target, p_from_version => p_from_version, p_map => v_map);
  if p_dry_run then
    select d.* into v_moves, v_problems, v_examples from flowgres.preview_migration(
      p_target => v_target, p_from_version => p_from_version, p_map => v_map, p_completed => v_completed) as d;
    v_warnings := flowgres.find_lost_ends(
      p_target => v_target, p_from_version => p_from_version, p_map => v_map, p_completed => v_completed);
  else
    v_problems := flowgres.find_unmapped(
      p_target => v_target, p_from_version => p_from_version, p_map => v_map, p_completed => v_completed);
    if v_problems <> '[]' then
      perform flowgres.refuse_migration(p_problems => v_problems);
    end if;
    select b.* into v_moves, v_examples from flowgres.migrate_batch(
      p_target => v_target, p_from_version => p_from_version, p_map => v_map, p_completed => v_completed, p_limit => p_limit) as b;
    v_migrated := (select coalesce(sum((m.value -> 'instances')::bigint), 0) from jsonb_array_elements(v_moves) as m (value));
    if v_migrated > 0 then
      v_now := flowgres.now();
      insert into flowgres.audit_log (tenant_id, id, at, actor, action, subject, details)
      values (
        v_tenant_id, flowgres.uuid_v7(v_now), v_now, flowgres.actor(), 'instances_migrated', v_workflow.name,
        jsonb_build_object(
          'from_version', p_from_version, 'to_version', p_to_version, 'map', v_map, 'completed', v_completed, 'migrated', v_migrated));
    end if;
  end if;
  select count(*) into v_remaining
  from flowgres.workflow_versions as v
  join flowgres.instances as i on i.tenant_id = v.tenant_id and i.version_id = v.id
  where v.tenant_id = v_tenant_id and v.workflow_id = v_workflow.id and v.id <> v_target.id
    and v.version = coalesce(p_from_version, v.version) and (v_completed or i.completed_at is null);
  return jsonb_build_object(
    'workflow', v_workflow.name, 'to_version', p_to_version, 'dry_run', coalesce(p_dry_run, false), 'migrated', v_migrated,
    'remaining', v_remaining, 'moves', v_moves, 'problems', v_problems, 'warnings', v_warnings,
    'examples', v_examples);
end;
$$;
comment on function flowgres.migrate_instances is $$Move instances of other versions of a machine to this one, p_limit at most

Returns {workflow, to_version, dry_run, migrated, remaining, moves, problems, warnings, examples}.$$;
