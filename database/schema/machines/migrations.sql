-- Where instances go that move to another version of their machine, and what keeps them from going.

set local role flowgres_owner;

create or replace function flowgres.check_state_map(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb
)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_unknown text;
  v_states text[];
begin
  if jsonb_typeof(p_map) is distinct from 'object' or jsonb_path_exists(p_map, '$.* ? (@.type() <> "string")') then
    perform flowgres.fail(
      p_status => 422, p_code => 'state_map_invalid', p_message => 'map must be an object from states to states', p_details => 'map',
      p_hint => 'Send {"old state": "new state"}; states of the same name need no entry.');
  end if;
  select array_agg(s.name order by s.place) into v_states
  from flowgres.machine_states as s
  where s.tenant_id = (p_target).tenant_id and s.version_id = (p_target).id;
  select m.value into v_unknown from jsonb_each_text(p_map) as m (key, value) where m.value <> all(v_states) order by m.key limit 1;
  if v_unknown is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'state_unknown',
      p_message => format('version %s has no state "%s"', (p_target).version, left(v_unknown, 100)),
      p_details => jsonb_build_object('states', v_states)::text,
      p_hint => 'Its states are ' || left(array_to_string(v_states, ', '), 1000) || '.');
  end if;
  select array_agg(distinct s.name) into v_states
  from flowgres.workflow_versions as v
  join flowgres.machine_states as s on s.tenant_id = v.tenant_id and s.version_id = v.id
  where v.tenant_id = (p_target).tenant_id and v.workflow_id = (p_target).workflow_id and v.id <> (p_target).id
    and v.version = coalesce(p_from_version, v.version);
  select m.key into v_unknown
  from jsonb_object_keys(p_map) as m (key) where m.key <> all(coalesce(v_states, '{}')) order by m.key limit 1;
  if v_unknown is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'state_unknown',
      p_message => format(
        'no version that instances are moved from has a state "%s"', left(v_unknown, 100)),
      p_details => jsonb_build_object('states', coalesce(v_states, '{}'))::text,
      p_hint => 'Their states are ' || left(array_to_string(v_states, ', '), 1000) || '.');
  end if;
end;
$$;
comment on function flowgres.check_state_map(flowgres.workflow_versions, integer, jsonb) is $$Refuse a map that is none, or names states that are not there: {old: new}.$$;

create or replace function flowgres.list_migrations(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb
)
  returns table (version_id uuid, version integer, from_state text, to_state text, is_final boolean, was_final boolean)
  language sql stable rows 20 set search_path to pg_catalog, pg_temp
as $$
  select v.id, v.version, s.name, g.name, g.is_final, s.is_final
  from flowgres.workflow_versions as v
  join flowgres.machine_states as s on s.tenant_id = v.tenant_id and s.version_id = v.id
  left join flowgres.machine_states as g
    on g.tenant_id = v.tenant_id and g.version_id = (p_target).id and g.name = coalesce(p_map ->> s.name, s.name)
  where v.tenant_id = (p_target).tenant_id and v.workflow_id = (p_target).workflow_id and v.id <> (p_target).id
    and v.version = coalesce(p_from_version, v.version);
$$;
comment on function flowgres.list_migrations(flowgres.workflow_versions, integer, jsonb) is $$Where each state of the other versions leads

to_state is null for a state that has no counterpart in this version.$$;

create or replace function flowgres.describe_migration_problem(
  p_code text, p_version integer, p_from text, p_to text, p_count bigint
)
  returns jsonb language sql stable
as $$
  select jsonb_build_object(
    'code', p_code, 'from_version', p_version, 'from_state', p_from, 'to_state', p_to, 'instances', p_count,
    'message', case p_code
      when 'state_unmapped' then format('the state "%s" of version %s has no counterpart', p_from, p_version)
      when 'follow_up_unknown' then format(
        'executions that instances in "%s" of version %s have started would lead to "%s", which is no state any more, and so move nothing',
        p_from, p_version, p_to)
      else format(
        '"%s" of version %s would be opened again as "%s", beside another active instance of the entity', p_from, p_version, p_to) end);
$$;
comment on function flowgres.describe_migration_problem(text, integer, text, text, bigint) is $$What keeps instances from moving

{code, from_version, from_state, to_state, instances, message}; code is state_unmapped or instance_exists, or follow_up_unknown, which
keeps none, and loses what was to come.$$;

create or replace function flowgres.refuse_migration(p_problems jsonb)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_first jsonb := p_problems -> 0;
  v_message text := (v_first ->> 'message')
    || case jsonb_array_length(p_problems) when 1 then '' else format(', and %s more', jsonb_array_length(p_problems) - 1) end;
  v_details text := jsonb_path_query_array(p_problems, '$[0 to 99]')::text;
begin
  if v_first ->> 'code' = 'instance_exists' then
    perform flowgres.fail(
      p_status => 409, p_code => 'instance_exists', p_message => v_message, p_details => v_details,
      p_hint => 'An entity has one active instance of a machine: map these states to a final one, or leave out completed instances.');
  end if;
  perform flowgres.fail(
    p_status => 422, p_code => 'state_unmapped', p_message => v_message, p_details => v_details,
    p_hint => 'Say in map where its instances go. dry_run lists all that is in the way.');
end;
$$;
comment on function flowgres.refuse_migration(jsonb) is $$Refuse to move instances, for these problems (describe_migration_problem).$$;

create or replace function flowgres.find_unmapped(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb, p_completed boolean
)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_problems jsonb;
begin
  -- By name and state: whoever is in a state that the target has not, is on another version, so the index finds one at once.
  select coalesce(jsonb_agg(flowgres.describe_migration_problem(
    p_code => 'state_unmapped', p_version => m.version, p_from => m.from_state, p_to => null, p_count => c.count)
    order by m.version, m.from_state), '[]')
  into v_problems
  from flowgres.list_migrations(p_target => p_target, p_from_version => p_from_version, p_map => p_map) as m
  join flowgres.workflows as w on w.tenant_id = (p_target).tenant_id and w.id = (p_target).workflow_id
  cross join lateral (
    select count(*) as count
    from flowgres.instances as i
    where i.tenant_id = (p_target).tenant_id and i.workflow_name = w.name and i.state = m.from_state
      and i.workflow_id = (p_target).workflow_id and i.version_id = m.version_id and (p_completed or i.completed_at is null)
    offset 0
  ) as c
  -- In a final state all are completed: a million of them are not read to be passed by.
  where m.to_state is null and (p_completed or not m.was_final) and c.count > 0;
  return v_problems;
end;
$$;
comment on function flowgres.find_unmapped(flowgres.workflow_versions, integer, jsonb, boolean) is $$States without a counterpart that instances are in (describe_migration_problem).$$;

create or replace function flowgres.find_lost_ends(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb, p_completed boolean
)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select coalesce(jsonb_agg(flowgres.describe_migration_problem(
      p_code => 'follow_up_unknown', p_version => f.version, p_from => f.from_state, p_to => f.to_state, p_count => f.count)
      order by f.version, f.from_state, f.to_state), '[]')
    from (
      select w.version, w.from_state, n.to_state, count(distinct i.id) as count
      from flowgres.list_migrations(p_target => p_target, p_from_version => p_from_version, p_map => p_map) as w
      join flowgres.instances as i on i.tenant_id = (p_target).tenant_id and i.version_id = w.version_id and i.state = w.from_state
      join flowgres.instance_executions as x on x.tenant_id = i.tenant_id and x.instance_id = i.id
      -- How it will end is not known while it goes on.
      cross join lateral (
        select flowgres.migrated_state(x, e.state) as to_state
        from unnest(case when x.status is null then array[x.on_success, x.on_failure] else array[flowgres.next_state(x)] end) as e (state)
      ) as n
      where (p_completed or i.completed_at is null) and (x.status is null or x.due_at is not null) and n.to_state is not null
        and not exists (
          select from flowgres.machine_states as s
          where s.tenant_id = i.tenant_id and s.version_id = (p_target).id and s.name = coalesce(p_map ->> n.to_state, n.to_state))
      group by w.version, w.from_state, n.to_state
    ) as f);
end;
$$;
comment on function flowgres.find_lost_ends(flowgres.workflow_versions, integer, jsonb, boolean) is $$States that executions under way would lead to, and that the version has not (describe_migration_problem)

Looks at all instances that would go.$$;

create or replace function flowgres.preview_migration(
  p_target flowgres.workflow_versions, p_from_version integer, p_map jsonb, p_completed boolean,
  out p_moves jsonb, out p_problems jsonb, out p_examples jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  with ways as materialized (
    select m.* from flowgres.list_migrations(p_target => p_target, p_from_version => p_from_version, p_map => p_map) as m
  ),
  counted as (
    select w.version, w.from_state, w.to_state, count(*) as count
    from ways as w
    join flowgres.instances as i on i.tenant_id = (p_target).tenant_id and i.version_id = w.version_id and i.state = w.from_state
    where p_completed or i.completed_at is null
    group by w.version, w.from_state, w.to_state
  ),
  opened as (
    select w.version, w.from_state, w.to_state, i.entity_table, i.entity_id,
      row_number() over (partition by i.entity_table, i.entity_id order by i.id) > 1
      or flowgres.find_active(i) is not null as is_refused
    from ways as w
    join flowgres.instances as i on i.tenant_id = (p_target).tenant_id and i.version_id = w.version_id and i.state = w.from_state
    where p_completed and i.completed_at is not null and not w.is_final
  ),
  found as (
    select 'state_unmapped' as code, c.version, c.from_state, c.to_state, c.count from counted as c where c.to_state is null
    union all
    select 'instance_exists', o.version, o.from_state, o.to_state, count(*)
    from opened as o
    where o.is_refused
    group by o.version, o.from_state, o.to_state
  )
  select
    (
      select coalesce(jsonb_agg(jsonb_build_object(
        'from_version', c.version, 'from_state', c.from_state, 'to_state', c.to_state, 'instances', c.count)
        order by c.version, c.from_state), '[]')
      from counted as c
    ),
    (
      select coalesce(jsonb_agg(flowgres.describe_migration_problem(
        p_code => f.code, p_version => f.version, p_from => f.from_state, p_to => f.to_state, p_count => f.count)
        order by f.code desc, f.version, f.from_state), '[]')
      from found as f
    )
  into p_moves, p_problems;
  select coalesce(jsonb_agg(e.example), '[]') into p_examples
  from (
    select jsonb_build_object(
      'instance_id', i.id, 'entity_table', i.entity_table, 'entity_id', i.entity_id, 'from_version', w.version,
      'from_state', w.from_state, 'to_state', w.to_state) as example
    from flowgres.list_migrations(p_target => p_target, p_from_version => p_from_version, p_map => p_map) as w
    cross join lateral (
      select f.id, f.entity_table, f.entity_id
      from flowgres.instances as f
      where f.tenant_id = (p_target).tenant_id and f.version_id = w.version_id and f.state = w.from_state
        and (p_completed or f.completed_at is null)
      limit 100
    ) as i
    -- What is in the way comes first.
    order by w.to_state is not null, w.version, w.from_state, i.id
    limit 100
  ) as e;
end;
$$;
comment on function flowgres.preview_migration is $$What a migration would do: counts by version and state, what is in the way, up to 100 instances; looks at all of them.$$;
