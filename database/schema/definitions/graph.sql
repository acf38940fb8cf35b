-- The graph of a definition: order, cycles, ancestors. Steps are numbers here, from 0 in list order.
--
-- Plans are made for each call: a generic plan takes every array for a short one and joins two of 5,000 elements by nested
-- loops, in 2.5 s instead of 60 ms.

set local role flowgres_owner;

create or replace function flowgres.sort_graph(
  p_count integer, p_from integer[], p_to integer[], out sorted integer[], out cycles jsonb
)
  language plpgsql immutable parallel safe set plan_cache_mode to force_custom_plan
as $$
declare
  v_to integer[];
  v_first integer[];
  v_pending integer[] := array_fill(0, array[p_count]);
  v_queue integer[] := array_fill(0, array[p_count]);
  v_parent integer[];
  v_stamp integer[];
  v_cycle integer[];
  v_head integer := 1;
  v_tail integer := 1;
  v_node integer;
  v_child integer;
begin
  -- Kahn's algorithm over edges grouped by their source: every node and every edge is touched once.
  select array_agg(e.target order by e.source) into v_to from unnest(p_from, p_to) as e (source, target);
  select array_agg(f.first order by f.node) into v_first
  from (
    select n.node, 1 + coalesce(sum(count(e.source)) over (order by n.node rows between unbounded preceding and 1 preceding), 0) as first
    from generate_series(0, p_count) as n (node)
    left join unnest(p_from) as e (source) on e.source = n.node
    group by n.node
  ) as f;
  for v_edge in 1 .. coalesce(cardinality(v_to), 0) loop
    v_child := v_to[v_edge] + 1;
    v_pending[v_child] := v_pending[v_child] + 1;
  end loop;
  for v_start in 1 .. p_count loop
    if v_pending[v_start] = 0 then
      v_queue[v_tail] := v_start;
      v_tail := v_tail + 1;
    end if;
  end loop;
  while v_head < v_tail loop
    v_node := v_queue[v_head];
    v_head := v_head + 1;
    for v_edge in v_first[v_node] .. v_first[v_node + 1] - 1 loop
      v_child := v_to[v_edge] + 1;
      v_pending[v_child] := v_pending[v_child] - 1;
      if v_pending[v_child] = 0 then
        v_queue[v_tail] := v_child;
        v_tail := v_tail + 1;
      end if;
    end loop;
  end loop;
  sorted := array(select q.node - 1 from unnest(v_queue[1 : v_tail - 1]) with ordinality as q (node, position) order by q.position);
  cycles := '[]';
  if v_tail - 1 = p_count then
    return;
  end if;

  -- Every node left over has a parent left over: going up from any of them ends in a cycle.
  v_parent := array_fill(0, array[p_count]);
  v_stamp := array_fill(0, array[p_count]);
  for v_edge in 1 .. cardinality(p_from) loop
    if v_pending[p_from[v_edge] + 1] > 0 and v_pending[p_to[v_edge] + 1] > 0 then
      v_parent[p_to[v_edge] + 1] := p_from[v_edge] + 1;
    end if;
  end loop;
  for v_start in 1 .. p_count loop
    v_node := v_start;
    while v_pending[v_node] > 0 and v_stamp[v_node] = 0 loop
      v_stamp[v_node] := v_start;
      v_node := v_parent[v_node];
    end loop;
    if v_pending[v_node] > 0 and v_stamp[v_node] = v_start then
      v_cycle := '{}';
      v_child := v_node;
      loop
        v_cycle := v_cycle || (v_node - 1);
        v_node := v_parent[v_node];
        exit when v_node = v_child;
      end loop;
      -- Downwards again, from the step that comes first in the list.
      v_cycle := array(select c.node from unnest(v_cycle) with ordinality as c (node, position) order by c.position desc);
      v_child := array_position(v_cycle, (select min(c.node) from unnest(v_cycle) as c (node)));
      cycles := cycles || jsonb_build_array(v_cycle[v_child :] || v_cycle[: v_child - 1]);
      -- The stamp ends the walk; a later start that reaches this cycle finds an older stamp.
      exit when jsonb_array_length(cycles) >= 10;
    end if;
  end loop;
end;
$$;
comment on function flowgres.sort_graph(integer, integer[], integer[]) is $$Nodes in an order that respects the edges, and the cycles that prevent it

Linear in nodes and edges. Edges run from p_from[i] to p_to[i], without repeats; of many cycles ten are told.$$;

create or replace function flowgres.find_ancestors(p_sorted integer[], p_from integer[], p_to integer[])
  returns bit varying[] language plpgsql immutable parallel safe set plan_cache_mode to force_custom_plan
as $$
declare
  v_none bit varying := repeat('0', cardinality(p_sorted))::bit varying;
  v_ancestors bit varying[] := array_fill(v_none, array[cardinality(p_sorted)]);
  v_edge record;
begin
  for v_edge in
    select e.source, e.target
    from unnest(p_from, p_to) as e (source, target)
    join unnest(p_sorted) with ordinality as s (node, position) on s.node = e.source
    order by s.position
  loop
    v_ancestors[v_edge.target + 1] := v_ancestors[v_edge.target + 1]
      | set_bit(v_ancestors[v_edge.source + 1], v_edge.source, 1);
  end loop;
  return v_ancestors;
end;
$$;
comment on function flowgres.find_ancestors(integer[], integer[], integer[]) is $$For each step the set of its ancestors, as bits

Edges in the order of their sources: when one is read, the set of its source is complete.$$;

create or replace function flowgres.check_graph(
  p_steps jsonb, out errors jsonb[], out ids text[], out sorted integer[], out edge_from integer[], out edge_to integer[]
)
  language plpgsql immutable parallel safe set plan_cache_mode to force_custom_plan
as $$
declare
  v_found jsonb;
  v_count integer := jsonb_array_length(p_steps);
  v_suggestions integer := 0;
  v_unknown record;
begin
  ids := array(
    select case when jsonb_typeof(s.value -> 'id') = 'string' then s.value ->> 'id' end
    from jsonb_array_elements(p_steps) with ordinality as s (value, position) order by s.position);

  select array_agg(
    flowgres.problem(
      p_path => format('steps[%s].id', d.position - 1), p_code => 'duplicate_step',
      p_message => format('the step id "%s" is already used by steps[%s]', left(d.id, 60), d.first - 1),
      p_hint => 'Ids are unique within a workflow.')
    order by d.position)
  into errors
  from (
    select i.id, i.position, min(i.position) over (partition by i.id) as first
    from unnest(ids) with ordinality as i (id, position)
    where i.id is not null
  ) as d
  where d.position > d.first;

  -- Edges once each; a step that waits for itself is told apart, so it is no cycle too.
  with named as (
    select i.id, min(i.position) as position from unnest(ids) with ordinality as i (id, position) group by i.id
  ),
  wanted as (
    select s.position as target, d.position as place, d.value #>> '{}' as id, n.position as source
    from jsonb_array_elements(p_steps) with ordinality as s (value, position)
    cross join lateral jsonb_array_elements(
      case when jsonb_typeof(s.value -> 'depends_on') = 'array' then s.value -> 'depends_on' else '[]' end
    ) with ordinality as d (value, position)
    left join named as n on n.id = d.value #>> '{}'
    where jsonb_typeof(d.value) = 'string'
  ),
  edges as (
    select distinct w.source, w.target from wanted as w where w.source is not null and w.source <> w.target
  )
  select
    coalesce((select array_agg((e.source - 1)::integer order by e.source, e.target) from edges as e), '{}'),
    coalesce((select array_agg((e.target - 1)::integer order by e.source, e.target) from edges as e), '{}'),
    (
      select jsonb_agg(jsonb_build_object('target', w.target - 1, 'place', w.place - 1, 'id', w.id, 'is_self', w.source is not null))
      from (select * from wanted as w where w.source is null or w.source = w.target order by w.target, w.place limit 100) as w
    )
  into edge_from, edge_to, v_found;

  for v_unknown in
    select * from jsonb_to_recordset(coalesce(v_found, '[]')) as u (target integer, place integer, id text, is_self boolean)
  loop
    if v_unknown.is_self then
      errors := errors || flowgres.problem(
        p_path => format('steps[%s].depends_on[%s]', v_unknown.target, v_unknown.place), p_code => 'self_dependency',
        p_message => format('the step "%s" depends on itself', left(v_unknown.id, 60)),
        p_hint => 'Remove it from its own depends_on.');
    else
      v_suggestions := v_suggestions + 1;
      errors := errors || flowgres.problem(
        p_path => format('steps[%s].depends_on[%s]', v_unknown.target, v_unknown.place), p_code => 'unknown_step',
        p_message => format('no step has the id "%s"', left(v_unknown.id, 60)),
        p_hint => case when v_suggestions <= 10 then flowgres.did_you_mean(p_word => v_unknown.id, p_known => ids) end);
    end if;
  end loop;

  select g.sorted, g.cycles into sorted, v_found
  from flowgres.sort_graph(p_count => v_count, p_from => edge_from, p_to => edge_to) as g;
  if jsonb_array_length(v_found) > 0 then
    errors := errors || array(
      select flowgres.problem(
        p_path => format('steps[%s].depends_on', c.value ->> 0), p_code => 'cycle',
        p_message => format(
          'these %s steps wait for each other: %s', jsonb_array_length(c.value),
          (
            select string_agg(
              case when n.position = 41 and n.position <= jsonb_array_length(c.value) then '...' else left(ids[n.node::integer + 1], 63) end, ' -> ' order by n.position)
            from jsonb_array_elements_text(c.value || (c.value -> 0)) with ordinality as n (node, position)
            -- Enough to recognise a long one by.
            where n.position <= 41 or n.position = jsonb_array_length(c.value) + 1
          )),
        p_hint => 'Remove one of these dependencies.')
      from jsonb_array_elements(v_found) with ordinality as c (value, position)
      order by c.position);
  end if;
  errors := coalesce(errors, '{}');
end;
$$;
comment on function flowgres.check_graph(jsonb) is $$What is wrong with the edges of a definition, and the edges by number

Duplicate ids, unknown and self dependencies, cycles with their path. `sorted` has all steps only when there is no cycle.$$;
