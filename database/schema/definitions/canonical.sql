-- The canonical form of a definition: what the description says of every value, then defaults merged and every dependency written out.

set local role flowgres_owner;

create or replace function flowgres.form_definition(p_definition jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_schema jsonb := flowgres.definition_schema();
begin
  return flowgres.form_value(p_definition - '$schema', v_schema, v_schema);
end;
$$;
comment on function flowgres.form_definition(jsonb) is $$A definition with every value in its canonical form; what stands where is as the author wrote it, so this is what is checked.$$;

create or replace function flowgres.lift_header(p_definition jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select case when jsonb_typeof(p_definition -> 'workflow') = 'object' then
    p_definition - 'workflow' || coalesce(h.lifted, '{}')
    || case when coalesce(h.rest, '{}') = '{}' then '{}' else jsonb_build_object('workflow', h.rest) end
  else p_definition end
  from (
    select
      jsonb_object_agg(m.key, m.value) filter (where m.is_known and coalesce(p_definition -> m.key, 'null') = 'null') as lifted,
      jsonb_object_agg(m.key, m.value) filter (where not m.is_known) as rest
    from (
      select e.key, e.value, e.key in ('name', 'title', 'version', 'description', 'metadata') as is_known
      from jsonb_each(case when jsonb_typeof(p_definition -> 'workflow') = 'object' then p_definition -> 'workflow' else '{}' end) as e
      where e.value <> 'null'
    ) as m
  ) as h;
$$;
comment on function flowgres.lift_header(jsonb) is $$A definition whose name, title, version, description and metadata may stand below the key workflow, with them at its root

What stands at the root already counts before the header's; what else the header has stays there, where nobody knows it.$$;

create or replace function flowgres.complete_step(p_step jsonb, p_defaults jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_step jsonb := p_step;
  v_type text;
begin
  if jsonb_typeof(v_step) <> 'object' then
    return v_step;
  end if;
  v_type := v_step ->> 'type';
  if v_type = 'http' and v_step #> '{config,timeout}' is not null and not v_step ? 'timeout' then
    v_step := (v_step #- '{config,timeout}') || jsonb_build_object('timeout', v_step #> '{config,timeout}');
  elsif v_type = 'delay' and jsonb_typeof(v_step #> '{config,duration}') = 'number' and v_step #> '{config,seconds}' is null then
    v_step := v_step || jsonb_build_object(
      'config', ((v_step -> 'config') - 'duration') || jsonb_build_object('seconds', v_step #> '{config,duration}'));
  end if;
  -- The default is meant for work, not for waiting.
  if p_defaults ? 'timeout' and not v_step ? 'timeout' and v_type not in ('delay', 'sub_workflow', 'wait', 'approval') then
    v_step := v_step || jsonb_build_object('timeout', p_defaults -> 'timeout');
  end if;
  if p_defaults ? 'retry' and v_type not in ('wait', 'approval') and coalesce(jsonb_typeof(v_step -> 'retry'), 'object') = 'object' then
    v_step := v_step || jsonb_build_object('retry', (p_defaults -> 'retry') || coalesce(v_step -> 'retry', '{}'));
  end if;
  if v_step ? 'compensate' then
    v_step := v_step || jsonb_build_object(
      'compensate', flowgres.complete_step(p_step => v_step -> 'compensate', p_defaults => p_defaults));
  end if;
  return v_step;
end;
$$;
comment on function flowgres.complete_step(jsonb, jsonb) is $$A step with the defaults of its definition; its dependencies come later.$$;

create or replace function flowgres.complete_definition(p_definition jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_steps jsonb := p_definition -> 'steps';
  v_defaults jsonb := case when jsonb_typeof(p_definition -> 'defaults') = 'object' then p_definition -> 'defaults' else '{}' end;
begin
  if coalesce(jsonb_typeof(v_steps), '') <> 'array' or v_steps = '[]' then
    return p_definition;
  end if;
  if jsonb_typeof(v_defaults -> 'retry') <> 'object' then
    v_defaults := v_defaults - 'retry';
  end if;
  return (p_definition - 'defaults') || jsonb_build_object('steps', flowgres.order_steps((
    select jsonb_agg(flowgres.complete_step(p_step => s.value, p_defaults => v_defaults) order by s.place)
    from jsonb_array_elements(v_steps) with ordinality as s (value, place))))
  || case when jsonb_typeof(p_definition -> 'on_failure') = 'array' and p_definition -> 'on_failure' <> '[]' then jsonb_build_object(
    'on_failure', (
      select jsonb_agg(flowgres.complete_step(p_step => s.value, p_defaults => v_defaults) order by s.place)
      from jsonb_array_elements(p_definition -> 'on_failure') with ordinality as s (value, place))) else '{}' end;
end;
$$;
comment on function flowgres.complete_definition(jsonb) is $$The canonical form of a definition whose values have theirs: defaults merged into the steps, every dependency written out

Applying it again changes nothing.$$;
