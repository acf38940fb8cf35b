-- Moving instances: one statement for any number of them, under the locks of their rows; for one of them alone a shorter way.

set local role flowgres_owner;

-- Inlined, as find_way is: whoever moves and whoever only refuses have one rule.
create or replace function flowgres.judge_moves(p_tenant_id uuid, p_ids uuid[], p_to text, p_metadata jsonb, p_context jsonb)
  returns table (
    place bigint, instance flowgres.instances, way flowgres.machine_transitions, is_final boolean, code text
  )
  language sql stable rows 1
as $$
  select
    a.place, i, l.way, g.is_final,
    case
      when i.id is null then 'instance_not_found'
      when g.name is null then 'state_unknown'
      when (l.way).id is null then 'transition_not_allowed'
      else coalesce(
        flowgres.judge_way(l.way, i, p_metadata, p_context),
        -- Whoever is opened again must not meet one that was begun since.
        case when i.completed_at is not null and not g.is_final and flowgres.find_active(i) is not null then 'instance_exists' end)
    end
  from unnest(p_ids) with ordinality as a (id, place)
  left join flowgres.instances as i on i.tenant_id = p_tenant_id and i.id = a.id
  left join flowgres.machine_states as g on g.tenant_id = i.tenant_id and g.version_id = i.version_id and g.name = p_to
  left join lateral (
    select w as way from flowgres.find_way(i.tenant_id, i.version_id, i.state, i.completed_at is not null, p_to) as w
  ) as l on true;
$$;
comment on function flowgres.judge_moves(uuid, uuid[], text, jsonb, jsonb) is $$What becomes of instances that are to be moved to a state: by which way, or the code of the refusal

place counts from 1 in p_ids.$$;

create or replace function flowgres.write_moves(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_reports boolean
)
  returns jsonb language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_actor text := flowgres.actor();
  v_refused jsonb;
begin
  with judged as materialized (
    select j.* from flowgres.judge_moves(p_tenant_id, p_ids, p_to, p_metadata, p_context) as j
  ),
  made as materialized (
    select
      j.instance, j.is_final,
      row(
        p_tenant_id, (j.instance).id, (j.instance).history_count + 1, flowgres.uuid_v7(v_now), (j.instance).state, p_to,
        (j.way).id, (j.way).name, p_executed_by, v_actor, v_now, p_metadata, p_context, p_notes, '')::flowgres.instance_history as told
    from judged as j
    where j.code is null and (p_reports or not exists (select from judged as r where r.code is not null))
  ),
  chained as materialized (
    select m.is_final, m.told, flowgres.history_hash((m.instance).history_head, m.told) as hash from made as m
  ),
  moved as (
    update flowgres.instances as i
    set
      state = p_to, updated_at = v_now, completed_at = case when c.is_final then v_now end,
      history_count = (c.told).seq, history_head = c.hash
    from chained as c
    where i.tenant_id = p_tenant_id and i.id = (c.told).instance_id
  ),
  written as (
    insert into flowgres.instance_history (
      tenant_id, instance_id, seq, id, from_state, to_state, transition_id, transition_name, executed_by, actor, executed_at,
      metadata, context, notes, hash)
    select
      p_tenant_id, (c.told).instance_id, (c.told).seq, (c.told).id, (c.told).from_state, p_to, (c.told).transition_id,
      (c.told).transition_name, p_executed_by, v_actor, v_now, p_metadata, p_context, p_notes, c.hash
    from chained as c
  )
  select coalesce(jsonb_agg(flowgres.describe_refusal(
    p_code => j.code, p_instance_id => p_ids[j.place], p_instance => j.instance, p_way => j.way, p_to => p_to,
    p_metadata => p_metadata, p_context => p_context) order by j.place), '[]')
  into v_refused
  from judged as j
  where j.code is not null;
  if v_refused <> '[]' then
    perform flowgres.note_refusals(
      p_tenant_id => p_tenant_id, p_refused => v_refused, p_to => p_to, p_executed_by => p_executed_by, p_now => v_now);
  end if;
  return v_refused;
end;
$$;
comment on function flowgres.write_moves is $$Move instances whose rows the caller has locked; returns the refusals of those that may not move (describe_refusal)

Writes instances, history and, for what is refused, the audit log. Without p_reports nothing moves when one may not.$$;

-- The engine's, and not the definer's: eight tables would each ask the policies once more whose call this is, which takes longer than
-- all the rest. So every statement here names the tenant itself, and only the definer's calls, which have found it, may come in.
set local role flowgres_engine;

create or replace function flowgres.move_instances(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_reports boolean
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp set plan_cache_mode to force_generic_plan
as $$
declare
  c_most_tries constant integer := 3;
  v_metadata jsonb := coalesce(nullif(p_metadata, 'null'), '{}');
  v_context jsonb := coalesce(nullif(p_context, 'null'), '{}');
  v_executed_by text := coalesce(nullif(btrim(p_executed_by), ''), 'api_user');
  v_reopens boolean;
begin
  perform flowgres.check_move(
    p_tenant_id => p_tenant_id, p_to => p_to, p_executed_by => v_executed_by, p_metadata => v_metadata, p_context => v_context,
    p_notes => p_notes);
  -- Two at once: the second waits here, and is judged by the state that the first one left. Many are locked in the order of their ids.
  select coalesce(bool_or(l.completed_at is not null), false) into v_reopens
  from (
    select i.completed_at
    from flowgres.instances as i
    where i.tenant_id = p_tenant_id and i.id = any(p_ids)
    order by i.id
    for no key update
  ) as l;
  if not v_reopens then
    return flowgres.write_moves(p_tenant_id, p_ids, p_to, v_executed_by, v_metadata, v_context, p_notes, p_reports);
  end if;
  -- Only what may meet a start pays for a subtransaction: somebody may begin the same entity at this moment.
  for i in 1 .. c_most_tries loop
    begin
      return flowgres.write_moves(p_tenant_id, p_ids, p_to, v_executed_by, v_metadata, v_context, p_notes, p_reports);
    exception when unique_violation then
      -- Look again: by now it can be seen.
      null;
    end;
  end loop;
  perform flowgres.fail(
    p_status => 409, p_code => 'instance_exists', p_message => 'two of these instances would be active for one entity',
    p_hint => 'An entity has one active instance of a machine: open only one of them again.');
end;
$$;
comment on function flowgres.move_instances is $$Lock instances and move them; returns the refusals (describe_refusal): none when all have moved

All or none, or with p_reports those that may.$$;

create or replace function flowgres.move_instance(
  p_tenant_id uuid, p_id uuid, p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp set plan_cache_mode to force_generic_plan
as $$
declare
  v_metadata jsonb := coalesce(nullif(p_metadata, 'null'), '{}');
  v_context jsonb := coalesce(nullif(p_context, 'null'), '{}');
  v_executed_by text := coalesce(nullif(btrim(p_executed_by), ''), 'api_user');
  v_now timestamptz;
  v_found record;
  v_told flowgres.instance_history;
  v_refused jsonb;
begin
  perform flowgres.check_move(
    p_tenant_id => p_tenant_id, p_to => p_to, p_executed_by => v_executed_by, p_metadata => v_metadata, p_context => v_context,
    p_notes => p_notes);
  select i.state, i.history_count, i.history_head, g.is_final, w.id as transition_id, w.name as transition_name into v_found
  from flowgres.instances as i
  join flowgres.machine_states as g on g.tenant_id = i.tenant_id and g.version_id = i.version_id and g.name = p_to
  cross join lateral flowgres.find_way(i.tenant_id, i.version_id, i.state, i.completed_at is not null, p_to) as w
  where i.tenant_id = p_tenant_id and i.id = p_id and i.completed_at is null and w.start is null
    and flowgres.judge_way(w, i, v_metadata, v_context) is null;
  if found then
    v_now := flowgres.now();
    v_told := row(
      p_tenant_id, p_id, v_found.history_count + 1, flowgres.uuid_v7(v_now), v_found.state, p_to, v_found.transition_id,
      v_found.transition_name, v_executed_by, flowgres.actor(), v_now, v_metadata, v_context, p_notes, '');
    v_told.hash := flowgres.history_hash(v_found.history_head, v_told);
    update flowgres.instances as i
    set
      state = p_to, updated_at = v_now, completed_at = case when v_found.is_final then v_now end, history_count = v_told.seq,
      history_head = v_told.hash
    -- Of two that come at once the second waits here, and finds another head.
    where i.tenant_id = p_tenant_id and i.id = p_id and i.history_head = v_found.history_head;
    if found then
      insert into flowgres.instance_history values (v_told.*);
      return '[]';
    end if;
  end if;
  -- A refusal tells what was true at a moment, and needs no lock: of many who come at once, those who lose do not wait for each other.
  select coalesce(jsonb_agg(flowgres.describe_refusal(
    p_code => j.code, p_instance_id => p_id, p_instance => j.instance, p_way => j.way, p_to => p_to, p_metadata => v_metadata,
    p_context => v_context)), '[]')
  into v_refused
  from flowgres.judge_moves(p_tenant_id, array[p_id], p_to, v_metadata, v_context) as j
  where j.code is not null;
  if v_refused <> '[]' then
    perform flowgres.note_refusals(
      p_tenant_id => p_tenant_id, p_refused => v_refused, p_to => p_to, p_executed_by => v_executed_by, p_now => flowgres.now());
    return v_refused;
  end if;
  return flowgres.move_instances(
    p_tenant_id => p_tenant_id, p_ids => array[p_id], p_to => p_to, p_executed_by => v_executed_by, p_metadata => v_metadata,
    p_context => v_context, p_notes => p_notes, p_reports => false);
end;
$$;
comment on function flowgres.move_instance is $$Move one instance; returns the refusals of move_instances, of which this is the short way

Mostly nothing stands in the way: then it takes three small statements, and the head of the history says whether somebody else was
quicker. All else that may move is for move_instances: what starts something, what is opened again.$$;

set local role flowgres_definer;

create or replace function flowgres.execute_transition(
  p_instance_id uuid, p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_refused jsonb := flowgres.move_instance(
    p_tenant_id => flowgres.require_tenant(), p_id => p_instance_id, p_to => p_to, p_executed_by => p_executed_by,
    p_metadata => p_metadata, p_context => p_context, p_notes => p_notes);
begin
  if v_refused = '[]' then
    return 'true';
  end if;
  return flowgres.refuse_move(v_refused -> 0);
end;
$$;
comment on function flowgres.execute_transition(uuid, text, text, jsonb, jsonb, text) is $$Move an instance to a state: true, or under PostgREST the body of the refusal.$$;

create or replace function flowgres.execute_transitions(
  p_instances uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_on_error text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_reports boolean := flowgres.reports_errors(p_on_error);
  v_most integer := (flowgres.setting(v_tenant_id, 'max_bulk_starts'))::integer;
  v_count integer := coalesce(cardinality(p_instances), 0);
  v_refused jsonb;
  v_first jsonb;
begin
  if v_count > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'too_many_instances', p_message => format('%s instances are more than the %s of one call', v_count, v_most),
      p_hint => 'Send them in several calls.');
  end if;
  if v_count > (select count(distinct i.id) from unnest(p_instances) as i (id)) then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'instances names one of them twice, or none', p_details => 'instances',
      p_hint => 'Send each id once: a second transition of it is a second call.');
  end if;
  v_refused := flowgres.move_instances(
    p_tenant_id => v_tenant_id, p_ids => coalesce(p_instances, '{}'), p_to => p_to, p_executed_by => p_executed_by,
    p_metadata => p_metadata, p_context => p_context, p_notes => p_notes, p_reports => v_reports);
  if v_refused <> '[]' and not v_reports then
    v_first := v_refused -> 0;
    return flowgres.refuse_move(case jsonb_array_length(v_refused) when 1 then v_first else v_first || jsonb_build_object(
      'message', format(
        '%s, and %s more of these %s may not move', v_first ->> 'message', jsonb_array_length(v_refused) - 1, v_count),
      'details', jsonb_path_query_array(v_refused, '$[0 to 99]')) end);
  end if;
  return jsonb_build_object(
    'moved', v_count - jsonb_array_length(v_refused), 'refused', jsonb_array_length(v_refused), 'results', (
      select coalesce(jsonb_agg(
        jsonb_build_object('instance_id', i.id) || case when r.refusal is null then '{}' else jsonb_build_object(
          'error', r.refusal - '{instance_id,transition}'::text[]) end
        order by i.place), '[]')
      from unnest(p_instances) with ordinality as i (id, place)
      left join jsonb_array_elements(v_refused) as r (refusal) on (r.refusal ->> 'instance_id')::uuid = i.id));
end;
$$;
comment on function flowgres.execute_transitions is $$Move many instances to a state: {moved, refused, results}, or when none moves the body of the first refusal.$$;
