-- Which step waits for which: list order, and the branches of conditions.

set local role flowgres_owner;

create or replace function flowgres.list_branches(p_step jsonb)
  returns table (name text, path text, ids text[]) language plpgsql immutable parallel safe rows 3
as $$
begin
  -- An absent branch is an empty one: it leads straight on. (rows 3: by the usual guess of 1,000 the plan of every import was worth
  -- two seconds of compilation to PostgreSQL.)
  return query
  select b.name, b.path, array(
    -- What is no text is told as that, and keeps its place.
    select case when jsonb_typeof(t.value) = 'string' then t.value #>> '{}' end
    from jsonb_path_query(b.ids, '$[*]') with ordinality as t (value, place)
    where jsonb_typeof(b.ids) = 'array' order by t.place)
  from (
    select 'true' as name, 'config.true_branch' as path, p_step #> '{config,true_branch}' as ids, 1 as place
    where p_step ->> 'type' = 'condition'
    union all
    select 'false', 'config.false_branch', p_step #> '{config,false_branch}', 2
    where p_step ->> 'type' = 'condition'
    union all
    select format('case %s', c.place), format('config.cases[%s].next', c.place - 1), c.value -> 'next', c.place::integer
    from jsonb_path_query(p_step, '$.config.cases[*]') with ordinality as c (value, place)
    where p_step ->> 'type' = 'switch' and jsonb_typeof(p_step #> '{config,cases}') = 'array'
    union all
    select 'default', 'config.default', p_step #> '{config,default}', 1000000
    where p_step ->> 'type' = 'switch'
  ) as b
  order by b.place;
end;
$$;
comment on function flowgres.list_branches(jsonb) is $$The branches of a condition or switch, with the steps that they list; none of any other step.$$;

create or replace function flowgres.branch_targets(p_step jsonb)
  returns text[] language sql immutable parallel safe
as $$
  select array(select distinct t.id from flowgres.list_branches(p_step) as b cross join lateral unnest(b.ids) as t (id) where t.id is not null);
$$;
comment on function flowgres.branch_targets(jsonb) is $$The steps that a condition or switch lists in its branches.$$;

create or replace function flowgres.join_ids(p_ids jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select coalesce(jsonb_agg(i.value order by i.place), '[]')
  from (
    select e.value, min(e.place) as place from jsonb_array_elements(p_ids) with ordinality as e (value, place) group by e.value
  ) as i;
$$;
comment on function flowgres.join_ids(jsonb) is $$A list of ids in its order, each once.$$;

create or replace function flowgres.order_steps(p_steps jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_in_list_order boolean := not p_steps @? '$[*].depends_on';
  v_known text[] := array(select s.value ->> 'id' from jsonb_array_elements(p_steps) as s (value) where s.value ? 'id');
  v_gates jsonb := '{}';
  v_tail text[] := '{}';
  v_done text[] := '{}';
  v_targets text[];
  v_depends_on jsonb;
  v_steps jsonb[] := '{}';
  v_step jsonb;
  v_id text;
begin
  -- Who lists whom. A step that lists itself is an error, not a dependency.
  if p_steps @? '$[*] ? (@.type == "condition" || @.type == "switch")' then
    select coalesce(jsonb_object_agg(g.target, g.conditions), '{}') into v_gates
    from (
      select t.target, jsonb_agg(s.value -> 'id' order by s.position) as conditions
      from jsonb_array_elements(p_steps) with ordinality as s (value, position)
      cross join lateral unnest(flowgres.branch_targets(s.value)) as t (target)
      where t.target <> s.value ->> 'id'
      group by t.target
    ) as g;
  end if;

  for v_step in select s.value from jsonb_array_elements(p_steps) as s (value) loop
    v_id := case when jsonb_typeof(v_step -> 'id') = 'string' then v_step ->> 'id' end;
    if v_id is not null then
      v_depends_on := coalesce(v_gates -> v_id, '[]');
      if not v_in_list_order then
        v_depends_on := case coalesce(jsonb_typeof(v_step -> 'depends_on'), 'array')
          when 'array' then flowgres.join_ids(coalesce(v_step -> 'depends_on', '[]') || v_depends_on)
          else v_step -> 'depends_on'
        end;
      else
        if not v_gates ? v_id then
          v_depends_on := to_jsonb(v_tail);
          v_tail := array[v_id];
        end if;
        v_targets := flowgres.branch_targets(v_step);
        if cardinality(v_targets) > 0 then
          -- What follows joins the branches, and the condition itself when one of them is empty.
          if (select bool_and(b.ids <> '{}') from flowgres.list_branches(v_step) as b) then
            v_tail := array_remove(v_tail, v_id);
          end if;
          v_tail := v_tail || array(
            select t.target from unnest(v_targets) as t (target)
            where t.target = any(v_known) and t.target <> v_id and t.target <> all(v_done || v_tail)
            order by array_position(v_known, t.target));
        end if;
      end if;
      v_step := v_step || jsonb_build_object('depends_on', v_depends_on);
      v_done := v_done || v_id;
    elsif v_in_list_order and jsonb_typeof(v_step) = 'object' then
      -- Its id is missing or wrong, which is told; what it names is judged by its place.
      v_step := v_step || jsonb_build_object('depends_on', v_tail);
    end if;
    v_steps := v_steps || v_step;
  end loop;
  return to_jsonb(v_steps);
end;
$$;
comment on function flowgres.order_steps(jsonb) is $$Give every step its depends_on

When no step names a dependency the list is the order: each step follows the one before, branch targets hang off their
condition, and the next step that is no target joins them. A listed step that does not depend on its condition gets that.$$;
