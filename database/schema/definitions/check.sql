-- Everything wrong with a definition, at once, with paths.

set local role flowgres_owner;

create or replace function flowgres.check_name(p_path text, p_name text, p_pattern text)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_slug text;
begin
  if p_name = any(flowgres.reserved_names()) then
    return array[flowgres.problem(
      p_path => p_path, p_code => 'reserved_name', p_message => format('"%s" is a reserved word', p_name),
      p_hint => 'Choose another name.')];
  end if;
  if p_name !~ p_pattern then
    v_slug := case when length(p_name) <= 200 and p_name ~ '[A-Za-z]' then flowgres.slugify(p_name) end;
    return array[flowgres.problem(
      p_path => p_path, p_code => 'invalid_name',
      p_message => format('"%s" is not a name', left(p_name, 60)),
      p_hint => concat_ws(' ',
        case when p_pattern like '^[A-Z%' then 'A letter' else 'A lower-case letter' end,
        case when p_pattern like '%-]%' then 'and then letters, digits, _ and -, 63 at most.'
          else 'and then letters, digits and _, 63 at most.' end,
        'For example ' || case when p_pattern like '%-]%' then v_slug else replace(v_slug, '-', '_') end || '.'))];
  end if;
  return '{}';
end;
$$;
comment on function flowgres.check_name(text, text, text) is $$Whether a name is an identifier and not a reserved word.$$;

create or replace function flowgres.check_settings(p_settings jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := flowgres.check_shape(
    p_path => 'settings', p_value => p_settings, p_shape => flowgres.definition_shape('settings'));
  v_path text := p_settings ->> 'correlation_id';
  v_key text;
begin
  foreach v_key in array array['concurrency', 'retention', 'max_retries'] loop
    if p_settings ? v_key and p_settings -> v_key not in ('null', '0') then
      v_errors := v_errors || flowgres.not_available(p_path => 'settings.' || v_key, p_what => format('the setting "%s"', v_key));
    end if;
  end loop;
  if jsonb_typeof(p_settings -> 'correlation_id') = 'string' then
    if v_path like '%{{%' then
      v_errors := v_errors || flowgres.problem(
        p_path => 'settings.correlation_id', p_code => 'expression_not_allowed',
        p_message => 'an expression is not allowed here: the database reads it at the start',
        p_hint => 'Write a jsonpath on the input, such as $.order_id.');
    elsif v_path !~ '^[ \t-\r]*((lax|strict)[ \t-\r]+)?\$' then
      v_errors := v_errors || flowgres.problem(
        p_path => 'settings.correlation_id', p_code => 'jsonpath_invalid',
        p_message => 'this is no jsonpath on the input', p_hint => 'Write a jsonpath on the input, such as $.order_id.');
    elsif v_path like '%like_regex%' or v_path like '%**%' then
      v_errors := v_errors || flowgres.problem(
        p_path => 'settings.correlation_id', p_code => 'jsonpath_invalid',
        p_message => 'like_regex and ** are not allowed here', p_hint => 'Name a member of the input, such as $.order_id.');
    else
      begin
        perform v_path::jsonpath;
      exception when others then
        v_errors := v_errors || flowgres.problem(
          p_path => 'settings.correlation_id', p_code => 'jsonpath_invalid',
          p_message => format('"%s" is not a jsonpath', left(v_path, 60)),
          p_hint => 'Write a jsonpath on the input, such as $.order_id.');
      end;
    end if;
  end if;
  return v_errors;
end;
$$;
comment on function flowgres.check_settings(jsonb) is $$Whether the settings of a workflow are sound; jsonpath is tried by parsing it.$$;

create or replace function flowgres.check_retry_errors(p_path text, p_errors jsonb, p_is_core boolean)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := '{}';
  v_error record;
begin
  if jsonb_typeof(p_errors) is distinct from 'array' then
    return v_errors;
  end if;
  for v_error in
    select e.value #>> '{}' as word, format('%s[%s]', p_path, e.position - 1) as path
    from jsonb_array_elements(p_errors) with ordinality as e (value, position)
    where jsonb_typeof(e.value) = 'string' and e.value #>> '{}' !~ '^[1-5]([0-9]{2}|xx)$'
      and e.value #>> '{}' <> all(flowgres.retry_classes())
  loop
    if v_error.word in ('definition', 'expression', 'validation') then
      v_errors := v_errors || flowgres.problem(
        p_path => v_error.path, p_code => 'retry_impossible',
        p_message => format('an error of the class "%s" is never tried again', v_error.word),
        p_hint => 'The same definition and the same data fail the same way again.');
    elsif p_is_core or v_error.word !~ '^[a-z][a-z0-9_]{0,62}$' then
      v_errors := v_errors || flowgres.problem(
        p_path => v_error.path, p_code => 'unknown_word',
        p_message => format('no error has the class "%s"', left(v_error.word, 60)),
        p_hint => 'A status such as 503, a class of them such as 5xx, or one of: '
          || array_to_string(flowgres.retry_classes(), ', ') || '.');
    end if;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_retry_errors(text, jsonb, boolean) is $$Errors that a retry policy names and nothing ever ends with: it would switch retries off without a word.$$;

create or replace function flowgres.check_triggers(p_triggers jsonb)
  returns jsonb[] language plpgsql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb[] := '{}';
  v_trigger record;
  v_type text;
begin
  for v_trigger in
    select t.value, format('triggers[%s]', t.position - 1) as path
    from jsonb_array_elements(p_triggers) with ordinality as t (value, position)
    where jsonb_typeof(t.value) = 'object'
  loop
    v_type := v_trigger.value ->> 'type';
    if v_type in ('table', 'event') then
      v_errors := v_errors || flowgres.not_available(p_path => v_trigger.path || '.type', p_what => format('the trigger "%s"', v_type));
    elsif v_type in ('webhook', 'cron') then
      v_errors := v_errors || flowgres.check_shape(
        p_path => v_trigger.path, p_value => v_trigger.value, p_shape => flowgres.definition_shape(v_type));
      if jsonb_typeof(v_trigger.value -> 'path') = 'string' then
        v_errors := v_errors || flowgres.check_name(
          p_path => v_trigger.path || '.path', p_name => v_trigger.value ->> 'path', p_pattern => '^[A-Za-z][A-Za-z0-9_-]{0,62}$');
      end if;
      if v_type = 'webhook' and v_trigger.value ->> 'secret' !~ '^[A-Za-z][A-Za-z0-9_]{0,62}$' then
        v_errors := v_errors || flowgres.inline_secret(p_path => v_trigger.path || '.secret');
      end if;
    elsif v_type is null then
      v_errors := v_errors || flowgres.problem(
        p_path => v_trigger.path || '.type', p_code => 'missing_key', p_message => '"type" is missing', p_hint => 'One of: webhook, cron.');
    elsif jsonb_typeof(v_trigger.value -> 'type') <> 'string' then
      v_errors := v_errors || flowgres.problem(
        p_path => v_trigger.path || '.type', p_code => 'wrong_kind', p_message => 'the kind of a trigger is a text',
        p_hint => 'One of: webhook, cron.');
    else
      v_errors := v_errors || flowgres.problem(
        p_path => v_trigger.path || '.type', p_code => 'unknown_word',
        p_message => format('"%s" is not a kind of trigger', left(v_type, 60)),
        p_hint => flowgres.did_you_mean(p_word => v_type, p_known => array['webhook', 'cron']));
    end if;
  end loop;
  return v_errors;
end;
$$;
comment on function flowgres.check_triggers(jsonb) is $$Whether triggers are sound in their structure; cron expressions are checked where they can be read.$$;

create or replace function flowgres.inline_secret(p_path text)
  returns jsonb language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select flowgres.problem(
    p_path => p_path, p_code => 'inline_secret', p_message => 'a secret cannot be given here in plain text',
    p_hint => 'Store it (PUT /secrets/NAME) and name it, or import through POST /workflows, which does that for you.');
$$;
comment on function flowgres.inline_secret(text) is $$The problem of a secret in plain text; it never repeats the text.$$;

create or replace function flowgres.not_available(p_path text, p_what text)
  returns jsonb language sql immutable parallel safe set search_path to pg_catalog, pg_temp
as $$
  select flowgres.problem(
    p_path => p_path, p_code => 'not_available_yet', p_message => p_what || ' is not available yet',
    p_hint => 'Remove it: it would be ignored, and that is worse than being refused.');
$$;
comment on function flowgres.not_available(text, text) is $$The problem of a documented feature that this version does not carry out.$$;
