-- What the expressions of a definition name: other steps, and secrets.
--
-- Found as text, never parsed: whether an expression is sound is decided where it can be parsed, outside the database.

set local role flowgres_owner;

create or replace function flowgres.find_names(p_value jsonb, p_root text)
  returns text[] language plpgsql immutable parallel safe
as $$
begin
  if p_value is null or position(p_root in p_value::text) = 0 then
    return '{}';
  end if;
  -- Quoted text is matched too, so that it is passed over: steps['a'] names a step, 'steps.a' is a text.
  return (
    select coalesce(array_agg(distinct n.name), '{}')
    from jsonb_path_query(p_value, 'strict $.** ? (@.type() == "string" && @ like_regex "{{" flag "q")') as s (value)
    cross join lateral regexp_matches(s.value #>> '{}', '\{\{(.*?)\}\}', 'g') as e (expression)
    cross join lateral regexp_matches(
      e.expression[1],
      '(?<![A-Za-z0-9_.])' || p_root
      -- What is called is a method of the input, and not a member.
      || '[ \t-\r]*(?:\.[ \t-\r]*([A-Za-z_][A-Za-z0-9_]*)'
      || case when p_root = 'input' then '(?![A-Za-z0-9_]|[ \t-\r]*\()' else '' end
      || '|\[[ \t-\r]*(?:''([^'']*)''|"([^"]*)")[ \t-\r]*\])|''[^'']*''|"[^"]*"', 'g'
    ) as f (found)
    cross join lateral (values (coalesce(f.found[1], f.found[2], f.found[3]))) as n (name)
    where n.name is not null);
end;
$$;
comment on function flowgres.find_names(jsonb, text) is $$Names that follow a root in the expressions of a value: steps.NAME and steps['NAME'] for steps.$$;

create or replace function flowgres.find_paths(p_path text, p_value jsonb, p_root text, p_name text)
  returns text[] language plpgsql immutable parallel safe
as $$
begin
  return array(
    select t.path from flowgres.list_texts(p_path => p_path, p_value => p_value) as t
    where position(p_name in t.text) > 0 and p_name = any(flowgres.find_names(p_value => to_jsonb(t.text), p_root => p_root))
    order by t.path);
end;
$$;
comment on function flowgres.find_paths(text, jsonb, text, text) is $$Where in a value expressions name something; asked only to report a mistake.$$;

create or replace function flowgres.step_expressions(p_step jsonb)
  returns jsonb language sql immutable parallel safe
as $$
  select jsonb_strip_nulls(jsonb_build_object(
    'config', case
      when jsonb_typeof(p_step -> 'config') <> 'object' then null
      -- The field of a condition is a path, which names a step without braces; its branches are ids, and nothing in them is rendered.
      when p_step ->> 'type' = 'condition' then (case when p_step #>> '{config,field}' not like '%{{%'
        then jsonb_set(p_step -> 'config', '{field}', to_jsonb('{{ ' || (p_step #>> '{config,field}') || ' }}'))
        else p_step -> 'config' end) - '{true_branch,false_branch}'::text[]
      else p_step -> 'config'
    end,
    'foreach', case when jsonb_typeof(p_step -> 'foreach') = 'object' then jsonb_build_object('items', p_step #> '{foreach,items}') end,
    'repeat', case when jsonb_typeof(p_step #> '{repeat,until}') = 'string' then jsonb_build_object('until', p_step #> '{repeat,until}') end,
    'on_timeout', case when jsonb_typeof(p_step -> 'on_timeout') = 'object' then jsonb_build_object('output', p_step #> '{on_timeout,output}') end,
    'when', case when jsonb_typeof(p_step -> 'when') = 'string' then p_step -> 'when' end, 'output', p_step -> 'output'));
$$;
comment on function flowgres.step_expressions(jsonb) is $$The parts of a step in which expressions are rendered.$$;

create or replace function flowgres.check_references(
  p_steps jsonb, p_outputs jsonb, p_ids text[], p_sorted integer[], p_from integer[], p_to integer[]
)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  v_errors jsonb[] := '{}';
  v_ancestors bit varying[];
  v_is_sorted boolean := cardinality(p_sorted) = cardinality(p_ids);
  v_name record;
begin
  for v_name in
    select
      s.position - 1 as step, flowgres.step_expressions(s.value) as value, n.name,
      array_position(p_ids, n.name) - 1 as target
    from jsonb_array_elements(p_steps) with ordinality as s (value, position)
    cross join lateral unnest(flowgres.find_names(p_value => flowgres.step_expressions(s.value), p_root => 'steps')) as n (name)
    where position('steps' in s.value::text) > 0
    order by s.position, n.name
  loop
    if v_name.target is null then
      v_errors := v_errors || array(
        select flowgres.problem(
          p_path => f.path, p_code => 'unknown_step', p_message => format('no step has the id "%s"', left(v_name.name, 60)),
          p_hint => flowgres.did_you_mean(p_word => v_name.name, p_known => p_ids))
        from unnest(flowgres.find_paths(format('steps[%s]', v_name.step), v_name.value, 'steps', v_name.name)) as f (path));
    elsif v_is_sorted then
      v_ancestors := coalesce(v_ancestors, flowgres.find_ancestors(p_sorted => p_sorted, p_from => p_from, p_to => p_to));
      if get_bit(v_ancestors[v_name.step + 1], v_name.target) = 0 then
        v_errors := v_errors || array(
          select flowgres.problem(
            p_path => f.path, p_code => 'reference_not_ancestor',
            p_message => format('"%s" does not wait for "%s", so its result may not be there', p_ids[v_name.step + 1], v_name.name),
            p_hint => format('Add "%s" to depends_on.', v_name.name))
          from unnest(flowgres.find_paths(format('steps[%s]', v_name.step), v_name.value, 'steps', v_name.name)) as f (path));
      end if;
    end if;
  end loop;
  for v_name in
    select n.name from unnest(flowgres.find_names(p_value => p_outputs, p_root => 'steps')) as n (name)
    where n.name <> all(array_remove(p_ids, null))
  loop
    v_errors := v_errors || array(
      select flowgres.problem(
        p_path => f.path, p_code => 'unknown_step', p_message => format('no step has the id "%s"', left(v_name.name, 60)),
        p_hint => flowgres.did_you_mean(p_word => v_name.name, p_known => p_ids))
      from unnest(flowgres.find_paths('outputs', p_outputs, 'steps', v_name.name)) as f (path));
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_references(jsonb, jsonb, text[], integer[], integer[], integer[]) is $$Expressions that name no step, or a step that is no ancestor.$$;

create or replace function flowgres.check_late_references(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
begin
  if not p_definition ? 'on_failure' and not p_definition @? '$.steps[*].compensate' then
    return '{}';
  end if;
  -- When these run, every step has ended: they may name any, but those of on_failure that have not had their turn.
  return array(
    with listed as materialized (
      select l.place, l.section, l.path, l.id, flowgres.step_expressions(l.step) as value from flowgres.list_sections(p_definition) as l
    ),
    named as materialized (
      select l.path, l.place, l.id, l.value, n.name, t.place as target, t.section
      from listed as l
      cross join lateral unnest(flowgres.find_names(p_value => l.value, p_root => 'steps')) as n (name)
      left join lateral (
        select t.place, t.section from listed as t
        where t.id = n.name and t.section <> 'compensate' order by t.place limit 1) as t on true
      where l.section <> 'steps'
    )
    select p.problem
    from (
      select n.place, flowgres.problem(
        p_path => f.path, p_code => 'unknown_step', p_message => format('no step has the id "%s"', left(n.name, 60)),
        p_hint => flowgres.did_you_mean(p_word => n.name, p_known => array(
          select l.id from listed as l where l.section <> 'compensate' and l.id is not null))) as problem
      from named as n
      cross join lateral unnest(flowgres.find_paths(n.path, n.value, 'steps', n.name)) as f (path)
      where n.target is null
      union all
      select n.place, flowgres.problem(
        p_path => f.path, p_code => 'reference_not_ancestor',
        p_message => format('"%s" runs before "%s", so its result is not there', left(n.id, 80), left(n.name, 60)),
        p_hint => 'Steps of on_failure run in list order.')
      from named as n
      cross join lateral unnest(flowgres.find_paths(n.path, n.value, 'steps', n.name)) as f (path)
      where n.section = 'on_failure' and n.target >= n.place
    ) as p
    order by p.place);
end;
$$;
comment on function flowgres.check_late_references(jsonb) is $$Expressions of compensations and of on_failure that name no step, or one that has not run by then.$$;

create or replace function flowgres.check_trigger_names(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
begin
  if position('trigger' in p_definition::text) = 0 or position('body' in p_definition::text) = 0 then
    return '{}';
  end if;
  return array(
    select flowgres.problem(
      p_path => f.path, p_code => 'expression_reference',
      p_message => 'trigger has no body: what it brought is trigger.payload', p_hint => 'Write trigger.payload.')
    from (
      select l.path, flowgres.step_expressions(l.step) as value from flowgres.list_sections(p_definition) as l
      union all
      select 'outputs', p_definition -> 'outputs'
    ) as p
    cross join lateral unnest(flowgres.find_paths(p.path, p.value, 'trigger', 'body')) as f (path)
    limit 200);
end;
$$;
comment on function flowgres.check_trigger_names(jsonb) is $$Where expressions read trigger.body, a word of another system that would be nothing here.$$;

create or replace function flowgres.secret_places(p_type text)
  returns text[] language sql stable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select case
    when p_type = any(flowgres.core_step_types()) then array(
      select p.key from jsonb_each(flowgres.definition_schema() -> '$defs' -> p_type -> 'properties') as p where p.value ? 'x-secrets')
    else (select coalesce(array_agg(p.place) filter (where p.place is not null), '{}')
      from flowgres.step_types as t
      left join lateral unnest(t.secret_places) as p (place) on true
      where t.type = p_type and not t.is_core
      having count(*) > 0)
  end;
$$;
comment on function flowgres.secret_places(text) is $$Keys of a step's configuration that secrets may be named below, by its type; null for a type that nobody knows.$$;

create or replace function flowgres.check_secrets(p_definition jsonb)
  returns jsonb[] language plpgsql stable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := '{}';
  v_text record;
begin
  if position('secrets' in p_definition::text) = 0 then
    return v_errors;
  end if;
  for v_text in
    select t.path, t.text,
      -- Where a runner puts secrets in: in what an http step sends, and where a package's type says so.
      case when starts_with(t.path, p.path || '.config') then coalesce(
        substring(substr(t.path, length(p.path) + 1) from '^\.config\.([A-Za-z0-9_-]+)') = any(flowgres.secret_places(p_type => p.type)),
        -- Of a type that nobody knows nothing more is told than that.
        flowgres.secret_places(p_type => p.type) is null) else false end as may_name
    from (
      select l.path, flowgres.step_expressions(l.step) as value, l.step ->> 'type' as type
      from flowgres.list_sections(p_definition) as l
      where position('secrets' in l.step::text) > 0
      union all
      select 'outputs', p_definition -> 'outputs', null
    ) as p
    cross join lateral flowgres.list_texts(p_path => p.path, p_value => p.value) as t
    where position('secrets' in t.text) > 0
  loop
    case flowgres.secret_use(p_text => v_text.text)
      when 'none' then continue;
      when 'named' then
        continue when v_text.may_name;
        v_errors := v_errors || flowgres.problem(
          p_path => v_text.path, p_code => 'secret_misuse', p_message => 'a secret cannot be used here',
          p_hint => 'Secrets may be named in what an http step sends (url, headers, query, json, body, form, auth), '
            'and where a step type of a package takes them.');
      else
        v_errors := v_errors || flowgres.problem(
          p_path => v_text.path, p_code => 'secret_misuse', p_message => 'a secret can only be put in as it is',
          p_hint => 'Write {{ secrets.NAME }}: filters, methods and operators cannot see its value.');
    end case;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_secrets(jsonb) is $$Secrets that are named where they would end up in stored data, or computed with.$$;

create or replace function flowgres.secret_use(p_text text)
  returns text language plpgsql immutable parallel safe
as $$
declare
  v_use text := 'none';
  v_expression text;
begin
  for v_expression in select e.found[1] from regexp_matches(p_text, '\{\{(.*?)\}\}', 'g') as e (found) loop
    -- secrets['KEY'] is secrets.KEY, and any other quoted text is no name.
    v_expression := regexp_replace(v_expression, '(?<![A-Za-z0-9_.])secrets[ \t-\r]*\[[ \t-\r]*(?:''[^'']*''|"[^"]*")[ \t-\r]*\]', 'secrets.KEY', 'g');
    v_expression := regexp_replace(v_expression, '''[^'']*''|"[^"]*"', '''''', 'g');
    continue when v_expression !~ '(?<![A-Za-z0-9_.])secrets(?![A-Za-z0-9_])';
    v_expression := regexp_replace(v_expression, '(?<![A-Za-z0-9_.])secrets[ \t-\r]*\.[ \t-\r]*[A-Za-z_][A-Za-z0-9_]*', '$', 'g');
    -- Beside a name may stand ~, a comma, brackets of lists and objects, if and else; all else would compute with it.
    if v_expression ~ '(?<![A-Za-z0-9_.])secrets(?![A-Za-z0-9_])'
      or v_expression ~ '\$[ \t-\r]*([-+*/%<>=!|.[(]|(is|in|and|or|not)(?![A-Za-z0-9_]))'
      or v_expression ~ '([-+*/%<>=!]|[A-Za-z0-9_]\(|(?<![A-Za-z0-9_])(is|in|and|or|not|if))[ \t-\r]*\$'
    then
      return 'computed';
    end if;
    v_use := 'named';
  end loop;
  return v_use;
end;
$$;
comment on function flowgres.secret_use(text) is $$How the expressions of a text use secrets: none, named (put in as they are) or computed

Read from the text alone, so a computation further away is left to where expressions are parsed.$$;

create or replace function flowgres.list_texts(p_path text, p_value jsonb)
  returns table (path text, text text) language plpgsql immutable parallel safe
as $$
begin
  return query
  with recursive parts as (
    select p_path as path, p_value as value, 0 as depth
    union all
    select c.path, c.value, p.depth + 1
    from parts as p
    cross join lateral (
      select flowgres.join_path(p.path, o.key) as path, o.value
      from jsonb_each(case when jsonb_typeof(p.value) = 'object' then p.value else '{}' end) as o
      union all
      select format('%s[%s]', p.path, e.position - 1), e.value
      from jsonb_array_elements(case when jsonb_typeof(p.value) = 'array' then p.value else '[]' end)
        with ordinality as e (value, position)
    ) as c
    where p.depth < 64
  )
  select p.path, p.value #>> '{}' from parts as p where jsonb_typeof(p.value) = 'string' order by p.path;
end;
$$;
comment on function flowgres.list_texts(text, jsonb) is $$Every text in a value, with its path.$$;
