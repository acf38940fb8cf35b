-- The words that expressions may use, and what to say of others.

set local role flowgres_owner;

create or replace function flowgres.expression_filters()
  returns text[] language sql immutable parallel safe
as $$
  select array[
    'abs', 'batch', 'capitalize', 'center', 'count', 'd', 'default', 'dictsort', 'filesizeformat', 'first', 'float', 'groupby',
    'indent', 'int', 'items', 'join', 'last', 'length', 'list', 'lower', 'map', 'max', 'min', 'reject', 'rejectattr', 'replace',
    'reverse', 'round', 'select', 'selectattr', 'slice', 'sort', 'string', 'sum', 'title', 'tojson', 'trim', 'truncate',
    'unique', 'upper', 'urlencode', 'wordcount', 'wordwrap'];
$$;
comment on function flowgres.expression_filters() is $$Filters that an expression may use.$$;

create or replace function flowgres.expression_tests()
  returns text[] language sql immutable parallel safe
as $$
  select array[
    'boolean', 'defined', 'divisibleby', 'eq', 'equalto', 'even', 'false', 'float', 'ge', 'greaterthan', 'gt', 'in', 'integer',
    'iterable', 'le', 'lessthan', 'lower', 'lt', 'mapping', 'ne', 'none', 'number', 'odd', 'sequence', 'string', 'true',
    'undefined', 'upper', '==', '!=', '<', '<=', '>', '>='];
$$;
comment on function flowgres.expression_tests() is $$Tests that an expression may use after `is`.$$;

create or replace function flowgres.expression_methods()
  returns text[] language sql immutable parallel safe
as $$
  select array[
    'capitalize', 'casefold', 'center', 'count', 'endswith', 'find', 'get', 'index', 'isalnum', 'isalpha', 'isdecimal',
    'isdigit', 'islower', 'isnumeric', 'isspace', 'istitle', 'isupper', 'items', 'join', 'keys', 'ljust', 'lower', 'lstrip',
    'partition', 'removeprefix', 'removesuffix', 'replace', 'rfind', 'rindex', 'rjust', 'rpartition', 'rsplit', 'rstrip',
    'split', 'splitlines', 'startswith', 'strip', 'swapcase', 'title', 'upper', 'values', 'zfill'];
$$;
comment on function flowgres.expression_methods() is $$Methods of texts, lists and objects that an expression may call.$$;

create or replace function flowgres.expression_names()
  returns text[] language sql immutable parallel safe
as $$
  select array['input', 'trigger', 'steps', 'execution', 'workflow', 'tenant', 'instance'];
$$;
comment on function flowgres.expression_names() is $$Names that every expression sees.$$;

create or replace function flowgres.refuse_word(p_what text, p_word text, p_names text[])
  returns jsonb language plpgsql immutable parallel safe
as $$
begin
  return case
    when p_what = 'unpacking' then flowgres.problem(
      p_path => '', p_code => 'expression_unsafe', p_message => 'arguments cannot be unpacked with * or **')
    when p_what = 'call' then flowgres.problem(
      p_path => '', p_code => 'expression_unsafe', p_message => 'only methods of values can be called, and not this',
      p_hint => 'Write value.method(...), or use a filter: value | filter.')
    when p_what <> 'name' or left(p_word, 2) = '__' or p_word = 'self' then flowgres.problem(
      p_path => '', p_code => 'expression_unsafe',
      p_message => format('the %s "%s" is not allowed in an expression', p_what, left(p_word, 60)),
      p_hint => flowgres.did_you_mean(p_word => p_word, p_known => case p_what
        when 'filter' then flowgres.expression_filters() when 'test' then flowgres.expression_tests()
        when 'method' then flowgres.expression_methods() end))
    when p_word = 'steps' then flowgres.problem(
      p_path => '', p_code => 'expression_reference', p_message => 'this names no step', p_hint => 'Write steps.ID or steps[''ID''].')
    else flowgres.problem(
      p_path => '', p_code => 'expression_name', p_message => format('the name "%s" is not known here', left(p_word, 60)),
      p_hint => flowgres.did_you_mean(p_word => p_word, p_known => p_names))
  end;
end;
$$;
comment on function flowgres.refuse_word(text, text, text[]) is $$The problem of a word that may not stand where it stands: a name, filter, test, method or attribute, or what is done with it.$$;
