-- State machines: what the description cannot say of states and transitions, their canonical form, and what is odd about one.
--
-- flowgres_definitions.machines is the twin. What is evaluated here alone is a guard: only PostgreSQL knows whether it can read a jsonpath.

set local role flowgres_owner;

create or replace function flowgres.is_machine(p_definition jsonb)
  returns boolean language sql immutable parallel safe
return
  coalesce(jsonb_typeof(p_definition -> 'states') <> 'null', false) or coalesce(jsonb_typeof(p_definition -> 'transitions') <> 'null', false);
comment on function flowgres.is_machine(jsonb) is $$Whether a definition is one of a state machine, sound or not.$$;

create or replace function flowgres.list_objects(p_values jsonb)
  returns table (place bigint, value jsonb) language sql immutable parallel safe rows 20
as $$
  select o.position - 1, o.value
  from jsonb_array_elements(case when jsonb_typeof(p_values) = 'array' then p_values else '[]' end) with ordinality as o (value, position)
  where jsonb_typeof(o.value) = 'object';
$$;
comment on function flowgres.list_objects(jsonb) is $$The objects of a list with their places in it, from 0.$$;

create or replace function flowgres.complete_machine(p_definition jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select p_definition || jsonb_build_object('transitions', coalesce(
    (
      select jsonb_agg(
        jsonb_build_object('name', format(
          '%s_to_%s', case t.value ->> 'from' when '*' then 'any' else t.value ->> 'from' end, t.value ->> 'to'))
        || case when t.value -> 'enforce' = 'false' then t.value - 'enforce' else t.value end
        order by t.place)
      from flowgres.list_objects(p_definition -> 'transitions') as t
    ), '[]'));
$$;
comment on function flowgres.complete_machine(jsonb) is $$The canonical form of a machine whose values have theirs: each transition has a name, and a machine without any an empty list

Applying it again changes nothing.$$;

create or replace function flowgres.check_states(p_states jsonb)
  returns jsonb[] language sql immutable parallel safe
as $$
  with state as (
    select
      s.place, s.value, left(n.name, 60) as shown,
      case when n.name is not null then min(s.place) over (partition by n.name) end as first_place,
      s.value -> 'initial' = 'true' as is_initial
    from flowgres.list_objects(p_states) as s
    cross join lateral (select case when jsonb_typeof(s.value -> 'name') = 'string' then s.value ->> 'name' end as name) as n
  ),
  initial as (
    select s.place, coalesce(s.shown, '') as shown from state as s where s.is_initial order by s.place limit 1
  )
  select array(
    select p.problem
    from (
      select s.place, 1 as rank, flowgres.problem(
        p_path => format('states[%s].name', s.place), p_code => 'duplicate_state',
        p_message => format('the state "%s" is there already: states[%s]', s.shown, s.first_place),
        p_hint => 'Names of states are unique.') as problem
      from state as s
      where s.place > s.first_place
      union all
      select s.place, 2, flowgres.problem(
        p_path => format('states[%s].initial', s.place), p_code => 'several_initial_states',
        p_message => format('"%s" is the initial state already', i.shown), p_hint => 'An instance begins in one state.')
      from state as s
      cross join initial as i
      where s.is_initial and s.place > i.place
      union all
      select s.place, 3, flowgres.problem(
        p_path => format('states[%s].sla', s.place), p_code => 'sla_of_final_state',
        p_message => format('"%s" is final: its instances are completed, and wait for nothing', coalesce(s.shown, '')),
        p_hint => 'Remove it.')
      from state as s
      where s.value -> 'final' = 'true' and s.value ? 'sla'
      union all
      select null, 4, flowgres.problem(
        p_path => 'states', p_code => 'no_initial_state', p_message => 'no state is the initial one',
        p_hint => 'Give initial: true to the one in which it begins.')
      where jsonb_typeof(p_states) = 'array' and p_states <> '[]' and not exists (select from initial)
    ) as p
    order by p.place nulls last, p.rank);
$$;
comment on function flowgres.check_states(jsonb) is $$States with the name of another, no or more than one initial state, and times of states that are final.$$;

create or replace function flowgres.list_engine_moves(p_definition jsonb)
  returns table (path text, from_state text, to_state text) language sql immutable parallel safe rows 10
as $$
  select m.path, m.from_state, m.to_state #>> '{}'
  from (
    select 1 as rank, s.place, format('states[%s].sla.to', s.place) as path, s.value ->> 'name' as from_state, s.value #> '{sla,to}' as to_state
    from flowgres.list_objects(p_definition -> 'states') as s
    union all
    select 2, t.place, format('transitions[%s].start.%s', t.place, k.key), t.value ->> 'to', t.value -> 'start' -> k.key
    from flowgres.list_objects(p_definition -> 'transitions') as t
    cross join (values ('on_success'), ('on_failure')) as k (key)
  ) as m
  where jsonb_typeof(m.to_state) = 'string'
  order by m.rank, m.place, m.path desc;
$$;
comment on function flowgres.list_engine_moves(jsonb) is $$Where a time or the end of an execution moves an instance: from which state to which, and where that stands.$$;

create or replace function flowgres.check_state_names(p_definition jsonb)
  returns jsonb[] language sql immutable parallel safe
as $$
  with known as (
    select array_agg(s.value ->> 'name' order by s.place) as names
    from flowgres.list_objects(p_definition -> 'states') as s
    where jsonb_typeof(s.value -> 'name') = 'string'
  ),
  unknown as materialized (
    select n.path, n.name, row_number() over (order by n.rank, n.place) as position
    from (
      select 1 as rank, row_number() over () as place, m.path, m.to_state as name from flowgres.list_engine_moves(p_definition) as m
      union all
      select 2, 2 * t.place + k.rank, format('transitions[%s].%s', t.place, k.key), t.value ->> k.key
      from flowgres.list_objects(p_definition -> 'transitions') as t
      cross join (values ('from', 0), ('to', 1)) as k (key, rank)
      where jsonb_typeof(t.value -> k.key) = 'string' and not (k.key = 'from' and t.value ->> 'from' = '*')
    ) as n
    where not exists (
      select from flowgres.list_objects(p_definition -> 'states') as s where s.value -> 'name' = to_jsonb(n.name))
    order by n.rank, n.place
    -- A definition may name tens of thousands, and each costs a suggestion.
    limit 200
  )
  select array(
    select flowgres.problem(
      p_path => u.path, p_code => 'unknown_state', p_message => format('no state is called "%s"', left(u.name, 60)),
      p_hint => flowgres.did_you_mean(p_word => u.name, p_known => k.names))
    from unknown as u
    cross join known as k
    -- Where no state has a name, that is what is wrong.
    where k.names is not null
    order by u.position);
$$;
comment on function flowgres.check_state_names(jsonb) is $$Transitions, times and starts that name a state which is not there.$$;

create or replace function flowgres.check_enforced(p_transitions jsonb)
  returns jsonb[] language sql immutable parallel safe
as $$
  select array(
    select case
      when coalesce(f.fields, 'null') = 'null' then flowgres.problem(
        p_path => format('transitions[%s].enforce', t.place), p_code => 'nothing_to_enforce',
        p_message => 'there is no field_required in the conditions, so there is nothing to enforce',
        p_hint => 'guard, roles and required hold without enforce; other conditions are never evaluated.')
      else flowgres.problem(
        p_path => format('transitions[%s].conditions.field_required', t.place), p_code => 'invalid_value',
        p_message => 'this names no fields', p_hint => 'Write the name of a field, or a list of names.') end
    from flowgres.list_objects(p_transitions) as t
    cross join lateral (select t.value #> '{conditions,field_required}' as fields) as f
    where t.value -> 'enforce' = 'true' and jsonb_typeof(t.value -> 'conditions') = 'object'
      -- One name, or a list of names and nothing else.
      and (
        coalesce(jsonb_typeof(f.fields), 'null') not in ('string', 'array') or f.fields = '[]'
        or f.fields @? 'lax $ ? (@.type() != "string" || @ == "")')
    order by t.place);
$$;
comment on function flowgres.check_enforced(jsonb) is $$Transitions that enforce their conditions and have none that can be.$$;

create or replace function flowgres.check_guards(p_transitions jsonb, p_found jsonb[])
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_guard record;
  v_kinds text[];
  v_errors jsonb[] := '{}';
begin
  for v_guard in
    select g.path, g.guard
    from flowgres.list_objects(p_transitions) as t
    cross join lateral (select format('transitions[%s].guard', t.place) as path, t.value -> 'guard' as guard) as g
    where jsonb_typeof(g.guard) = 'string' and not exists (select from unnest(p_found) as f where f ->> 'path' = g.path)
    order by t.place
  loop
    exit when cardinality(v_errors) >= 200;
    begin
      -- A variable is found out only by reading it, which an empty object is enough for. So is what is no predicate: a predicate
      -- always answers, with null where it cannot tell, and a path finds nothing here.
      v_kinds := array(select jsonb_typeof(q.value) from jsonb_path_query('{}', (v_guard.guard #>> '{}')::jsonpath, '{}', true) as q (value));
      if v_kinds <> array['boolean'] and v_kinds <> array['null'] then
        v_errors := v_errors || flowgres.problem(
          p_path => v_guard.path, p_code => 'guard_not_boolean',
          p_message => 'this finds a value and compares it with nothing, so it would never hold',
          p_hint => 'Compare it, such as $.metadata.amount <= 10000, or ask whether there is one: exists($.metadata.amount).');
      end if;
    exception when others then
      v_errors := v_errors || flowgres.problem(
        p_path => v_guard.path, p_code => 'jsonpath_invalid', p_message => format('this is no jsonpath here: %s', left(sqlerrm, 200)),
        p_hint => 'Write a jsonpath that compares, such as $.metadata.amount <= 10000.');
    end;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_guards(jsonb, jsonb[]) is $$Guards in which nothing else was found and that PostgreSQL cannot read, or that give no boolean.$$;

create or replace function flowgres.list_machine_ways(p_definition jsonb)
  returns table (from_state text, to_state text) language sql immutable parallel safe rows 100
as $$
  select t.value ->> 'from', t.value ->> 'to'
  from flowgres.list_objects(p_definition -> 'transitions') as t
  where t.value ->> 'from' <> '*'
  union
  select s.value ->> 'name', t.value ->> 'to'
  from flowgres.list_objects(p_definition -> 'transitions') as t
  cross join flowgres.list_objects(p_definition -> 'states') as s
  where t.value ->> 'from' = '*' and s.value -> 'final' = 'false'
  union
  select s.value ->> 'name', o.value ->> 'name'
  from flowgres.list_objects(p_definition -> 'states') as s
  join flowgres.list_objects(p_definition -> 'states') as o on o.place <> s.place
  where s.value -> 'final' = 'false' and p_definition -> 'transitions' = '[]';
$$;
comment on function flowgres.list_machine_ways(jsonb) is $$Every pair of states with a way from the first to the second, of a machine in canonical form

From * leads from every state that is not final. A machine that lists no transitions has a way from each of these to each other state.$$;

create or replace function flowgres.warn_of_ways(p_definition jsonb)
  returns jsonb[] language sql immutable parallel safe
as $$
  with recursive way as materialized (
    select w.from_state, w.to_state from flowgres.list_machine_ways(p_definition) as w
  ),
  reached as (
    select s.value ->> 'name' as name from flowgres.list_objects(p_definition -> 'states') as s where s.value -> 'initial' = 'true'
    union
    select w.to_state from reached as r join way as w on w.from_state = r.name
  ),
  transition as (
    select
      t.place, t.value, t.value ->> 'from' as from_state, t.value ->> 'to' as to_state,
      first_value(t.value ->> 'name') over pair as first_name, row_number() over pair as number
    from flowgres.list_objects(p_definition -> 'transitions') as t
    window pair as (partition by t.value -> 'from', t.value -> 'to' order by t.place)
  )
  select array(
    select p.problem
    from (
      select 1 as rank, t.place, flowgres.problem(
        p_path => format('transitions[%s].from', t.place), p_code => 'leaves_final_state',
        p_message => format('"%s" is final: this transition reopens what was completed', left(t.from_state, 60))) as problem
      from transition as t
      where exists (
        select from flowgres.list_objects(p_definition -> 'states') as s
        where s.value -> 'name' = t.value -> 'from' and s.value -> 'final' = 'true')
      union all
      select 2, t.place, flowgres.problem(
        p_path => format('transitions[%s]', t.place), p_code => 'repeated_transition',
        p_message => format(
          '"%s" leads from "%s" to "%s", and the first one wins', left(t.first_name, 60), left(t.from_state, 60), left(t.to_state, 60)),
        p_hint => 'Remove one of them.')
      from transition as t
      where t.number > 1
      union all
      select 3, t.place, flowgres.problem(
        p_path => flowgres.join_path(format('transitions[%s].conditions', t.place), k.key), p_code => 'condition_not_enforced',
        p_message => format('of the conditions "field_required" alone is enforced, and not "%s"', left(k.key, 60)),
        p_hint => 'Write a guard.')
      from transition as t
      cross join lateral jsonb_object_keys(t.value -> 'conditions') as k (key)
      where t.value -> 'enforce' = 'true' and k.key <> 'field_required'
      union all
      select 4, s.place, flowgres.problem(
        p_path => format('states[%s]', s.place), p_code => 'unreachable_state',
        p_message => format('no way leads from the initial state to "%s"', left(s.value ->> 'name', 60)),
        p_hint => 'Add a transition to it, or remove it.')
      from flowgres.list_objects(p_definition -> 'states') as s
      where s.value ->> 'name' not in (select r.name from reached as r)
      union all
      select 5, row_number() over (), flowgres.problem(
        p_path => m.path, p_code => 'transition_missing',
        p_message => format(
          'no transition leads from "%s" to "%s", so this will not happen', left(m.from_state, 60), left(m.to_state, 60)),
        p_hint => 'Add the transition.')
      from flowgres.list_engine_moves(p_definition) as m
      where not exists (select from way as w where w.from_state = m.from_state and w.to_state = m.to_state)
    ) as p
    order by p.rank, p.place);
$$;
comment on function flowgres.warn_of_ways(jsonb) is $$What is odd about the ways of a machine without errors, in canonical form: out of final states, twice there, to nowhere.$$;

create or replace function flowgres.warn_of_starts(p_tenant_id uuid, p_transitions jsonb)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select flowgres.problem(
      p_path => format('transitions[%s].start.workflow', t.place), p_code => 'workflow_not_found',
      p_message => format('workflow "%s" does not exist yet', t.value #>> '{start,workflow}'),
      p_hint => 'Import it before this transition is taken.')
    from flowgres.list_objects(p_transitions) as t
    where t.value ? 'start' and not exists (
      select from flowgres.workflows as w
      where w.tenant_id = p_tenant_id and w.deleted_at is null and w.name = t.value #>> '{start,workflow}')
    order by t.place);
$$;
comment on function flowgres.warn_of_starts(uuid, jsonb) is $$Transitions that start a workflow which is not there.$$;

create or replace function flowgres.check_machine(p_tenant_id uuid, p_definition jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_schema jsonb := flowgres.definition_schema();
  v_formed jsonb := flowgres.form_definition(p_definition => p_definition);
  v_errors jsonb[];
  v_warnings jsonb[] := '{}';
  -- An answer repeats no secret.
  v_definition jsonb := v_formed - 'webhook_secret';
begin
  v_errors := flowgres.check_value('', v_formed, v_schema, v_schema)
  || flowgres.check_states(v_formed -> 'states')
  || flowgres.check_state_names(v_formed)
  || flowgres.check_enforced(v_formed -> 'transitions');
  v_errors := v_errors || flowgres.check_guards(p_transitions => v_formed -> 'transitions', p_found => v_errors);
  v_errors := flowgres.distinct_problems(v_errors);
  if cardinality(v_errors) = 0 then
    v_definition := flowgres.complete_machine(v_definition);
    v_warnings := flowgres.warn_of_ways(v_definition)
    || flowgres.warn_of_starts(p_tenant_id => p_tenant_id, p_transitions => v_definition -> 'transitions');
  end if;
  return flowgres.report_check(p_errors => v_errors, p_warnings => v_warnings[1 : 200], p_definition => v_definition);
end;
$$;
comment on function flowgres.check_machine(uuid, jsonb) is $$Everything wrong with a state machine, as check_definition answers: {valid, errors, warnings, definition}

`definition` is the canonical form of one without errors, else as far as there is one.$$;
