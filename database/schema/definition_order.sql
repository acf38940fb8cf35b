-- Which step waits for which: list order, branches of conditions, and the definition as a whole.

set local role flowgres_owner;

create or replace function flowgres.branch_targets(p_step jsonb)
  returns text[] language sql immutable parallel safe set search_path to ''
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
  returns jsonb language plpgsql immutable parallel safe set search_path to ''
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
  returns jsonb language plpgsql immutable parallel safe set search_path to ''
as $$
declare
  v_definition jsonb := p_definition - '{trigger_type,cron_expression}'::text[];
  v_type text := p_definition ->> 'trigger_type';
begin
  if not p_definition ?| '{trigger_type,cron_expression}' or v_definition ? 'triggers' then
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

create or replace function flowgres.normalise_definition(p_definition jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to ''
as $$
declare
  v_definition jsonb := p_definition - '$schema';
  v_defaults jsonb;
  v_steps jsonb;
begin
  if jsonb_typeof(p_definition) is distinct from 'object' then
    return p_definition;
  end if;
  if v_definition @? '$.* ? (@ == null)' then
    v_definition := v_definition - array(select d.key from jsonb_each(v_definition) as d where d.value = 'null');
  end if;
  if jsonb_typeof(v_definition -> 'workflow') = 'object' then
    v_definition := (v_definition -> 'workflow') || (v_definition - 'workflow');
  end if;
  if jsonb_typeof(v_definition -> 'name') = 'string'
    and not v_definition ? 'title'
    and v_definition ->> 'name' !~ '^[a-z][a-z0-9_-]{0,62}$'
    and flowgres.is_display_name(v_definition ->> 'name')
  then
    v_definition := v_definition || jsonb_build_object(
      'title', v_definition -> 'name', 'name', flowgres.slugify(v_definition ->> 'name'));
  end if;
  if jsonb_typeof(v_definition -> 'version') = 'number' then
    v_definition := v_definition || jsonb_build_object('version', v_definition ->> 'version');
  end if;
  v_definition := flowgres.normalise_triggers(v_definition);
  if jsonb_typeof(v_definition -> 'settings') = 'object' and v_definition -> 'settings' ? 'timeout' then
    v_definition := jsonb_set(
      v_definition, '{settings,timeout}', flowgres.normalise_duration(v_definition #> '{settings,timeout}'));
  end if;

  v_defaults := case when jsonb_typeof(v_definition -> 'defaults') = 'object' then v_definition -> 'defaults' else '{}' end;
  v_steps := v_definition -> 'steps';
  if jsonb_typeof(v_steps) = 'array' and jsonb_array_length(v_steps) > 0 then
    if jsonb_typeof(v_defaults -> 'retry') not in ('object', 'number') then
      v_defaults := v_defaults - 'retry';
    end if;
    v_definition := v_definition - 'defaults';
    select jsonb_agg(flowgres.normalise_step(p_step => s.value, p_defaults => v_defaults) order by s.place)
    into v_steps
    from (
      select
        e.value,
        -- step_order decides only when every step has one.
        case when not v_steps @? '$[*] ? (!exists(@.step_order) || @.step_order.type() != "number")'
          then row_number() over (order by e.value -> 'step_order', e.position) else e.position end as place
      from jsonb_array_elements(v_steps) with ordinality as e (value, position)
    ) as s;
    v_definition := v_definition || jsonb_build_object('steps', flowgres.order_steps(v_steps));
  end if;
  return v_definition;
end;
$$;
comment on function flowgres.normalise_definition(jsonb) is $$The canonical form of a definition

Aliases resolved, durations in seconds, defaults merged, every dependency written out. Applying it again changes nothing.$$;
