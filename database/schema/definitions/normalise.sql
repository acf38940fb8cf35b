-- From what authors write to the one canonical form that is checked, compiled, stored and exported.
--
-- Nothing is refused here: what cannot be understood is left as it is, for the checks to name it.

set local role flowgres_owner;

create or replace function flowgres.normalise_retry(p_retry jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_retry jsonb := p_retry;
begin
  if jsonb_typeof(v_retry) = 'number' then
    return jsonb_build_object('attempts', v_retry);
  elsif jsonb_typeof(v_retry) is distinct from 'object' then
    return v_retry;
  end if;
  if v_retry ? 'delay' then
    v_retry := v_retry || jsonb_build_object('delay', flowgres.normalise_duration(v_retry -> 'delay'));
  end if;
  if v_retry ? 'max_delay' then
    v_retry := v_retry || jsonb_build_object('max_delay', flowgres.normalise_duration(v_retry -> 'max_delay'));
  end if;
  if jsonb_typeof(v_retry -> 'errors') = 'array' then
    v_retry := v_retry || jsonb_build_object('errors', (
      select coalesce(jsonb_agg(
        case jsonb_typeof(e.value)
          when 'number' then to_jsonb(trim_scale(e.value::numeric)::text)
          when 'string' then case when e.value #>> '{}' ~ '^[1-5]XX$' then to_jsonb(lower(e.value #>> '{}' collate "C")) else e.value end
          else e.value
        end
        order by e.position), '[]')
      from jsonb_array_elements(v_retry -> 'errors') with ordinality as e (value, position)));
  end if;
  return v_retry;
end;
$$;
comment on function flowgres.normalise_retry(jsonb) is $$A retry policy with durations in seconds; a bare number means attempts.$$;

create or replace function flowgres.normalise_names(p_names jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
begin
  case jsonb_typeof(p_names)
    when 'string' then
      return jsonb_build_array(p_names);
    when 'null' then
      return '[]';
    when 'array' then
      if jsonb_array_length(p_names) < 2 then
        return p_names;
      end if;
      -- A name said twice is one edge.
      return (
        select jsonb_agg(n.value order by n.position)
        from (
          select e.value, min(e.position) as position
          from jsonb_array_elements(p_names) with ordinality as e (value, position)
          group by e.value
        ) as n);
    else
      return p_names;
  end case;
end;
$$;
comment on function flowgres.normalise_names(jsonb) is $$A list of step ids: a single one becomes a list, a repeated one is kept once.$$;

create or replace function flowgres.normalise_config(p_type text, p_config jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_config jsonb := p_config;
  v_key text;
begin
  if jsonb_typeof(v_config) is distinct from 'object' then
    return v_config;
  end if;
  case p_type
    when 'http' then
      if jsonb_typeof(v_config -> 'method') = 'string' and v_config ->> 'method' not like '%{{%' then
        v_config := v_config || jsonb_build_object('method', upper((v_config ->> 'method') collate "C"));
      end if;
      if v_config ? 'expected_status' and jsonb_typeof(v_config -> 'expected_status') in ('number', 'string') then
        v_config := v_config || jsonb_build_object('expected_status', jsonb_build_array(v_config -> 'expected_status'));
      end if;
      if v_config ? 'timeout' then
        v_config := v_config || jsonb_build_object('timeout', flowgres.normalise_duration(v_config -> 'timeout'));
      end if;
    when 'condition' then
      if v_config ? 'condition' then
        v_config := (v_config - 'condition') || case jsonb_typeof(v_config -> 'condition')
          when 'object' then v_config -> 'condition'
          else jsonb_build_object('expression', v_config -> 'condition')
        end;
      end if;
      foreach v_key in array array['true', 'false'] loop
        if v_config ? ('on_' || v_key) and jsonb_typeof(v_config -> ('on_' || v_key)) <> 'object' then
          v_config := jsonb_build_object(v_key || '_branch', v_config -> ('on_' || v_key)) || (v_config - ('on_' || v_key));
        end if;
        if v_config ? (v_key || '_branch') then
          v_config := v_config || jsonb_build_object(
            v_key || '_branch', flowgres.normalise_names(v_config -> (v_key || '_branch')));
        end if;
      end loop;
    when 'delay' then
      if v_config ? 'duration' and not v_config ? 'seconds' and flowgres.parse_duration(v_config -> 'duration') is not null then
        v_config := (v_config - 'duration') || jsonb_build_object('seconds', v_config -> 'duration');
      end if;
      if v_config ? 'seconds' then
        v_config := v_config || jsonb_build_object('seconds', flowgres.normalise_duration(v_config -> 'seconds'));
      end if;
    when 'sub_workflow' then
      if v_config ? 'workflow_name' and not v_config ? 'workflow' then
        v_config := (v_config - 'workflow_name') || jsonb_build_object('workflow', v_config -> 'workflow_name');
      end if;
      if v_config ? 'input_mapping' and not v_config ? 'input' then
        v_config := (v_config - 'input_mapping') || jsonb_build_object('input', v_config -> 'input_mapping');
      end if;
    when 'log' then
      if jsonb_typeof(v_config -> 'level') = 'string' then
        v_config := v_config || jsonb_build_object(
          'level', regexp_replace(lower((v_config ->> 'level') collate "C"), '^warn$', 'warning'));
      end if;
    else null;
  end case;
  return v_config;
end;
$$;
comment on function flowgres.normalise_config(text, jsonb) is $$The configuration of a core type in its canonical form; others are left alone.$$;

create or replace function flowgres.normalise_aliases(p_step jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_step jsonb := p_step;
  v_type text;
  v_flat jsonb;
begin
  if v_step ? 'task_type' and not v_step ? 'type' then
    v_step := (v_step - 'task_type') || jsonb_build_object('type', v_step -> 'task_type');
  end if;
  if v_step ? 'name' then
    v_step := case
      when v_step ? 'id' then jsonb_build_object('description', v_step -> 'name') || (v_step - 'name')
      else (v_step - 'name') || jsonb_build_object('id', v_step -> 'name')
    end;
  end if;
  if v_step ? 'timeout_seconds' and not v_step ? 'timeout' then
    v_step := (v_step - 'timeout_seconds') || jsonb_build_object('timeout', v_step -> 'timeout_seconds');
  end if;
  if v_step ->> 'max_retries' ~ '^[0-9]{1,9}$' and jsonb_typeof(v_step -> 'max_retries') = 'number' and not v_step ? 'retry' then
    -- Theirs counts the tries after the first one, ours all of them.
    v_step := (v_step - 'max_retries') || jsonb_build_object(
      'retry', jsonb_build_object('attempts', (v_step ->> 'max_retries')::numeric + 1));
  end if;
  v_step := v_step - 'step_order';

  v_type := case v_step ->> 'type'
    when 'http_request' then 'http' when 'data_transform' then 'transform' when 'conditional' then 'condition'
    else v_step ->> 'type'
  end;
  if v_type <> v_step ->> 'type' then
    v_step := v_step || jsonb_build_object('type', v_type);
  end if;
  if v_type = 'trigger' then
    return v_step || jsonb_build_object(
      'type', 'transform', 'config', jsonb_build_object('expression', '{{ trigger.payload }}'));
  end if;

  -- Configuration written beside the id. Only keys that this type knows, so that a typing error stays one.
  v_flat := (
    select jsonb_object_agg(f.key, f.value)
    from jsonb_each(v_step) as f
    where f.key = any(case v_type
      when 'http' then '{method,url,headers,query,json,body,form,auth,expected_status,follow_redirects,response}'
      when 'transform' then '{expression,transforms}'
      when 'condition' then '{expression,field,operator,value,true_branch,false_branch,condition,on_true,on_false}'
      when 'delay' then '{seconds,duration,until}'
      when 'sub_workflow' then '{workflow,workflow_name,version,input,input_mapping}'
      when 'log' then '{level,message}'
      when 'notify' then '{channel,recipient,subject,message}'
      else '{}'
    end::text[]));
  if v_flat is not null then
    v_step := v_step - array(select jsonb_object_keys(v_flat));
    if coalesce(jsonb_typeof(v_step -> 'config'), 'object') = 'object' then
      v_step := v_step || jsonb_build_object('config', v_flat || coalesce(v_step -> 'config', '{}'));
    end if;
  end if;
  return v_step;
end;
$$;
comment on function flowgres.normalise_aliases(jsonb) is $$A step in our words, from the words of the systems that flowgres replaces.$$;

create or replace function flowgres.normalise_step(p_step jsonb, p_defaults jsonb)
  returns jsonb language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_step jsonb := p_step;
  v_type text;
begin
  if jsonb_typeof(v_step) <> 'object' then
    return v_step;
  end if;
  if v_step @? '$.* ? (@ == null)' then
    v_step := v_step - array(select s.key from jsonb_each(v_step) as s where s.value = 'null');
  end if;
  v_step := flowgres.normalise_aliases(v_step);
  v_type := v_step ->> 'type';
  if position('trigger.body' in v_step::text) > 0 then
    v_step := regexp_replace(
      v_step::text, '(\{\{[^{}]*?)(?<![A-Za-z0-9_])trigger\.body(?![A-Za-z0-9_])', '\1trigger.payload', 'g')::jsonb;
  end if;
  if v_step ? 'depends_on' then
    v_step := v_step || jsonb_build_object('depends_on', flowgres.normalise_names(v_step -> 'depends_on'));
  end if;
  if v_type = 'http' and jsonb_typeof(v_step -> 'config') = 'object' and v_step -> 'config' ? 'timeout' and not v_step ? 'timeout' then
    v_step := (v_step #- '{config,timeout}') || jsonb_build_object('timeout', v_step #> '{config,timeout}');
  end if;
  v_step := v_step || jsonb_build_object(
    'config', coalesce(flowgres.normalise_config(v_type, v_step -> 'config'), '{}'));
  v_step := v_step || jsonb_strip_nulls(jsonb_build_object(
    'timeout', flowgres.normalise_duration(coalesce(
      v_step -> 'timeout',
      -- The default is meant for work, not for waiting.
      case when v_type not in ('delay', 'sub_workflow', 'wait', 'approval') then p_defaults -> 'timeout' end))));
  if p_defaults ? 'retry' and coalesce(jsonb_typeof(v_step -> 'retry'), 'object') = 'object' then
    v_step := v_step || jsonb_build_object(
      'retry', flowgres.normalise_retry(p_defaults -> 'retry') || coalesce(flowgres.normalise_retry(v_step -> 'retry'), '{}'));
  elsif v_step ? 'retry' then
    v_step := v_step || jsonb_build_object('retry', flowgres.normalise_retry(v_step -> 'retry'));
  end if;
  return v_step;
end;
$$;
comment on function flowgres.normalise_step(jsonb, jsonb) is $$One step in canonical form, with the defaults of the definition merged in; its dependencies come later.$$;
