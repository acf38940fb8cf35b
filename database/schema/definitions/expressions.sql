-- The syntax of expressions, so that an import can say that one is wrong.
--
-- The judge is the runner, which parses them as Jinja2 does. This refuses only what the judge refuses too, and leaves to it
-- what cannot be seen from here: letters other than ASCII outside of quotes, objects nested deeper than two levels, computing
-- with secrets, the depth of the tree. It is linear: regular expressions without back references, over a bounded text.
--
-- A text is cut into expressions, an expression into tokens, and a token is written as one letter:
--
-- | letter  | token                                    | letter    | token                               |
-- |---------|------------------------------------------|-----------|-------------------------------------|
-- | x       | an operand: name, number, text           | a p       | after an operand: .name or [], call |
-- | f t     | a filter, a test (`is not none` is one)  | - * = i   | + and -, other operators, comparisons, `in` |
-- | ! & ? e | not, and / or, if, else                  | k s       | `name=`, and * or **, before an argument |
-- | ( [ {   | brackets that are an operand             | C I       | ( and [ after an operand            |
-- | < >     | the ends of the expression               | b u       | no token at all, a foreign letter   |
--
-- What stands between two brackets is then a regular language. So the innermost brackets are replaced by the one letter
-- that they amount to, again and again; an expression is sound when in the end it is an x.

set local role flowgres_owner;

create or replace function flowgres.reduce_expressions(p_code text)
  returns text language plpgsql immutable parallel safe
as $$
declare
  -- Operands with operators between them; then `if` and, for each, at most one `else`.
  c_value constant text := '!*-*x(?:(?:-+|[*=i]-*|&!*-*)x)*';
  c_part constant text := format('([<(\[{CI,:ks])%1$s(?:\?%1$s(?:e%1$s)?)*(?=[]})>,:])', c_value);
  v_code text := p_code;
  v_before text;
begin
  -- Deeper than this no parser goes.
  for v_depth in 1 .. 100 loop
    v_before := v_code;
    -- A test takes an operand after it as its argument, and any word but `and`, `or`, `else` would be one. Nothing but calls
    -- may follow a filter or a test directly.
    v_code := regexp_replace(v_code, 'x[ap]*(?:(?:fp*(?!C)|t(?:p+|x[ap]*)|t(?![ti?!xC[{]))+(?![aI]))?', 'x', 'g');
    v_code := regexp_replace(v_code, c_part, '\1y', 'g');
    v_code := regexp_replace(
      v_code, '<y(?:,y)*,?>|\((?:y(?:,y)*,?)?\)|\[(?:y(?:,y)*,?)?]|\{(?:y:y(?:,y:y)*,?)?\}', 'x', 'g');
    v_code := regexp_replace(v_code, 'C(?:(?:s?y(?:,s?y)*(?:,ky)*|ky(?:,ky)*),?)?\)', 'p', 'g');
    v_code := regexp_replace(v_code, 'I(?:(?:y|y?:y?(?::y?)?)(?:,(?:y|y?:y?(?::y?)?))*)?]', 'a', 'g');
    exit when v_code = v_before;
  end loop;
  return v_code;
end;
$$;
comment on function flowgres.reduce_expressions(text) is $$What is left of expressions written in letters: an x for each that is sound.$$;

create or replace function flowgres.read_expressions(p_texts jsonb)
  returns table (number integer, code text, rest text, problems jsonb)
  language plpgsql immutable parallel safe
as $$
declare
  c_quoted constant text := $re$'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"$re$;
  -- Braces within an expression, two levels of them: the first }} outside of them ends it.
  c_plain constant text := $re$[^'"{}]|$re$ || c_quoted;
  c_inner constant text := format('%1$s|\{(?:%1$s)*\}', c_plain);
  c_outer constant text := format('%s|\{(?:%s)*\}', c_plain, c_inner);
  c_piece constant text := format('\{#(?:[^#]|#+[^#}])*#+\}|\{\{(?:%s)*\}\}', c_outer);
  c_deeper constant text := format('^\{\{(?:%s)*\{(?:%s)*\{(?:%s)*\{', c_outer, c_inner, c_plain);
  c_sound constant text := format('^(?:[^{]|\{(?![{%%#])|%s)*', c_piece);
  c_name constant text := '[A-Za-z_][A-Za-z0-9_]*';
  c_integer constant text := '0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[0-9a-fA-F])+|[0-9]+(?:_[0-9]+)*';
  c_token constant text := format(
    '%1$s|%2$s(?:\.[0-9]+(?:_[0-9]+)*)?(?:[eE][+-]?[0-9]+(?:_[0-9]+)*)?|\.[ \t-\r]*(?:%3$s|%2$s)'
    '|(?:\||is[ \t-\r]+(?:not[ \t-\r]+)?)[ \t-\r]*%3$s(?:[ \t-\r]*\.[ \t-\r]*%3$s)*|%3$s|//|\*\*|[=!<>]=|[^ \t-\r]', c_quoted, c_integer, c_name);
  c_most_tokens constant integer := 4000;
  c_most_problems constant integer := 200;
  c_filters constant text[] := flowgres.expression_filters();
  c_tests constant text[] := flowgres.expression_tests();
  c_methods constant text[] := flowgres.expression_methods();
  -- Literals are no names, and secrets are looked at elsewhere.
  c_others constant text[] := '{true,false,none,True,False,None,secrets}';
  c_space constant text := E' \t\n\x0b\f\r';
  v_given record;
  v_sound text;
  v_piece text;
  v_tokens text[];
  v_token text;
  v_next text;
  v_before text;
  v_word text;
  v_letter text;
  v_first integer;
  v_wrong text;
  v_size integer;
  v_count integer := 0;
begin
  for v_given in
    select t.position::integer as number, t.value ->> 'text' as text, array(select jsonb_array_elements_text(t.value -> 'names')) as names
    from jsonb_array_elements(p_texts) with ordinality as t (value, position)
  loop
    number := v_given.number;
    code := '';
    problems := '[]';
    v_size := 0;
    v_sound := substring(left(v_given.text, 16384) from c_sound);
    rest := nullif(substr(v_given.text, length(v_sound) + 1), '');
    -- A comment that begins at the very end is none, for the judge.
    rest := case when rest !~ '^\{#[-+]?$' then rest end;
    for v_piece in select e.found[1] from regexp_matches(v_sound, c_piece, 'g') as e (found) loop
      continue when left(v_piece, 2) = '{#';
      v_piece := substr(v_piece, 3, length(v_piece) - 4);
      -- Signs at the ends are no operators: they are about white space.
      v_piece := substr(v_piece, case when left(v_piece, 1) in ('+', '-') then 2 else 1 end);
      v_piece := case when right(v_piece, 1) = '-' then left(v_piece, -1) else v_piece end;
      v_tokens := array(select k.found[1] from regexp_matches(v_piece, c_token, 'g') as k (found));
      v_size := v_size + cardinality(v_tokens);
      exit when v_size > c_most_tokens;
      v_before := '<';
      code := code || '<';
      for i in 1 .. cardinality(v_tokens) loop
        v_token := v_tokens[i];
        v_next := v_tokens[i + 1];
        v_first := ascii(v_token);
        v_wrong := null;
        if v_first between 97 and 122 or v_first = 95 or v_first between 65 and 90 then
          if v_next = '=' then
            v_letter := 'k';
          elsif v_token = any('{and,or,not,in,if,else}') then
            v_letter := case v_token
              when 'not' then case when v_next = 'in' then 'i' else '!' end
              when 'in' then case when v_before = 'i' and v_tokens[i - 1] = 'not' then '' else 'i' end
              when 'if' then '?' when 'else' then 'e' else '&' end;
          elsif left(v_token, 2) = 'is' and ascii(substr(v_token, 3)) between 9 and 32 then
            v_letter := 't';
            v_word := translate(regexp_replace(v_token, '^is[ \t-\r]+(not[ \t-\r]+)?', ''), c_space, '');
            v_wrong := case when v_word <> all(c_tests) then 'test' end;
          else
            v_letter := 'x';
            if v_token <> all(v_given.names) and v_token <> all(c_others)
              or v_token = 'steps' and concat(v_next, v_tokens[i + 2], v_tokens[i + 3]) !~ '^(\.[ \t-\r]*[^0-9]|\[\(|\[["''].*["''\]]$|\))'
            then
              v_wrong := 'name';
              v_word := v_token;
            end if;
          end if;
        elsif v_first = 46 and length(v_token) > 1 then
          v_letter := 'a';
          v_word := ltrim(v_token, '.' || c_space);
          v_wrong := case when left(v_word, 2) = '__' then 'attribute' when v_next = '(' and v_word <> all(c_methods) then 'method' end;
        elsif v_first = 124 and length(v_token) > 1 then
          v_letter := 'f';
          v_word := translate(v_token, '|' || c_space, '');
          v_wrong := case when v_word <> all(c_filters) then 'filter' end;
        elsif v_first in (34, 39) then
          -- Texts side by side are one text.
          v_letter := case when v_before = '"' then '' else '"' end;
        elsif v_first between 48 and 57 then
          v_letter := '0';
        else
          v_letter := case
            when v_token = '(' then case when v_before ~ '[x"0aft)\]}]' then 'C' else '(' end
            when v_token = '[' then case when v_before ~ '[x"0af)\]}]' then 'I' else '[' end
            when position(v_token in ')]{},:') > 0 then v_token
            when v_token in ('*', '**') and v_before in ('C', ',') then 's'
            when v_token in ('+', '-') then '-'
            when v_token in ('*', '/', '%', '~', '//', '**') then '*'
            when v_token in ('<', '>', '==', '!=', '<=', '>=') then '='
            when v_token = '=' and v_before = 'k' then ''
            when v_first between 32 and 126 then 'b'
            else 'u'
          end;
          v_word := btrim(v_next, '"''');
          v_wrong := case
            when v_letter = 's' then 'unpacking'
            when v_letter = 'C' and v_before ~ '[x"0\]}]' then 'call'
            when v_letter = 'I' and v_tokens[i + 2] = ']' and v_next ~ '^["'']__' then 'attribute'
          end;
        end if;
        if v_wrong is not null and v_count < c_most_problems then
          v_count := v_count + 1;
          problems := problems || flowgres.refuse_word(p_what => v_wrong, p_word => v_word, p_names => v_given.names);
        end if;
        code := code || v_letter;
        v_before := case v_letter when '' then v_before else v_letter end;
      end loop;
      code := code || '>';
    end loop;
    code := case when v_size > c_most_tokens then 'l' else translate(code, '"0', 'xx') end
      || case when rest ~ c_deeper then 'u' else '' end;
    return next;
  end loop;
end;
$$;
comment on function flowgres.read_expressions(jsonb) is $$The expressions of texts, [{text, names}], as letters, and what is wrong with single words

`rest` is what follows the last expression that could be cut out: null, or a statement, or something that has no end.$$;

create or replace function flowgres.judge_expression(
  p_text text, p_code text, p_left text, p_rest text, p_problems jsonb, p_is_condition boolean
)
  returns jsonb language plpgsql immutable parallel safe
as $$
declare
  v_unsafe jsonb := jsonb_path_query_first(p_problems, '$[*] ? (@.code == "expression_unsafe")');
begin
  if length(p_text) > 16384 then
    return jsonb_build_array(flowgres.problem(
      p_path => '', p_code => 'expression_limit', p_message => 'a text with expressions has at most 16,384 characters'));
  elsif p_rest like '{\%%' then
    return jsonb_build_array(flowgres.problem(
      p_path => '', p_code => 'expression_unsafe', p_message => 'statements ({% ... %}) are not allowed, only expressions',
      p_hint => 'Write {{ ... }}.'));
  elsif position('u' in p_code) > 0 then
    return '[]';
  elsif p_code like 'l%' then
    return jsonb_build_array(flowgres.problem(
      p_path => '', p_code => 'expression_limit', p_message => 'an expression has at most 4,000 tokens'));
  elsif length(p_left) - length(translate(p_left, '([{CI', '')) > 60 then
    return jsonb_build_array(flowgres.problem(
      p_path => '', p_code => 'expression_limit', p_message => 'the expression is nested too deeply'));
  elsif p_rest is not null or p_left !~ '^x*$' then
    return jsonb_build_array(flowgres.problem(
      p_path => '', p_code => 'expression_syntax', p_message => 'this is not a valid expression',
      p_hint => case when p_rest like '{#%' then 'A comment ends with #}.'
        when p_rest is not null then 'An expression ends with }}, and the quotes and brackets in it are closed.' end));
  elsif v_unsafe is not null then
    return jsonb_build_array(v_unsafe);
  elsif p_is_condition
    -- The line end of a YAML block around it is not meant.
    and not (p_left = 'x' and btrim(p_text, E'\r\n') ~ '^\{\{.*\}\}$')
  then
    return p_problems || flowgres.problem(
      p_path => '', p_code => 'expression_not_boolean', p_message => 'this must be exactly one {{ ... }} that gives true or false',
      p_hint => 'Write {{ steps.a.output.n > 1 }}');
  end if;
  return p_problems;
end;
$$;
comment on function flowgres.judge_expression(text, text, text, text, jsonb, boolean) is $$What to say of a text that was read

The first thing that keeps it from being an expression, else every name that is not known.

p_code is the text in letters, p_left what is left of them.$$;

create or replace function flowgres.list_expressions(p_definition jsonb)
  returns table (path text, value jsonb, names text[], is_condition boolean)
  language plpgsql immutable parallel safe
as $$
begin
  return query
  with steps as (
    select
      l.place as position, l.path, l.step,
      -- What is of the wrong kind is told as that.
      case when jsonb_typeof(l.step -> 'config') = 'object' then l.step -> 'config' end as config,
      l.step -> 'type' = '"condition"' as is_condition,
      flowgres.expression_names() || case when l.section <> 'steps' then '{error}' else '{}' end::text[] as names,
      case when l.is_each then '{item,item_index}' else '{}' end::text[]
      || case when l.step ? 'repeat' then '{previous,round}' else '{}' end::text[] as own_names,
      case when l.step -> 'type' = '"http"' and l.step -> 'config' ? 'callback' then '{callback}' else '{}' end::text[] as sent_names,
      case when l.step -> 'type' = '"http"' then '{output,response}' else '{output}' end::text[] as result_names
    from flowgres.list_sections(p_definition) as l
    where jsonb_typeof(l.step) = 'object'
  )
  select p.path, p.value, p.names, p.is_condition
  from (
    select s.position, s.path || '.config', s.config, s.names || s.own_names || s.sent_names, false
    from steps as s where s.is_condition is not true
    union all
    select s.position, s.path || '.config', s.config - '{expression,true_branch,false_branch}'::text[], s.names || s.own_names, false
    from steps as s where s.is_condition
    union all
    select
      s.position, s.path || '.config.expression', s.config -> 'expression', s.names || s.own_names,
      jsonb_typeof(s.config -> 'expression') = 'string'
    from steps as s where s.is_condition
    union all
    select s.position, s.path || '.foreach.items', s.step #> '{foreach,items}', s.names, false from steps as s
    union all
    select s.position, s.path || '.when', case when jsonb_typeof(s.step -> 'when') = 'string' then s.step -> 'when' end, s.names, true
    from steps as s
    union all
    select
      s.position, s.path || '.output', s.step -> 'output',
      s.names || s.own_names || s.result_names, false
    from steps as s
    union all
    select s.position, s.path || '.on_timeout.output', s.step #> '{on_timeout,output}', s.names || s.own_names, false from steps as s
    union all
    select
      s.position, s.path || '.repeat.until',
      case when jsonb_typeof(s.step #> '{repeat,until}') = 'string' then s.step #> '{repeat,until}' end,
      s.names || s.own_names || s.result_names, true
    from steps as s
    union all
    select null, 'outputs', p_definition -> 'outputs', flowgres.expression_names(), false
  ) as p (step, path, value, names, is_condition)
  where p.value is not null
  order by p.step, p.path;
end;
$$;
comment on function flowgres.list_expressions(jsonb) is $$The values of a definition in which expressions stand, with the names that are known there

is_condition: the value is a text that must be one expression.$$;

create or replace function flowgres.check_expressions(p_definition jsonb)
  returns jsonb[] language plpgsql immutable parallel safe
as $$
declare
  -- Paths and plain comparisons, which most texts are no more than, need no closer look.
  c_simple constant text :=
    '(?:(?:input|trigger|execution|workflow|tenant|instance|steps\.[a-z][a-z0-9_]*)(?:\.[A-Za-z][A-Za-z0-9_]*)*|[1-9][0-9]*|0|true|false|none|''[^''\\{}]*'')';
  c_sound constant text := format(
    '^[^{]*(?:\{\{ *%1$s(?: (?:[-+*/<>~]|[=!<>]=|and|or|in) %1$s)* *\}\}[^{]*)+$', c_simple);
  -- Of a whole definition: the rest is left to the judge.
  c_most_characters constant integer := 65536;
  c_most_errors constant integer := 200;
  v_texts jsonb;
  v_wrong jsonb;
  v_paths text[];
begin
  select jsonb_agg(to_jsonb(f)) into v_texts
  from (
    select p.path, p.names, p.is_condition, t.text, sum(length(t.text)) over (rows unbounded preceding) as characters
    from flowgres.list_expressions(p_definition => p_definition) as p
    cross join lateral (
      select distinct q.value #>> '{}' as text
      from jsonb_path_query(p.value, 'strict $.** ? (@.type() == "string" && @ like_regex "[{][{%#]")') as q (value)
    ) as t
    where t.text !~ c_sound or length(t.text) > 16384 or p.is_condition and t.text !~ '^\{\{[^{}]*\}\}$'
  ) as f
  where f.characters <= c_most_characters;
  if v_texts is null then
    return '{}';
  end if;
  with read as materialized (
    select r.* from flowgres.read_expressions(p_texts => v_texts) as r
  ),
  reduced as (
    select l.text, l.position
    from unnest(string_to_array(
      flowgres.reduce_expressions(p_code => (select string_agg(r.code || ';', '' order by r.number) from read as r)), ';'))
      with ordinality as l (text, position)
  )
  select jsonb_agg(t.value || jsonb_build_object('problem', t.problem)) into v_wrong
  from (
    select t.value, e.problem
    from jsonb_array_elements(v_texts) with ordinality as t (value, position)
    join read as r on r.number = t.position
    join reduced as l on l.position = t.position
    cross join lateral jsonb_array_elements(flowgres.judge_expression(
      p_text => t.value ->> 'text', p_code => r.code, p_left => l.text, p_rest => r.rest, p_problems => r.problems,
      p_is_condition => (t.value -> 'is_condition')::boolean)) as e (problem)
    limit c_most_errors
  ) as t;
  if v_wrong is null then
    return '{}';
  end if;
  v_paths := array(select distinct w.value ->> 'path' from jsonb_array_elements(v_wrong) as w (value));
  return array(
    with texts as materialized (
      -- Once for each value, however much is wrong in it.
      select p.place, p.path as value_path, t.path, t.text
      from flowgres.list_expressions(p_definition => p_definition) with ordinality as p (path, value, names, is_condition, place)
      cross join lateral flowgres.list_texts(p_path => p.path, p_value => p.value) as t
      where p.path = any(v_paths)
    )
    select w.value -> 'problem' || jsonb_build_object('path', t.path)
    from texts as t
    join jsonb_array_elements(v_wrong) with ordinality as w (value, position)
      on w.value ->> 'path' = t.value_path and w.value ->> 'text' = t.text
    order by t.place, t.path, w.position
    limit c_most_errors);
end;
$$;
comment on function flowgres.check_expressions(jsonb) is $$What can be said here of the expressions of a definition: syntax, unknown names, filters, tests and methods, statements.$$;
