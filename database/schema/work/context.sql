-- What the expressions of a step may see, and leasing with it.

set local role flowgres_owner;

-- One expression, without a search_path and without a query: so it is inlined, and a claim of hundreds calls no function.
create or replace function flowgres.build_context(
  p_execution_id uuid, p_input jsonb, p_trigger jsonb, p_trigger_type text, p_began_at timestamptz, p_steps json, p_error jsonb
)
  returns json language sql stable
as $$
  select case when p_error is null then json_build_object(
    'input', p_input,
    'trigger', case when p_trigger is null then json_build_object('type', p_trigger_type) else p_trigger::json end,
    'execution', json_build_object('id', p_execution_id, 'started_at', p_began_at),
    'steps', p_steps)
  else json_build_object(
    'input', p_input,
    'trigger', case when p_trigger is null then json_build_object('type', p_trigger_type) else p_trigger::json end,
    'execution', json_build_object('id', p_execution_id, 'started_at', p_began_at),
    'steps', p_steps, 'error', p_error) end;
$$;
comment on function flowgres.build_context is $$What the expressions of a step may see of their execution; its error, once it has one.$$;

-- Without a look at what lies apart. Compressed, lists of objects are a seventh of their text, and one letter again and again an
-- 87th: less is not possible with what compresses by default.
create or replace function flowgres.weight_of(p_value jsonb)
  returns bigint language sql stable
as $$
  select case
    when p_value is null then 0
    when pg_column_compression(p_value) is null then pg_column_size(p_value)
    else 32 * pg_column_size(p_value)::bigint
  end;
$$;
comment on function flowgres.weight_of(jsonb) is $$About how many bytes a stored value has as text.$$;

-- What of one context a claim brings along. A claim takes hundreds of steps, and all that it brings is in memory at once.
create or replace function flowgres.light_weight()
  returns bigint language sql immutable parallel safe
as $$
  select 65536;
$$;
comment on function flowgres.light_weight() is $$Contexts of more than this are not claimed along with their steps; get_contexts has them.$$;

create or replace function flowgres.context_steps(
  p_tenant_id uuid, p_execution_id uuid, p_reference_indexes smallint[], p_most bigint default 9223372036854775807
)
  returns json language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select case when max(r.weight) > p_most then null else coalesce(
      json_object_agg(r.step, json_build_object(
        'output', r.output, 'status', r.status, 'error', r.error, 'attempts', r.attempts)) filter (where r.weight <= p_most),
      '{}') end
    from (
      select s.step, s.output, s.status, s.error, s.attempts, sum(flowgres.weight_of(s.output)) over () as weight
      from flowgres.step_executions as s
      where s.tenant_id = p_tenant_id and s.execution_id = p_execution_id and s.step_index = any(p_reference_indexes)
        and s.iteration = -1
    ) as r);
end;
$$;
comment on function flowgres.context_steps(uuid, uuid, smallint[], bigint) is $$The outputs of only those steps that a step names

Null when they weigh more than p_most together.$$;

create or replace function flowgres.lease_fan(p_runner_id uuid, p_rows tid[], p_now timestamptz)
  returns setof flowgres.claimed_step language plpgsql
as $$
begin
  -- A context once for each execution, with what all of its rows refer to: a fan-out with a large input would otherwise move it
  -- once for each of its steps.
  return query
  with leased as (
    update flowgres.work_queue as q
    set
      runner_id = p_runner_id, token = q.token + 1, claimed_at = p_now, is_new = false,
      attempt = q.attempt + (q.resume is null)::integer
    where q.ctid = any(p_rows)
    returning q.*
  ),
  ranked as materialized (
    select l.*, row_number() over (partition by l.execution_id order by l.id) as place from leased as l
  ),
  seen as materialized (
    select r.tenant_id, r.execution_id, array_agg(distinct i.index) filter (where i.index is not null) as indexes
    from ranked as r
    cross join lateral (
      select w.reference_indexes from flowgres.workflow_steps as w
      where w.tenant_id = r.tenant_id and w.version_id = r.version_id and w.index = r.step_index
      offset 0
    ) as w
    left join lateral unnest(w.reference_indexes) as i (index) on true
    group by r.tenant_id, r.execution_id
  ),
  contexts as materialized (
    select s.execution_id, c.context
    from seen as s
    cross join lateral (
      select
        case when r.steps is not null and flowgres.weight_of(e.input) + flowgres.weight_of(e.trigger) <= flowgres.light_weight() then
          flowgres.build_context(
            p_execution_id => e.id, p_input => e.input, p_trigger => e.trigger, p_trigger_type => e.trigger_type,
            p_began_at => coalesce(e.started_at, e.created_at), p_steps => r.steps, p_error => e.error)
        end as context
      from flowgres.executions as e
      cross join lateral (
        select
          case when e.started_at is null or s.indexes is null then '{}'::json else flowgres.context_steps(
            p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => s.indexes,
            p_most => flowgres.light_weight()) end as steps
        offset 0
      ) as r
      where e.tenant_id = s.tenant_id and e.id = s.execution_id
      offset 0
    ) as c
  )
  select
    r.id, r.token, r.tenant_id, r.execution_id, r.version_id, r.step_index, r.iteration, r.attempt, r.generation, false,
    case when r.place = 1 then (select c.context from contexts as c where c.execution_id = r.execution_id) end,
    case when r.resume is not null then flowgres.read_resume(
      p_tenant_id => r.tenant_id, p_resume => r.resume, p_most => flowgres.light_weight()) end, false,
    case when r.iteration >= 0 then flowgres.read_item(
      p_tenant_id => r.tenant_id, p_execution_id => r.execution_id, p_step_index => r.step_index, p_iteration => r.iteration,
      p_most => flowgres.light_weight()) end,
    r.round,
    case when r.round is not null then flowgres.read_previous(
      p_tenant_id => r.tenant_id, p_execution_id => r.execution_id, p_step_index => r.step_index, p_iteration => r.iteration,
      p_most => flowgres.light_weight()) end,
    r.overrides::json
  from ranked as r
  order by r.execution_id, r.place;
end;
$$;
comment on function flowgres.lease_fan(uuid, tid[], timestamptz) is $$Lease locked rows of which several may be of one execution

The first row of each execution carries the context for all of them, unless that is much; the others have none.$$;

set local role flowgres_engine;

create or replace function flowgres.get_contexts(p_runner_id uuid, p_rows jsonb, p_most bigint default 9223372036854775807)
  returns table (queue_id bigint, context json, resume jsonb, item json, previous json) language plpgsql stable security definer set search_path to pg_catalog, pg_temp
  set enable_hashjoin to off set enable_mergejoin to off set enable_seqscan to off set jit to off
  set plan_cache_mode to force_generic_plan
as $$
begin
  return query
  with wanted as (
    select
      r.place, l.id, l.tenant_id, l.execution_id, l.step_index, l.iteration, l.round, l.reference_indexes, l.resume,
      flowgres.weight_of(e.input) + flowgres.weight_of(e.trigger) + coalesce(o.weight, 0) + coalesce(c.weight, 0)
      + coalesce(i.weight, 0) + coalesce(p.weight, 0) + coalesce(k.weight, 0) as weight
    from jsonb_array_elements(p_rows) with ordinality as r (value, place)
    cross join lateral (
      select q.id, q.tenant_id, q.execution_id, q.step_index, q.iteration, q.round, q.resume, w.reference_indexes
      from flowgres.work_queue as q
      join flowgres.workflow_steps as w
        on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
      where q.tenant_id = (r.value ->> 0)::uuid and q.execution_id = (r.value ->> 1)::uuid and q.id = (r.value ->> 2)::bigint
        and q.runner_id is not distinct from p_runner_id
      offset 0
    ) as l
    join flowgres.executions as e on e.tenant_id = l.tenant_id and e.id = l.execution_id
    left join lateral (
      select sum(flowgres.weight_of(s.output)) as weight
      from flowgres.step_executions as s
      where s.tenant_id = l.tenant_id and s.execution_id = l.execution_id and s.step_index = any(l.reference_indexes)
        and s.iteration = -1
      having l.reference_indexes <> '{}'
    ) as o on true
    left join lateral (
      select flowgres.weight_of(d.output) as weight
      from flowgres.executions as d
      where d.tenant_id = l.tenant_id and d.id = (l.resume ->> 'execution_id')::uuid
      union all
      select flowgres.weight_of(s.payload)
      from flowgres.signals as s
      where s.tenant_id = l.tenant_id and s.id = (l.resume ->> 'signal_id')::uuid
    ) as c on l.resume ?| '{execution_id,signal_id}'::text[]
    left join lateral (
      select flowgres.weight_of(t.output) as weight
      from flowgres.tasks as t
      where t.tenant_id = l.tenant_id and t.execution_id = l.execution_id and t.id = l.resume ->> 'task_id'
    ) as k on l.resume ? 'task_id'
    left join lateral (
      select flowgres.weight_of(i.items) as weight
      from flowgres.step_items as i
      where i.tenant_id = l.tenant_id and i.execution_id = l.execution_id and i.step_index = l.step_index
        and i.first = flowgres.first_beside(l.iteration)
    ) as i on l.iteration >= 0
    left join lateral (
      select flowgres.weight_of(s.previous) as weight
      from flowgres.step_executions as s
      where s.tenant_id = l.tenant_id and s.execution_id = l.execution_id and s.step_index = l.step_index and s.iteration = l.iteration
    ) as p on l.round is not null
  ),
  -- As many as there is room for, and the first one in any case.
  taken as materialized (
    select w.*, coalesce(sum(w.weight) over (order by w.place rows between unbounded preceding and 1 preceding), 0) as before
    from wanted as w
  )
  select
    t.id, c.context,
    case when c.context is not null and t.resume is not null then
      flowgres.read_resume(p_tenant_id => t.tenant_id, p_resume => t.resume) end,
    case when c.context is not null and t.iteration >= 0 then flowgres.read_item(
      p_tenant_id => t.tenant_id, p_execution_id => t.execution_id, p_step_index => t.step_index, p_iteration => t.iteration) end,
    case when c.context is not null and t.round is not null then flowgres.read_previous(
      p_tenant_id => t.tenant_id, p_execution_id => t.execution_id, p_step_index => t.step_index, p_iteration => t.iteration) end
  from taken as t
  left join lateral (
    select flowgres.build_context(
      p_execution_id => e.id, p_input => e.input, p_trigger => e.trigger, p_trigger_type => e.trigger_type,
      p_began_at => coalesce(e.started_at, e.created_at),
      p_steps => case when t.reference_indexes = '{}' then '{}'::json else flowgres.context_steps(
        p_tenant_id => e.tenant_id, p_execution_id => e.id, p_reference_indexes => t.reference_indexes) end,
      p_error => e.error) as context
    from flowgres.executions as e
    where e.tenant_id = t.tenant_id and e.id = t.execution_id
    offset 0
  ) as c on t.before = 0 or t.before + t.weight <= p_most
  order by t.place;
end;
$$;
comment on function flowgres.get_contexts(uuid, jsonb, bigint) is $$Contexts of leased steps, given as [[tenant, execution, queue row, token], ...]

For a step whose context its claim did not bring, or what it resumes with, its item, or what its round before gave. They come in the order of their rows until they weigh
p_most together; what is left has null, and is to be asked for again.$$;
