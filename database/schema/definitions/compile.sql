-- From a canonical definition to the rows that executions run on.

set local role flowgres_owner;

create or replace function flowgres.compile_steps(p_tenant_id uuid, p_version_id uuid, p_definition jsonb)
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  with listed as materialized (
    select
      -- Behind the author's steps the one of the outputs has its place.
      (l.place - 1 + (l.section <> 'steps' and p_definition ? 'outputs')::integer)::smallint as index, l.section, l.id, l.owner, l.is_each, l.step,
      flowgres.find_names(p_value => flowgres.step_expressions(l.step), p_root => 'steps') as names
    from flowgres.list_sections(p_definition) as l
  ),
  named as materialized (
    select l.index, l.id, l.step, l.names from listed as l where l.section = 'steps'
  ),
  edges as materialized (
    select distinct f.index as source, t.index as target
    from named as t
    cross join lateral jsonb_array_elements_text(t.step -> 'depends_on') as d (id)
    join named as f on f.id = d.id
  ),
  branches as materialized (
    select n.index as source, b.name, b.place, array(select t.index from named as t where t.id = any(b.ids) order by t.index) as targets
    from named as n
    cross join lateral flowgres.list_branches(n.step) with ordinality as b (name, path, ids, place)
  ),
  -- The workflow's own outputs are rendered by one more step, which waits for whatever ends last.
  hidden as materialized (
    select
      flowgres.find_names(p_value => p_definition -> 'outputs', p_root => 'steps') as names,
      (select count(*) from named)::smallint as index,
      array(select n.index from named as n where n.index not in (select e.source from edges as e) order by n.index) as dependencies
    where p_definition ? 'outputs'
  )
  insert into flowgres.workflow_steps (
    tenant_id, version_id, index, section, compensates, id, type, description, capability, dependencies, children, gates, branches,
    join_rule, join_count, cancel_indexes, iterates, repeats, when_expression, config, output_template, on_timeout, reference_indexes, secret_names, timeout_seconds,
    max_attempts, retry_delay_seconds, retry_factor, retry_max_delay_seconds, retry_jitter, retry_errors,
    on_error, failure_handled)
  select
    p_tenant_id, p_version_id, n.index, n.section, (select o.index from named as o where o.id = n.owner), n.id, n.step ->> 'type',
    n.step ->> 'description',
    -- Where it waits until there is room (limits/lines.sql).
    coalesce('limit:' || (n.step ->> 'limit'), flowgres.capability_of(p_type => n.step ->> 'type')),
    array(select e.source from edges as e where e.target = n.index order by e.source),
    array(select e.target from edges as e where e.source = n.index order by e.target)
    || array(select h.index from hidden as h where n.index = any(h.dependencies)),
    array(select distinct b.source from branches as b where n.index = any(b.targets) order by b.source),
    (select jsonb_object_agg(b.name, b.targets) from branches as b where b.source = n.index),
    case when n.section <> 'steps' then 'always' when jsonb_typeof(n.step -> 'join') = 'object' then 'at_least'
      else coalesce(n.step ->> 'join', 'default') end,
    (n.step #>> '{join,at_least}')::numeric::smallint,
    array(select c.index from named as c where n.step -> 'cancels' ? c.id order by c.index),
    -- What is undone is every item that was done, one by one.
    case when n.section = 'steps' then n.step -> 'foreach' when n.is_each then '{"max_parallel": 1, "tolerate": "100%"}' end,
    n.step -> 'repeat',
    n.step ->> 'when',
    n.step -> 'config',
    n.step -> 'output',
    n.step -> 'on_timeout',
    array(select r.index from listed as r where r.id = any(n.names) order by r.index),
    flowgres.find_names(p_value => n.step -> 'config', p_root => 'secrets'),
    (n.step ->> 'timeout')::double precision,
    coalesce((n.step #>> '{retry,attempts}')::numeric::smallint, 3::smallint),
    coalesce((n.step #>> '{retry,delay}')::double precision, 1),
    coalesce((n.step #>> '{retry,factor}')::double precision, 2),
    coalesce((n.step #>> '{retry,max_delay}')::double precision, 300),
    coalesce((n.step #>> '{retry,jitter}')::boolean, true),
    case when n.step #> '{retry,errors}' is null then '{timeout,connect,429,5xx}'::text[]
      else array(select jsonb_array_elements_text(n.step #> '{retry,errors}')) end,
    coalesce(n.step ->> 'on_error', 'fail'),
    exists (select from edges as e join named as c on c.index = e.target where e.source = n.index and c.step ->> 'join' = 'failed')
  from listed as n
  union all
  select
    p_tenant_id, p_version_id, h.index, 'steps', null, '$outputs', 'outputs', null, 'core', h.dependencies, '{}', '{}', null,
    'end', null, '{}', null, null, null, p_definition -> 'outputs', null, null,
    array(select r.index from named as r where r.id = any(h.names) order by r.index),
    '{}', null, 3::smallint, 1, 2, 300, true, '{timeout,connect,429,5xx}', 'fail', false
  from hidden as h;

$$;
comment on function flowgres.compile_steps(uuid, uuid, jsonb) is $$Write the steps of a version: nodes and edges by number

The definition is canonical and was checked.$$;

create or replace function flowgres.compile_cancels(p_tenant_id uuid, p_version_id uuid, p_joins smallint[])
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  -- Ancestors of a join, without those from which a way leads elsewhere.
  with recursive above as (
    select j.index as target, d.index
    from unnest(p_joins) as j (index)
    join flowgres.workflow_steps as w on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = j.index
    cross join unnest(w.dependencies) as d (index)
    union
    select a.target, d.index
    from above as a
    join flowgres.workflow_steps as w on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = a.index
    cross join unnest(w.dependencies) as d (index)
  ),
  elsewhere as (
    select a.target, a.index
    from above as a
    join flowgres.workflow_steps as w on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = a.index
    cross join unnest(w.children) as c (index)
    where c.index <> a.target and not exists (select from above as b where b.target = a.target and b.index = c.index)
    union
    select e.target, d.index
    from elsewhere as e
    join flowgres.workflow_steps as w on w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = e.index
    cross join unnest(w.dependencies) as d (index)
  )
  update flowgres.workflow_steps as s
  set rest_indexes = r.indexes
  from (
    select a.target, array_agg(a.index order by a.index) as indexes
    from above as a
    where not exists (select from elsewhere as e where e.target = a.target and e.index = a.index)
    group by a.target
  ) as r
  where s.tenant_id = p_tenant_id and s.version_id = p_version_id and s.index = r.target;
$$;
comment on function flowgres.compile_cancels(uuid, uuid, smallint[]) is $$Find out for these joins what leads only to them.$$;

create or replace function flowgres.sees_instance(p_step flowgres.workflow_steps)
  returns boolean language sql immutable parallel safe
as $$
  -- More than enough: the word anywhere, but as a key, or as what something else has. A line break is two characters in the text of JSON.
  select regexp_replace(jsonb_build_array(
    (p_step).config, (p_step).when_expression, (p_step).output_template, (p_step).iterates, (p_step).repeats, (p_step).on_timeout)::text, '\\[bfnrt]', ' ', 'g')
    ~ '(?<![\w.])instance\M(?!":)' collate "C";
$$;
comment on function flowgres.sees_instance(flowgres.workflow_steps) is $$Whether an expression of a step may name the instance whose transition started the execution.$$;

create or replace function flowgres.compile_order(p_tenant_id uuid, p_version_id uuid)
  returns void language sql set search_path to pg_catalog, pg_temp
as $$
  update flowgres.workflow_steps as s
  set is_early = true
  where s.tenant_id = p_tenant_id and s.version_id = p_version_id and (
    cardinality(s.dependencies) > 1 and (s.gates <> '{}' or s.join_rule in ('any', 'failed', 'at_least'))
    or exists (
      select from flowgres.workflow_steps as c
      where c.tenant_id = s.tenant_id and c.version_id = s.version_id and s.index = any(c.cancel_indexes || c.rest_indexes)));

  -- What leads to such a step may still run when the last steps have ended: the outputs wait for it as well.
  with late as (
    select distinct d.index
    from flowgres.workflow_steps as s
    cross join unnest(s.dependencies) as d (index)
    where s.tenant_id = p_tenant_id and s.version_id = p_version_id and s.is_early and s.type <> 'outputs'
  ),
  waited as (
    update flowgres.workflow_steps as o
    set dependencies = array(select i.index from (select unnest(o.dependencies) union select l.index from late as l) as i (index) order by i.index)
    where o.tenant_id = p_tenant_id and o.version_id = p_version_id and o.type = 'outputs'
    returning o.index
  )
  update flowgres.workflow_steps as s
  set children = s.children || o.index
  from waited as o
  where s.tenant_id = p_tenant_id and s.version_id = p_version_id and s.index in (select l.index from late as l)
    and s.index <> o.index and o.index <> all(s.children);

  -- A list that has what it needs leads on before it is counted: whatever waits for it, the outputs too, must not go by the count.
  update flowgres.workflow_steps as s
  set is_early = true
  where s.tenant_id = p_tenant_id and s.version_id = p_version_id and cardinality(s.dependencies) > 1 and exists (
    select from flowgres.workflow_steps as d
    where d.tenant_id = s.tenant_id and d.version_id = s.version_id and d.index = any(s.dependencies) and d.iterates ? 'at_least');

  update flowgres.workflow_steps as s
  set next_index = n.index
  from flowgres.workflow_steps as n
  where s.tenant_id = p_tenant_id and s.version_id = p_version_id and s.branches is null and s.children = array[n.index]
    and s.type <> 'stop' and s.cancel_indexes = '{}' and s.iterates is null and n.iterates is null
    and s.repeats is null and n.repeats is null
    and n.tenant_id = s.tenant_id and n.version_id = s.version_id and n.dependencies = array[s.index]
    and n.join_rule <> 'failed' and not n.is_early and n.capability not like 'limit:%' and flowgres.only_computes(n.type) and n.type <> 'stop' and n.secret_names = '{}'
    -- What it sees of the instance is to be as it is when its turn comes.
    and not flowgres.sees_instance(n);
$$;
comment on function flowgres.compile_order(uuid, uuid) is $$Find out which steps may be decided early, what the outputs wait for, and which may be run ahead after which.$$;

create or replace function flowgres.compile_version(
  p_tenant_id uuid,
  p_workflow_id uuid,
  p_version integer,
  p_state text,
  p_source jsonb,
  p_definition jsonb
)
  returns flowgres.workflow_versions language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_version flowgres.workflow_versions;
  v_now timestamptz := flowgres.now();
  v_id uuid := flowgres.uuid_v7(v_now);
begin
  insert into flowgres.workflow_versions (
    tenant_id, id, workflow_id, version, version_label, state, checksum, source, definition, step_count,
    hidden_step_count, root_indexes, sink_indexes, inputs, takes_additional_inputs, timeout_seconds, priority, correlation_path,
    start_rule, max_retries, concurrency, created_by, created_at)
  values (
    p_tenant_id, v_id, p_workflow_id, p_version, p_definition ->> 'version', p_state,
    flowgres.definition_checksum(p_definition), p_source, p_definition,
    coalesce(jsonb_array_length(p_definition -> 'steps'), 0), case when p_definition ? 'outputs' then 1 else 0 end, '{}', '{}',
    p_definition -> 'inputs', flowgres.takes_additional_inputs(p_definition),
    coalesce(
      (p_definition #>> '{settings,timeout}')::double precision,
      (flowgres.setting(p_tenant_id, 'execution_timeout_seconds'))::double precision),
    coalesce((p_definition #>> '{settings,priority}')::numeric::smallint, 5::smallint),
    (p_definition #>> '{settings,correlation_id}')::jsonpath,
    flowgres.read_start_rule(p_definition),
    coalesce((p_definition #>> '{settings,max_retries}')::numeric::smallint, 0::smallint),
    p_definition #> '{settings,concurrency}',
    flowgres.actor(), v_now);
  if flowgres.workflow_kind(p_definition) = 'state_machine' then
    perform flowgres.compile_machine(p_tenant_id => p_tenant_id, p_version_id => v_id, p_definition => p_definition);
    select v.* into strict v_version from flowgres.workflow_versions as v where v.tenant_id = p_tenant_id and v.id = v_id;
    return v_version;
  end if;
  perform flowgres.compile_steps(p_tenant_id => p_tenant_id, p_version_id => v_id, p_definition => p_definition);
  if p_definition @? '$.steps[*].join ? (@.rest == "cancel")' then
    perform flowgres.compile_cancels(
      p_tenant_id => p_tenant_id, p_version_id => v_id, p_joins => array(
        select (s.place - 1)::smallint from jsonb_array_elements(p_definition -> 'steps') with ordinality as s (value, place)
        where s.value #>> '{join,rest}' = 'cancel'));
  end if;
  perform flowgres.compile_order(p_tenant_id => p_tenant_id, p_version_id => v_id);
  update flowgres.workflow_versions as v
  set
    root_indexes = array(
      select s.index from flowgres.workflow_steps as s
      where s.tenant_id = p_tenant_id and s.version_id = v_id and s.section = 'steps' and s.dependencies = '{}'
      order by s.index),
    sink_indexes = array(
      select s.index from flowgres.workflow_steps as s
      where s.tenant_id = p_tenant_id and s.version_id = v_id and s.section = 'steps' and s.children = '{}'
      order by s.index)
  where v.tenant_id = p_tenant_id and v.id = v_id
  returning v.* into v_version;
  perform flowgres.compile_chains(p_tenant_id => p_tenant_id, p_version_id => v_id);
  if v_version.concurrency is not null then
    insert into flowgres.limits (tenant_id, kind, name, updated_at)
    values (p_tenant_id, 'workflow', p_workflow_id::text, v_now)
    on conflict (tenant_id, kind, name) do nothing;
  end if;
  return v_version;
end;
$$;
comment on function flowgres.compile_version(uuid, uuid, integer, text, jsonb, jsonb) is $$Store a version and its compiled steps, or states and transitions

The definition is canonical and was checked; the source is the text as it was given.$$;

create or replace function flowgres.takes_additional_inputs(p_definition jsonb)
  returns boolean language sql immutable parallel safe
as $$
  select not p_definition ? 'inputs' or coalesce(p_definition -> 'additional_inputs' = 'true', false);
$$;
comment on function flowgres.takes_additional_inputs(jsonb) is $$Whether a start may send inputs that the workflow does not declare.$$;

create or replace function flowgres.definition_checksum(p_definition jsonb)
  returns text language sql immutable parallel safe
as $$
  select encode(sha256(convert_to(p_definition::text, 'UTF8')), 'hex');
$$;
comment on function flowgres.definition_checksum(jsonb) is $$What tells whether two definitions are the same: jsonb has one order of keys, so equal content is equal text.$$;
