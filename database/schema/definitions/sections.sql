-- Where steps stand in a definition: in its list, below one as its compensation, and in the list for failures.

set local role flowgres_owner;

create or replace function flowgres.list_sections(p_definition jsonb)
  returns table (place integer, section text, path text, id text, owner text, is_each boolean, step jsonb)
  language plpgsql immutable parallel safe rows 20
as $$
begin
  return query
  select
    (row_number() over (order by f.rank, f.number))::integer, f.section, f.path, f.id, f.owner, f.is_each, f.step
  from (
    select
      1 as rank, s.number, 'steps' as section, format('steps[%s]', s.number - 1) as path, s.value ->> 'id' as id, null as owner,
      jsonb_typeof(s.value) = 'object' and s.value ? 'foreach' as is_each, s.value as step
    from jsonb_array_elements(case when jsonb_typeof(p_definition -> 'steps') = 'array' then p_definition -> 'steps' else '[]' end)
      with ordinality as s (value, number)
    union all
    select
      2, s.number, 'compensate', format('steps[%s].compensate', s.number - 1), (s.value ->> 'id') || '.compensate', s.value ->> 'id',
      s.value ? 'foreach', s.value -> 'compensate'
    from jsonb_array_elements(case when jsonb_typeof(p_definition -> 'steps') = 'array' then p_definition -> 'steps' else '[]' end)
      with ordinality as s (value, number)
    where s.value ? 'compensate' and jsonb_typeof(s.value) = 'object'
    union all
    select
      3, s.number, 'on_failure', format('on_failure[%s]', s.number - 1), s.value ->> 'id', null, false, s.value
    from jsonb_array_elements(
      case when jsonb_typeof(p_definition -> 'on_failure') = 'array' then p_definition -> 'on_failure' else '[]' end)
      with ordinality as s (value, number)
  ) as f
  order by f.rank, f.number;
end;
$$;
comment on function flowgres.list_sections(jsonb) is $$Every step of a definition with its section (steps, compensate, on_failure), path and id, in the order of their numbers

A compensation is called after its owner: ID.compensate. is_each: it runs for the items of a list, its own or its owner's.$$;

create or replace function flowgres.check_sections(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
begin
  if not p_definition ? 'on_failure' then
    return '{}';
  end if;
  return array(
    select flowgres.problem(
      p_path => d.path || '.id', p_code => 'duplicate_step',
      p_message => format('the step id "%s" is already used by %s', left(d.id, 60), d.first),
      p_hint => 'Ids are unique within a workflow.')
    from (
      select l.place, l.section, l.path, l.id, first_value(l.path) over (partition by l.id order by l.place) as first
      from flowgres.list_sections(p_definition) as l
      where l.section <> 'compensate' and jsonb_typeof(l.step -> 'id') = 'string'
    ) as d
    where d.section = 'on_failure' and d.path <> d.first
    order by d.place);
end;
$$;
comment on function flowgres.check_sections(jsonb) is $$Steps of on_failure whose ids are taken.$$;

create or replace function flowgres.check_joins(p_steps jsonb, p_ids text[], p_edge_to integer[])
  returns jsonb[] language plpgsql immutable parallel safe
as $$
begin
  if not p_steps @? '$[*] ? (exists(@.cancels) || exists(@.join.at_least))' then
    return '{}';
  end if;
  return array(
    select p.problem
    from (
      select s.position, 0 as place, flowgres.problem(
        p_path => format('steps[%s].join.at_least', s.position - 1), p_code => 'join_out_of_reach',
        p_message => format('"%s" has only %s steps before it', left(s.value ->> 'id', 60), e.count),
        p_hint => 'Count the steps in its depends_on.') as problem
      from jsonb_array_elements(p_steps) with ordinality as s (value, position)
      cross join lateral (select count(*) from unnest(p_edge_to) as t (index) where t.index = s.position - 1) as e
      where jsonb_typeof(s.value #> '{join,at_least}') = 'number' and (s.value #>> '{join,at_least}')::numeric > e.count and e.count > 0
      union all
      select s.position, c.place, case when c.value = s.value -> 'id'
        then flowgres.problem(
          p_path => format('steps[%s].cancels[%s]', s.position - 1, c.place - 1), p_code => 'self_cancel',
          p_message => format('the step "%s" cancels itself', left(c.value #>> '{}', 60)), p_hint => 'It has ended by then. Remove it.')
        else flowgres.problem(
          p_path => format('steps[%s].cancels[%s]', s.position - 1, c.place - 1), p_code => 'unknown_step',
          p_message => format('no step has the id "%s"', left(c.value #>> '{}', 60)),
          p_hint => flowgres.did_you_mean(p_word => c.value #>> '{}', p_known => p_ids)) end
      from jsonb_array_elements(p_steps) with ordinality as s (value, position)
      cross join lateral jsonb_array_elements(case when jsonb_typeof(s.value -> 'cancels') = 'array' then s.value -> 'cancels' else '[]' end)
        with ordinality as c (value, place)
      where jsonb_typeof(c.value) = 'string' and (c.value = s.value -> 'id' or c.value #>> '{}' <> all(array_remove(p_ids, null)))
    ) as p
    order by p.position, p.place);
end;
$$;
comment on function flowgres.check_joins(jsonb, text[], integer[]) is $$Joins that wait for more steps than there are before them, and steps that cancel what is not there or themselves.$$;
