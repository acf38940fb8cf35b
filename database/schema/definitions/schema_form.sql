-- From what authors may write to the canonical form, as the description says (x-form, x-bare, x-fill): a single id becomes a list,
-- a duration seconds, a word lower-case. Nothing is refused here: what cannot be understood stays, for the check to name it.

set local role flowgres_owner;

create or replace function flowgres.form_word(p_value jsonb, p_form text)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_kind text := jsonb_typeof(p_value);
begin
  case p_form
    when 'seconds' then
      return coalesce(to_jsonb(flowgres.parse_duration(p_value)), p_value);
    when 'text', 'word' then
      if v_kind = 'number' then
        return to_jsonb(trim_scale(p_value::numeric)::text);
      end if;
      return case when p_form = 'word' and v_kind = 'string' then to_jsonb(lower((p_value #>> '{}') collate "C")) else p_value end;
    else
      if v_kind <> 'string' or position('{{' in p_value #>> '{}') > 0 then
        return p_value;
      end if;
      return to_jsonb(case p_form when 'upper' then upper((p_value #>> '{}') collate "C") else lower((p_value #>> '{}') collate "C") end);
  end case;
end;
$$;
comment on function flowgres.form_word(jsonb, text) is $$A number or word in canonical form: seconds, text, word, upper or lower.$$;

create or replace function flowgres.form_members(p_value jsonb, p_schema jsonb, p_root jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_value jsonb := p_value;
  v_properties jsonb := p_schema -> 'properties';
  v_schema jsonb;
  v_formed jsonb;
  v_member record;
begin
  for v_member in select m.key, m.value, v_properties -> m.key as schema from jsonb_each(p_value) as m loop
    if v_member.value = 'null' then
      -- Counts as absent, but where any value is one.
      if v_member.schema is null and p_schema -> 'additionalProperties' = 'false'
        or v_member.schema ?| '{type,enum,const,not,anyOf,oneOf,allOf,$ref}'
      then
        v_value := v_value - v_member.key;
      end if;
    else
      v_schema := coalesce(v_member.schema, p_schema -> 'additionalProperties');
      -- Most say nothing of a form.
      continue when not coalesce(v_schema ?| '{$ref,x-form,x-bare,properties,additionalProperties,items,allOf,anyOf}', false);
      v_formed := flowgres.form_value(v_member.value, v_schema, p_root);
      if v_formed <> v_member.value then
        v_value := v_value || jsonb_build_object(v_member.key, v_formed);
      end if;
    end if;
  end loop;
  if jsonb_path_exists(v_properties, '$.*."x-fill"') then
    v_value := (
      select coalesce(jsonb_object_agg(d.key, d.value -> 'default'), '{}') from jsonb_each(v_properties) as d where d.value ? 'x-fill'
    ) || v_value;
  end if;
  return v_value;
end;
$$;
comment on function flowgres.form_members(jsonb, jsonb, jsonb) is $$The members of an object in canonical form; those that are null go, those that always stand there come.$$;

create or replace function flowgres.form_value(p_value jsonb, p_schema jsonb, p_root jsonb)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_value jsonb := p_value;
  v_schema jsonb := case when p_schema ? '$ref' then flowgres.resolve_schema(p_schema => p_schema, p_root => p_root) else p_schema end;
  v_form text := v_schema ->> 'x-form';
  v_part jsonb;
begin
  if v_schema ? 'x-bare' and jsonb_typeof(v_value) = 'number' then
    v_value := jsonb_build_object(v_schema ->> 'x-bare', v_value);
  end if;
  -- The choice that the value is made for says what its parts are.
  if v_schema ? 'anyOf' and jsonb_typeof(v_value) in ('object', 'array', 'string', 'number') then
    for v_part in select c from jsonb_array_elements(v_schema -> 'anyOf') as c loop
      if flowgres.is_kind(v_value, flowgres.schema_kinds(v_part, p_root)) then
        v_value := flowgres.form_value(v_value, v_part, p_root);
        exit;
      end if;
    end loop;
  end if;
  if v_form in ('list', 'set') then
    v_part := coalesce(v_schema -> 'items', v_schema #> '{anyOf,0,items}');
    if jsonb_typeof(v_value) <> 'array' and flowgres.is_kind(v_value, flowgres.schema_kinds(v_part, p_root)) then
      v_value := jsonb_build_array(v_value);
    end if;
  elsif v_form is not null and flowgres.is_kind(v_value, flowgres.schema_kinds(v_schema, p_root)) then
    v_value := flowgres.form_word(v_value, v_form);
  end if;
  if jsonb_typeof(v_value) = 'array' and v_schema ? 'items' then
    v_value := (
      select coalesce(jsonb_agg(flowgres.form_value(e.value, v_schema -> 'items', p_root) order by e.place), '[]')
      from jsonb_array_elements(v_value) with ordinality as e (value, place));
    if v_form = 'set' and jsonb_array_length(v_value) > 1 then
      v_value := flowgres.join_ids(v_value);
    end if;
  elsif jsonb_typeof(v_value) = 'object' and v_schema ?| '{properties,additionalProperties}' then
    v_value := flowgres.form_members(v_value, v_schema, p_root);
  end if;
  if v_schema ? 'allOf' then
    for v_part in select a from jsonb_array_elements(v_schema -> 'allOf') as a loop
      if not v_part ? 'if' then
        v_value := flowgres.form_value(v_value, v_part, p_root);
      elsif v_part ? 'then' and flowgres.fits(v_value, v_part -> 'if', p_root, false) then
        v_value := flowgres.form_value(v_value, v_part -> 'then', p_root);
      end if;
    end loop;
  end if;
  return v_value;
end;
$$;
comment on function flowgres.form_value(jsonb, jsonb, jsonb) is $$A value in the canonical form of its schema; applying it again changes nothing.$$;
