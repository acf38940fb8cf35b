-- Moving instances: one statement for any number of them, under the locks of their rows; for one of them alone a shorter way.

set local role flowgres_owner;

-- Inlined, as find_way is: whoever moves and whoever only refuses have one rule.
create or replace function flowgres.judge_moves(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_metadata jsonb, p_context jsonb, p_actor text, p_denied jsonb, p_own jsonb[]
)
  returns table (
    place bigint, instance flowgres.instances, way flowgres.machine_transitions, is_final boolean, sla_seconds double precision,
    metadata jsonb, context jsonb, actor text, code text
  )
  language sql stable rows 1
as $$
  select
    a.place, i::flowgres.instances, l.way, g.is_final, g.sla_seconds, o.metadata, o.context, o.actor,
    case
      when i.id is null then 'instance_not_found'
      when g.name is null then 'state_unknown'
      when (l.way).id is null then 'transition_not_allowed'
      else coalesce(
        flowgres.judge_way(l.way, i, o.metadata, o.context, a.own),
        -- Whoever is opened again must not meet one that was begun since.
        case when i.completed_at is not null and not g.is_final and flowgres.find_active(i) is not null then 'instance_exists' end,
        p_denied #>> array[i.id::text, 'code'])
    end
  from unnest(p_ids, p_own) with ordinality as a (id, own, place)
  cross join lateral (
    select
      coalesce(a.own -> 'metadata', p_metadata) as metadata, coalesce(a.own -> 'context', p_context) as context,
      coalesce(a.own ->> 'actor', p_actor) as actor
  ) as o
  -- The order leaves the key alone as a way: among few rows any index that begins with the tenant looks as good, and the plan is
  -- kept when there are many.
  left join lateral (
    select x.* from flowgres.instances as x where x.tenant_id = p_tenant_id and x.id between a.id and a.id order by x.id limit 1
  ) as i on true
  left join flowgres.machine_states as g on g.tenant_id = i.tenant_id and g.version_id = i.version_id and g.name = p_to
  left join lateral (
    select w as way from flowgres.find_way(i.tenant_id, i.version_id, i.state, i.completed_at is not null, p_to) as w
  ) as l on true;
$$;
comment on function flowgres.judge_moves(uuid, uuid[], text, jsonb, jsonb, text, jsonb, jsonb[]) is $$By which way instances go to a state, or the code of the refusal

place counts from 1 in p_ids. p_denied and p_own as write_moves takes them; metadata, context and actor are those of each.$$;

create or replace function flowgres.write_moves(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_reports boolean,
  p_denied jsonb default null, p_own jsonb[] default null
)
  returns jsonb language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_actor text := flowgres.actor();
  v_refused jsonb;
begin
  with judged as materialized (
    select j.* from flowgres.judge_moves(p_tenant_id, p_ids, p_to, p_metadata, p_context, v_actor, p_denied, p_own) as j
  ),
  made as materialized (
    select
      j.instance, j.is_final, j.sla_seconds,
      row(
        p_tenant_id, (j.instance).id, (j.instance).history_count + 1, flowgres.uuid_v7(v_now), (j.instance).state, p_to,
        (j.way).id, (j.way).name, p_executed_by, j.actor, v_now, j.metadata, j.context, p_notes, '')::flowgres.instance_history as told
    from judged as j
    where j.code is null and (p_reports or not exists (select from judged as r where r.code is not null))
  ),
  chained as materialized (
    select m.is_final, m.sla_seconds, flowgres.chain_row((m.instance).history_head, m.told) as told from made as m
  ),
  moved as (
    update flowgres.instances as i
    set
      state = p_to, updated_at = v_now, completed_at = case when c.is_final then v_now end,
      history_count = (c.told).seq, history_head = (c.told).hash, due_at = v_now + make_interval(secs => c.sla_seconds)
    from chained as c
    cross join lateral (
      select x.ctid as place from flowgres.instances as x
      where x.tenant_id = p_tenant_id and x.id between (c.told).instance_id and (c.told).instance_id
      order by x.id limit 1
    ) as l
    where i.ctid = l.place
  ),
  written as (
    insert into flowgres.instance_history select (c.told).*
    from chained as c
  )
  select coalesce(jsonb_agg(flowgres.describe_refusal(
    p_code => j.code, p_instance_id => p_ids[j.place], p_instance => j.instance, p_way => j.way, p_to => p_to,
    p_metadata => j.metadata, p_context => j.context, p_denied => p_denied)
    -- Who it was is known of the engine's own alone.
    || case when p_own is not null then jsonb_build_object('actor', j.actor) else '{}' end order by j.place), '[]')
  into v_refused
  from judged as j
  where j.code is not null;
  if v_refused <> '[]' and (p_reports or flowgres.keeps_refusals()) then
    perform flowgres.note_refusals(
      p_tenant_id => p_tenant_id, p_refused => v_refused, p_to => p_to, p_executed_by => p_executed_by, p_now => v_now);
  end if;
  return v_refused;
end;
$$;
comment on function flowgres.write_moves is $$Move instances whose rows the caller has locked; returns the refusals of those that may not move (describe_refusal)

Writes instances, history and, for what is refused, the audit log. Without p_reports nothing moves when one may not. p_denied is
{instance id: refusal} of those whose start is refused. p_own, beside p_ids, is of the engine's own moves: {metadata,
context, actor, roles} of each; without roles none is asked for. Their refusals have the actor.$$;

create or replace function flowgres.move_and_start(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_reports boolean,
  p_own jsonb[] default null
)
  returns jsonb language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_plan record;
  v_refused jsonb;
begin
  v_plan := flowgres.plan_transition_starts(
    p_tenant_id => p_tenant_id, p_ids => p_ids, p_to => p_to, p_executed_by => p_executed_by, p_metadata => p_metadata,
    p_context => p_context, p_own => p_own, p_now => v_now);
  v_refused := flowgres.write_moves(
    p_tenant_id => p_tenant_id, p_ids => p_ids, p_to => p_to, p_executed_by => p_executed_by, p_metadata => p_metadata,
    p_context => p_context, p_notes => p_notes, p_reports => p_reports, p_denied => v_plan.denied, p_own => p_own);
  if p_reports or v_refused = '[]' then
    perform flowgres.start_of_transitions(
      p_tenant_id => p_tenant_id, p_versions => v_plan.versions, p_now => v_now,
      p_created_by => case when p_own is null then flowgres.actor() else 'engine' end,
      p_starts => array(
        select s from unnest(v_plan.starts) as s
        where s.instance_id not in (
          select (r.refusal ->> 'instance_id')::uuid from jsonb_array_elements(v_refused) as r (refusal))));
  end if;
  return v_refused;
end;
$$;
comment on function flowgres.move_and_start is $$Move instances whose rows the caller has locked, and start the executions of their transitions; returns the refusals

As write_moves, which is enough where no transition starts anything.$$;

-- The engine's, and not the definer's: eight tables would each ask the policies once more whose call this is, which takes longer than
-- all the rest. So every statement here names the tenant itself, and only the definer's calls, which have found it, may come in.
set local role flowgres_engine;

create or replace function flowgres.move_instances(
  p_tenant_id uuid, p_ids uuid[], p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text, p_reports boolean,
  p_own jsonb[] default null
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
  -- One plan for one instance and for ten thousand, which a session that began with few of them keeps: each by its key.
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off
  set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  c_most_tries constant integer := 3;
  v_metadata jsonb := coalesce(nullif(p_metadata, 'null'), '{}');
  v_context jsonb := coalesce(nullif(p_context, 'null'), '{}');
  v_executed_by text := coalesce(nullif(btrim(p_executed_by), ''), 'api_user');
  v_reopens boolean;
  v_starts boolean;
  v_versions uuid[];
  v_turn record;
  v_refused jsonb;
begin
  perform flowgres.check_move(
    p_tenant_id => p_tenant_id, p_to => p_to, p_executed_by => v_executed_by, p_metadata => v_metadata, p_context => v_context,
    p_notes => p_notes);
  -- Two at once: the second waits here, and is judged by the state that the first one left. Many are locked in the order of their ids.
  select coalesce(bool_or(l.completed_at is not null), false), coalesce(array_agg(distinct l.version_id), '{}') into v_reopens, v_versions
  from (select a.id from unnest(p_ids) as a (id) order by a.id) as a
  cross join lateral (
    select i.completed_at, i.version_id
    from flowgres.instances as i
    where i.tenant_id = p_tenant_id and i.id between a.id and a.id
    order by i.id limit 1
    for no key update
  ) as l;
  -- A statement of its own: whoever was waited for may have brought them to a version that did not show before.
  v_starts := exists (
    select from flowgres.machine_transitions as t
    where t.tenant_id = p_tenant_id and t.version_id = any(v_versions) and t.to_state = p_to and t.start is not null);
  if not v_reopens and not v_starts then
    return flowgres.write_moves(p_tenant_id, p_ids, p_to, v_executed_by, v_metadata, v_context, p_notes, p_reports, p_own => p_own);
  elsif not v_reopens then
    return flowgres.move_and_start(p_tenant_id, p_ids, p_to, v_executed_by, v_metadata, v_context, p_notes, p_reports, p_own);
  end if;
  if cardinality(p_ids) > 1 then
    perform flowgres.lock_openings(p_tenant_id => p_tenant_id, p_reopens => true);
  end if;
  -- Only what may meet a start pays for a subtransaction: somebody may begin the same entity at this moment.
  for i in 1 .. c_most_tries loop
    begin
      if not p_reports then
        return flowgres.move_and_start(p_tenant_id, p_ids, p_to, v_executed_by, v_metadata, v_context, p_notes, false, p_own);
      end if;
      v_refused := '[]';
      for v_turn in select * from flowgres.take_turns(p_tenant_id => p_tenant_id, p_ids => p_ids, p_own => p_own) loop
        v_refused := v_refused || flowgres.move_and_start(
          p_tenant_id, v_turn.ids, p_to, v_executed_by, v_metadata, v_context, p_notes, true, v_turn.own);
      end loop;
      return v_refused;
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

All or none, or with p_reports those that may. p_own is what write_moves takes.$$;

create or replace function flowgres.move_instance(
  p_tenant_id uuid, p_id uuid, p_to text, p_executed_by text, p_metadata jsonb, p_context jsonb, p_notes text
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
  -- As those of move_instances.
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set enable_bitmapscan to off
  set enable_sort to off
  set jit to off set plan_cache_mode to force_generic_plan
as $$
declare
  v_metadata jsonb := coalesce(nullif(p_metadata, 'null'), '{}');
  v_context jsonb := coalesce(nullif(p_context, 'null'), '{}');
  v_executed_by text := coalesce(nullif(btrim(p_executed_by), ''), 'api_user');
  v_actor text := flowgres.actor();
  v_now timestamptz;
  v_found record;
  v_way record;
  v_told flowgres.instance_history;
  v_refused jsonb;
begin
  perform flowgres.check_move(
    p_tenant_id => p_tenant_id, p_to => p_to, p_executed_by => v_executed_by, p_metadata => v_metadata, p_context => v_context,
    p_notes => p_notes);
  -- Two looks: one that joins takes longer, for each column that goes from table to table.
  select x.ctid as place, x.version_id, x.state, x.completed_at, x.history_count, x.history_head into v_found
  from flowgres.instances as x
  where x.tenant_id = p_tenant_id and x.id between p_id and p_id
  order by x.id limit 1;
  select w.id, w.name, g.is_final, g.sla_seconds, w.roles <> '{}' or w.required <> '{}' or w.guard is not null as asks into v_way
  from flowgres.find_way(p_tenant_id, v_found.version_id, v_found.state, false, p_to) as w
  join flowgres.machine_states as g on g.tenant_id = w.tenant_id and g.version_id = w.version_id and g.name = w.to_state
  where v_found.completed_at is null and w.start is null;
  if v_way.asks then
    -- Of the instance as it is now: if that is another than was read, so is its head, and nothing is written.
    select w.id, w.name, v_way.is_final, v_way.sla_seconds, true as asks into v_way
    from (
      select x as instance, x.version_id, x.state from flowgres.instances as x
      where x.tenant_id = p_tenant_id and x.id between p_id and p_id
      order by x.id limit 1
    ) as i
    cross join lateral flowgres.find_way(p_tenant_id, i.version_id, i.state, false, p_to) as w
    where w.id = v_way.id and flowgres.judge_way(w, i.instance, v_metadata, v_context, null) is null;
  end if;
  if v_way.id is not null then
    v_now := flowgres.now();
    v_told := row(
      p_tenant_id, p_id, v_found.history_count + 1, flowgres.uuid_v7(v_now), v_found.state, p_to, v_way.id, v_way.name, v_executed_by,
      v_actor, v_now, v_metadata, v_context, p_notes, '');
    v_told.hash := flowgres.history_hash(v_found.history_head, v_told);
    update flowgres.instances as i
    set
      state = p_to, updated_at = v_now, completed_at = case when v_way.is_final then v_now end, history_count = v_told.seq,
      history_head = v_told.hash, due_at = v_now + make_interval(secs => v_way.sla_seconds)
    -- Of two that come at once the second waits here, and finds another head. Where the row was may be another's by now.
    where i.ctid = v_found.place and i.tenant_id = p_tenant_id and i.id = p_id and i.history_head = v_found.history_head;
    if found then
      -- What a variable holds alone is handed over by itself; a field of a row has to be taken out.
      insert into flowgres.instance_history (
        tenant_id, instance_id, seq, id, from_state, to_state, transition_id, transition_name, executed_by, actor, executed_at,
        metadata, context, notes, hash)
      values (
        p_tenant_id, p_id, v_told.seq, v_told.id, v_found.state, p_to, v_way.id, v_way.name, v_executed_by, v_actor, v_now,
        v_metadata, v_context, p_notes, v_told.hash);
      return '[]';
    end if;
  end if;
  -- A refusal tells what was true at a moment, and needs no lock: of many who come at once, those who lose do not wait for each other.
  select coalesce(jsonb_agg(flowgres.describe_refusal(
    p_code => j.code, p_instance_id => p_id, p_instance => j.instance, p_way => j.way, p_to => p_to, p_metadata => v_metadata,
    p_context => v_context)), '[]')
  into v_refused
  from flowgres.judge_moves(p_tenant_id, array[p_id], p_to, v_metadata, v_context, v_actor, null, null) as j
  where j.code is not null;
  if v_refused <> '[]' then
    if flowgres.keeps_refusals() then
      perform flowgres.note_refusals(
        p_tenant_id => p_tenant_id, p_refused => v_refused, p_to => p_to, p_executed_by => v_executed_by, p_now => flowgres.now());
    end if;
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
