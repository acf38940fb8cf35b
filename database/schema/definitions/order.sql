-- Which step waits for which: list order, branches of conditions, and the definition as a whole.

set local role flowgres_owner;

create or replace function flowgres.branch_targets(p_step jsonb)
  returns text[] language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select case when p_step ->> 'type' = 'condition' then array(
    select t.value #>> '{}' from jsonb_path_query(p_step -> 'config', '$.true_branch[*] ? (@.type() == "string")') as t (value)
    union
    select t.value #>> '{}' from jsonb_path_query(p_step -> 'config', '$.false_branch[*] ? (@.type() == "string")') as t (value))
    else '{}'
  end;
$$;
comment on function flowgres.branch_targets(jsonb) is $$The steps that a condition lists in its branches.$$;

create or replace function flowgres.order_steps(p_steps jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
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
  if p_steps @? '$[*] ? (@.type == "condition")' then
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
          when 'array' then flowgres.normalise_names(coalesce(v_step -> 'depends_on', '[]') || v_depends_on)
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
          if v_step @? '$.config.true_branch[*]' and v_step @? '$.config.false_branch[*]' then
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
    end if;
    v_steps := v_steps || v_step;
  end loop;
  return to_jsonb(v_steps);
end;
$$;
comment on function flowgres.order_steps(jsonb) is $$Give every step its depends_on

When no step names a dependency the list is the order: each step follows the one before, branch targets hang off their
condition, and the next step that is no target joins them. A listed step that does not depend on its condition gets that.$$;

create or replace function flowgres.normalise_triggers(p_definition jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_definition jsonb := p_definition - '{trigger_type,cron_expression}'::text[];
  v_type text := p_definition ->> 'trigger_type';
begin
  if v_definition ? 'triggers' then
    -- Beside `triggers` the type says again what one of them is, or contradicts all of them, which is told by the checks.
    return case
      when v_definition -> 'triggers' @> jsonb_build_array(jsonb_build_object('type', case v_type when 'schedule' then 'cron' else v_type end))
        then p_definition - 'trigger_type'
      else p_definition end;
  elsif not p_definition ?| '{trigger_type,cron_expression}'
    or coalesce(v_type, 'cron') not in ('webhook', 'cron', 'schedule', 'manual', 'api')
  then
    return p_definition;
  end if;
  v_type := coalesce(v_type, 'cron');
  if v_type in ('manual', 'api') then
    return v_definition;
  end if;
  return v_definition || jsonb_build_object('triggers', jsonb_build_array(jsonb_strip_nulls(jsonb_build_object(
    'type', case v_type when 'schedule' then 'cron' else v_type end,
    'cron', p_definition -> 'cron_expression'))));
end;
$$;
comment on function flowgres.normalise_triggers(jsonb) is $$The shorthand trigger_type and cron_expression as a list with one trigger.$$;

create or replace function flowgres.normalise_steps(p_definition jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_steps jsonb := p_definition -> 'steps';
  v_defaults jsonb := case when jsonb_typeof(p_definition -> 'defaults') = 'object' then p_definition -> 'defaults' else '{}' end;
begin
  if coalesce(jsonb_typeof(v_steps), '') <> 'array' or v_steps = '[]' then
    return v_steps;
  end if;
  if jsonb_typeof(v_defaults -> 'retry') not in ('object', 'number') then
    v_defaults := v_defaults - 'retry';
  end if;
  return (
    select jsonb_agg(flowgres.normalise_step(p_step => s.value, p_defaults => v_defaults) order by s.place)
    from (
      select
        e.value,
        -- step_order decides only when every step has one.
        case when not v_steps @? '$[*] ? (!exists(@.step_order) || @.step_order.type() != "number")'
          then row_number() over (order by e.value -> 'step_order', e.position) else e.position end as place
      from jsonb_array_elements(v_steps) with ordinality as e (value, position)
    ) as s);
end;
$$;
comment on function flowgres.normalise_steps(jsonb) is $$The steps of a definition in canonical form and order; their dependencies come later.$$;

create or replace function flowgres.list_unknown_targets(p_steps jsonb)
  returns table (step integer, branch text, place integer, id text) language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
begin
  return query
  select (s.position - 1)::integer, b.name, (t.position - 1)::integer, t.value #>> '{}'
  from jsonb_array_elements(p_steps) with ordinality as s (value, position)
  cross join (values ('true_branch'), ('false_branch')) as b (name)
  cross join lateral jsonb_array_elements(
    case when jsonb_typeof(s.value -> 'config' -> b.name) = 'array' then s.value -> 'config' -> b.name else '[]' end
  ) with ordinality as t (value, position)
  where s.value ->> 'type' = 'condition' and jsonb_typeof(t.value) = 'string'
    and not exists (select from jsonb_array_elements(p_steps) as o (value) where o.value -> 'id' = t.value)
  order by 1, b.name desc, 3;
end;
$$;
comment on function flowgres.list_unknown_targets(jsonb) is $$What conditions list in their branches and no step is called: number of the step, branch, place in it, the name.$$;

create or replace function flowgres.drop_unknown_targets(p_steps jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_steps jsonb := p_steps;
  v_target record;
begin
  -- From the last one on, so that the places of the others stay what they are.
  for v_target in
    select u.step, u.branch, u.place from flowgres.list_unknown_targets(p_steps => p_steps) as u order by u.step, u.branch, u.place desc
  loop
    v_steps := v_steps #- array[v_target.step::text, 'config', v_target.branch, v_target.place::text];
  end loop;
  return v_steps;
end;
$$;
comment on function flowgres.drop_unknown_targets(jsonb) is $$The steps without branch targets that do not exist

Only for the shorthand with trigger_type: there a branch may lead nowhere. Elsewhere such a target is a mistake.$$;

create or replace function flowgres.warn_of_unknown_targets(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_steps jsonb;
begin
  if coalesce(jsonb_typeof(p_definition -> 'trigger_type'), 'null') = 'null' then
    return '{}';
  end if;
  v_steps := flowgres.normalise_steps(p_definition => p_definition);
  if coalesce(jsonb_typeof(v_steps), '') <> 'array' then
    return '{}';
  end if;
  return array(
    select flowgres.problem(
      p_path => format('steps[%s].config.%s[%s]', u.step, u.branch, u.place), p_code => 'unknown_branch_target',
      p_message => format(
        'the condition "%s" leads to "%s", which is no step: this branch ends here',
        left(v_steps -> u.step ->> 'id', 60), left(u.id, 60)),
      p_hint => 'Add a step with this id, or remove it from the branch.')
    from flowgres.list_unknown_targets(p_steps => v_steps) as u
    limit 50);
end;
$$;
comment on function flowgres.warn_of_unknown_targets(jsonb) is $$The branch targets that the normalisation drops from a definition in the shorthand with trigger_type.$$;

create or replace function flowgres.normalise_definition(p_definition jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_definition jsonb := p_definition - '$schema';
  v_header_keys text[] := '{name,title,version,description,metadata}';
  v_header jsonb;
  v_steps jsonb;
begin
  if jsonb_typeof(p_definition) is distinct from 'object' then
    return p_definition;
  end if;
  if v_definition @? '$.* ? (@ == null)' then
    v_definition := v_definition - array(select d.key from jsonb_each(v_definition) as d where d.value = 'null');
  end if;
  if jsonb_typeof(v_definition -> 'workflow') = 'object' then
    v_header := v_definition -> 'workflow';
    v_definition := v_definition - 'workflow';
    v_definition := (
      select coalesce(jsonb_object_agg(h.key, h.value), '{}') from jsonb_each(v_header) as h
      where h.key = any(v_header_keys) and h.value <> 'null'
    ) || v_definition || case when v_header - v_header_keys = '{}' then '{}'
      else jsonb_build_object('workflow', v_header - v_header_keys) end;
  end if;
  if jsonb_typeof(v_definition -> 'name') = 'string'
    and not v_definition ? 'title'
    and v_definition ->> 'name' !~ '^[a-z][a-z0-9_-]{0,62}$'
    and flowgres.is_display_name(v_definition ->> 'name')
  then
    v_definition := v_definition || jsonb_build_object(
      'title', v_definition -> 'name', 'name', flowgres.slugify(v_definition ->> 'name'));
  end if;
  if jsonb_typeof(v_definition -> 'version') = 'number' and v_definition ->> 'version' ~ '^-?[0-9]+$' then
    v_definition := v_definition || jsonb_build_object('version', v_definition ->> 'version');
  end if;
  v_definition := flowgres.normalise_triggers(v_definition);
  if jsonb_typeof(v_definition -> 'settings') = 'object' and v_definition -> 'settings' ? 'timeout' then
    v_definition := jsonb_set(
      v_definition, '{settings,timeout}', flowgres.normalise_duration(v_definition #> '{settings,timeout}'));
  end if;

  v_steps := v_definition -> 'steps';
  if jsonb_typeof(v_steps) = 'array' and jsonb_array_length(v_steps) > 0 then
    v_steps := flowgres.normalise_steps(p_definition => v_definition);
    if coalesce(jsonb_typeof(p_definition -> 'trigger_type'), 'null') <> 'null' then
      v_steps := flowgres.drop_unknown_targets(p_steps => v_steps);
    end if;
    v_definition := (v_definition - 'defaults') || jsonb_build_object('steps', flowgres.order_steps(v_steps));
  end if;
  return v_definition;
end;
$$;
comment on function flowgres.normalise_definition(jsonb) is $$The canonical form of a definition

Aliases resolved, durations in seconds, defaults merged, every dependency written out. Applying it again changes nothing.$$;
