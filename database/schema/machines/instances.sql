-- Starting instances: one statement for any number of them.

set local role flowgres_owner;

create or replace function flowgres.find_machine(p_tenant_id uuid, p_workflow text)
  returns flowgres.workflow_versions language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.check_tenant_may_start(p_tenant_id);
  return flowgres.find_version(
    p_workflow => flowgres.find_workflow(p_tenant_id => p_tenant_id, p_workflow => p_workflow), p_version => null,
    p_kind => 'state_machine');
end;
$$;
comment on function flowgres.find_machine(uuid, text) is $$The active version of the state machine with this name or id; refuses when there is none.$$;

create or replace function flowgres.reports_errors(p_on_error text)
  returns boolean language plpgsql immutable set search_path to pg_catalog, pg_temp
as $$
begin
  if p_on_error is null or p_on_error not in ('fail', 'report') then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'on_error must be fail or report', p_details => 'on_error',
      p_hint => 'fail: all or none; report: what can be done is done, and the answer says what was not.');
  end if;
  return p_on_error = 'report';
end;
$$;
comment on function flowgres.reports_errors(text) is $$Whether a call for many does what it can (report), and not all or none (fail).$$;

create or replace function flowgres.check_entities(p_tenant_id uuid, p_entities jsonb)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_most integer := (flowgres.setting(p_tenant_id, 'max_bulk_starts'))::integer;
  v_wrong record;
begin
  if jsonb_typeof(p_entities) is distinct from 'array' then
    perform flowgres.fail(
      p_status => 400, p_code => 'entities_invalid', p_message => 'entities is not an array of objects',
      p_hint => 'Send {"workflow": "...", "entities": [{"entity_table": "...", "entity_id": "...", "metadata": {}}]}.');
  end if;
  if jsonb_array_length(p_entities) > v_most then
    perform flowgres.fail(
      p_status => 413, p_code => 'too_many_entities',
      p_message => format('%s entities are more than the %s of one call', jsonb_array_length(p_entities), v_most),
      p_hint => 'Send them in several calls.');
  end if;
  select e.place - 1 as place, f.name into v_wrong
  from jsonb_array_elements(p_entities) with ordinality as e (value, place)
  cross join (values ('entity_table'), ('entity_id')) as f (name)
  where jsonb_typeof(e.value) <> 'object' or jsonb_typeof(e.value -> f.name) not in ('string', 'number') or not e.value ? f.name
    or length(e.value ->> f.name) not between 1 and 255 or btrim(e.value ->> f.name) = ''
    or e.value ->> f.name ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]'
  order by e.place
  limit 1;
  if v_wrong.place is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'entity_invalid',
      p_message => format('%s of an entity must be a text of 1 to 255 printable characters', v_wrong.name),
      p_details => format('entities[%s].%s', v_wrong.place, v_wrong.name),
      p_hint => 'An entity is named by entity_table and entity_id.');
  end if;
  select e.place - 1 as place, k.key as name into v_wrong
  from jsonb_array_elements(p_entities) with ordinality as e (value, place)
  cross join lateral jsonb_object_keys(e.value) as k (key)
  where k.key not in ('entity_table', 'entity_id', 'metadata')
  order by e.place, k.key
  limit 1;
  if v_wrong.place is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'entity_invalid',
      p_message => format('"%s" is nothing that an entity has', left(v_wrong.name, 60)),
      p_details => format('entities[%s]', v_wrong.place),
      p_hint => 'An entity has entity_table, entity_id and metadata: put what else belongs to it into metadata.');
  end if;
  perform flowgres.check_metadata(p_metadata => e.value -> 'metadata')
  from jsonb_array_elements(p_entities) as e (value)
  where coalesce(e.value -> 'metadata', 'null') <> 'null';
end;
$$;
comment on function flowgres.check_entities(uuid, jsonb) is $$Refuse what is no list of entities: [{entity_table, entity_id, metadata}].$$;

create or replace function flowgres.lock_openings(p_tenant_id uuid, p_reopens boolean)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_key bigint := hashtextextended('flowgres.instances ' || p_tenant_id, 0);
begin
  -- Starts meet others in the order of their entities, and a statement that reopens has no order: so it goes alone.
  if p_reopens then
    perform pg_advisory_xact_lock(v_key);
  else
    perform pg_advisory_xact_lock_shared(v_key);
  end if;
end;
$$;
comment on function flowgres.lock_openings(uuid, boolean) is $$Keep a call that reopens many instances apart from those that start or reopen many, which would wait for each other in a circle

For those that make more than one active. Starts go together. Nobody who waits here holds what the others wait for.$$;

create or replace function flowgres.take_turns(p_tenant_id uuid, p_ids uuid[], p_own jsonb[])
  returns table (ids uuid[], own jsonb[]) language sql stable rows 1 set search_path to pg_catalog, pg_temp
as $$
  select array_agg(t.id order by t.place), case when p_own is not null then array_agg(t.own order by t.place) end
  from (
    select
      a.id, a.own, a.place,
      row_number() over (
        partition by i.entity_table, i.entity_id, i.workflow_id, case when i.completed_at is null then a.place end order by a.place) as turn
    from unnest(p_ids, p_own) with ordinality as a (id, own, place)
    left join flowgres.instances as i on i.tenant_id = p_tenant_id and i.id = a.id
  ) as t
  group by t.turn
  order by t.turn;
$$;
comment on function flowgres.take_turns(uuid, uuid[], jsonb[]) is $$Instances that may be moved by one statement, though some would be opened again: of an entity one after the other

p_own is beside p_ids. What the first one of an entity comes to decides about the next.$$;

create or replace function flowgres.insert_instances(p_version flowgres.workflow_versions, p_entities jsonb, p_ids uuid[], p_now timestamptz)
  returns uuid[] language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_actor text := flowgres.actor();
  v_started uuid[];
begin
  with fresh as materialized (
    select
      row(
        (p_version).tenant_id, p_ids[e.place], (p_version).workflow_id, w.name, (p_version).id, e.value ->> 'entity_table',
        e.value ->> 'entity_id', s.name, coalesce(nullif(e.value -> 'metadata', 'null'), '{}'), v_actor, p_now, p_now,
        case when s.is_final then p_now end, 1, '', p_now + make_interval(secs => s.sla_seconds))::flowgres.instances as instance,
      row(
        (p_version).tenant_id, p_ids[e.place], 1, flowgres.uuid_v7(p_now), null, s.name, null, null, 'system', v_actor, p_now,
        '{"action": "workflow_started"}', '{}', 'Workflow started', '')::flowgres.instance_history as beginning
    from jsonb_array_elements(p_entities) with ordinality as e (value, place)
    join flowgres.workflows as w on w.tenant_id = (p_version).tenant_id and w.id = (p_version).workflow_id
    join flowgres.machine_states as s on s.tenant_id = (p_version).tenant_id and s.version_id = (p_version).id and s.is_initial
  ),
  chained as materialized (
    select f.instance, flowgres.chain_row(flowgres.instance_seed(f.instance), f.beginning) as beginning from fresh as f
  ),
  inserted as (
    insert into flowgres.instances as i (
      tenant_id, id, workflow_id, workflow_name, version_id, entity_table, entity_id, state, metadata, started_by, started_at,
      updated_at, completed_at, history_count, history_head, due_at)
    select
      (c.instance).tenant_id, (c.instance).id, (c.instance).workflow_id, (c.instance).workflow_name, (c.instance).version_id,
      (c.instance).entity_table, (c.instance).entity_id, (c.instance).state, (c.instance).metadata, (c.instance).started_by,
      (c.instance).started_at, (c.instance).updated_at, (c.instance).completed_at, 1, (c.beginning).hash,
      (c.instance).due_at
    from chained as c
    -- In one order, so that two calls which start the same entities wait for each other and never in a circle.
    order by (c.instance).entity_table collate "C", (c.instance).entity_id collate "C", (c.instance).id
    on conflict (tenant_id, entity_table, entity_id, workflow_id) where completed_at is null do nothing
    returning i.id
  ),
  written as (
    insert into flowgres.instance_history select (c.beginning).*
    from inserted as i
    join chained as c on (c.instance).id = i.id
  )
  select coalesce(array_agg(i.id), '{}') into v_started from inserted as i;
  return v_started;
end;
$$;
comment on function flowgres.insert_instances(flowgres.workflow_versions, jsonb, uuid[], timestamptz) is $$Start instances under these ids; returns those that began

An entity that has an active one, or comes twice, is passed by: its id is not among them. Waits for others who start the same.$$;

create or replace function flowgres.start_instances(p_tenant_id uuid, p_workflow text, p_entities jsonb, p_reports boolean)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_version flowgres.workflow_versions := flowgres.find_machine(p_tenant_id => p_tenant_id, p_workflow => p_workflow);
  v_ids uuid[];
  v_started uuid[];
  v_results jsonb;
  v_refused jsonb;
begin
  perform flowgres.check_entities(p_tenant_id => p_tenant_id, p_entities => p_entities);
  if jsonb_array_length(p_entities) > 1 then
    perform flowgres.lock_openings(p_tenant_id => p_tenant_id, p_reopens => false);
  end if;
  v_ids := flowgres.uuids_v7(p_at => v_now, p_count => jsonb_array_length(p_entities));
  v_started := flowgres.insert_instances(p_version => v_version, p_entities => p_entities, p_ids => v_ids, p_now => v_now);
  -- A statement of its own: whoever was waited for shows only now.
  select
    coalesce(jsonb_agg(jsonb_build_object(
      'entity_table', e.value ->> 'entity_table', 'entity_id', e.value ->> 'entity_id', 'instance_id', coalesce(s.id, i.id))
      || case when s.id is null then '{"error": {"code": "instance_exists", "message": "the entity has an active instance already"}}'
        else '{}' end::jsonb order by e.place), '[]')
  into v_results
  from jsonb_array_elements(p_entities) with ordinality as e (value, place)
  left join unnest(v_started) as s (id) on s.id = v_ids[e.place]
  left join flowgres.instances as i
    on s.id is null and i.tenant_id = p_tenant_id and i.entity_table = e.value ->> 'entity_table'
    and i.entity_id = e.value ->> 'entity_id' and i.workflow_id = v_version.workflow_id and i.completed_at is null;
  if cardinality(v_started) < cardinality(v_ids) and not p_reports then
    v_refused := jsonb_path_query_array(v_results, '$[*] ? (exists (@.error))');
    perform flowgres.fail(
      p_status => 409, p_code => 'instance_exists',
      p_message => format(
        'the entity "%s" of "%s" has an active instance already', v_refused #>> '{0,entity_id}', v_refused #>> '{0,entity_table}')
        || case jsonb_array_length(v_refused) when 1 then '' else format(', and %s more', jsonb_array_length(v_refused) - 1) end,
      p_details => case jsonb_array_length(p_entities) when 1 then jsonb_build_object('instance_id', v_refused #> '{0,instance_id}')
        else jsonb_path_query_array(v_refused, '$[0 to 99]') end::text,
      p_hint => 'An entity has one active instance of a machine: move that one, or wait until it is completed.');
  end if;
  return v_results;
end;
$$;
comment on function flowgres.start_instances(uuid, text, jsonb, boolean) is $$Start an instance of a machine for each entity: [{entity_table, entity_id, instance_id, error}], in their order

All or none, or with p_reports those that can be: an error says that instance_id is the one that was there.$$;

set local role flowgres_definer;

create or replace function flowgres.start_workflow(p_workflow text, p_entity_table text, p_entity_id text, p_metadata jsonb)
  returns uuid language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_results jsonb := flowgres.start_instances(
    p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow, p_entities => jsonb_build_array(jsonb_build_object(
      'entity_table', p_entity_table, 'entity_id', p_entity_id, 'metadata', p_metadata)), p_reports => false);
begin
  return (v_results #>> '{0,instance_id}')::uuid;
end;
$$;
comment on function flowgres.start_workflow(text, text, text, jsonb) is $$Start an instance of a machine, by its name or id, for one entity; returns its id.$$;

create or replace function flowgres.start_workflows(p_workflow text, p_entities jsonb, p_on_error text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_results jsonb := flowgres.start_instances(
    p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow, p_entities => p_entities,
    p_reports => flowgres.reports_errors(p_on_error));
  v_refused integer := jsonb_array_length(jsonb_path_query_array(v_results, '$[*] ? (exists (@.error))'));
begin
  return jsonb_build_object(
    'started', jsonb_array_length(v_results) - v_refused, 'refused', v_refused, 'results', v_results);
end;
$$;
comment on function flowgres.start_workflows(text, jsonb, text) is $$Start instances of a machine for many entities: {started, refused, results}.$$;
