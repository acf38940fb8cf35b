-- Failures that are alike: of one step, with one code, and a message that differs in nothing but names, numbers and ids.

set local role flowgres_owner;

create or replace function flowgres.normalise_message(p_message text)
  returns text language sql immutable parallel safe
as $$
  -- What is quoted goes first: a number within is no number of ours. Ids and numbers become the same, as some ids are all digits.
  select left(
    regexp_replace(
      regexp_replace(
        regexp_replace(left(p_message, 1000) collate "C", '"[^"]*"|''[^'']*''|`[^`]*`', '<text>', 'g'),
        '[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]+)?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?', '<time>', 'g'),
      -- Ids: in groups as a UUID, after 0x, or eight hexadecimal digits or more of which one is no letter. And numbers.
      '[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|0[xX][0-9a-fA-F]+|\m(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}\M' collate "C"
        || '|[0-9]+([.,][0-9]+)*', '<n>', 'g'),
    300) collate "default";
$$;
comment on function flowgres.normalise_message(text) is $$A message without what differs from one failure to the next

Quoted texts become <text>, times <time>, numbers and ids <n>; of the message 1,000 characters are read and 300 kept.$$;

create or replace function flowgres.error_samples(p_tenant_id uuid, p_from uuid, p_to uuid)
  returns table (
    execution_id uuid, workflow_id uuid, is_ended boolean, step text, failed_at timestamptz, error jsonb
  )
  language sql stable rows 100
as $$
  select s.execution_id, e.workflow_id, e.finished_at is not null, s.step, s.finished_at, s.error
  from flowgres.step_executions as s
  join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  where s.tenant_id = p_tenant_id and s.execution_id >= p_from and s.execution_id <= p_to
    and e.tenant_id = p_tenant_id and e.id >= p_from and e.id <= p_to
    and s.status = 'failed' and not flowgres.is_hidden(e.id)
  union all
  -- No step is to blame when the time of an execution is over. Not "=": the index on statuses has all failures of the tenant.
  select e.id, e.workflow_id, true, '', e.finished_at, e.error
  from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.id >= p_from and e.id <= p_to
    and e.status is not distinct from 'failed' and not e.error ? 'step' and not flowgres.is_hidden(e.id);
$$;
comment on function flowgres.error_samples(uuid, uuid, uuid) is $$Failures of the executions of a range of ids, both ends included

One row for each step or iteration that failed for good, and one for each execution that failed by no step.$$;

create or replace function flowgres.add_to_errors(p_tenant_ids uuid[], p_from uuid[], p_to uuid[])
  returns void language plpgsql
as $$
begin
  insert into flowgres.error_rollups as r (
    tenant_id, starts_at, workflow_id, step, code, digest, message, count, first_at, last_at, sample_execution_id)
  select
    f.tenant_id, f.starts_at, f.workflow_id, f.step, f.code, md5(f.message)::uuid, f.message, count(*), min(f.failed_at),
    max(f.failed_at), (array_agg(f.execution_id order by f.failed_at desc))[1]
  from (
    select
      t.tenant_id, to_timestamp(flowgres.id_minute(s.execution_id) / 60 * 3600) as starts_at, s.workflow_id, s.step, s.failed_at,
      s.execution_id, coalesce(left(s.error ->> 'code', 100), '') as code,
      coalesce(flowgres.normalise_message(s.error ->> 'message'), '') as message
    from unnest(p_tenant_ids, p_from, p_to) as t (tenant_id, from_id, to_id)
    cross join lateral flowgres.error_samples(p_tenant_id => t.tenant_id, p_from => t.from_id, p_to => t.to_id) as s
    where s.is_ended
  ) as f
  group by f.tenant_id, f.starts_at, f.workflow_id, f.step, f.code, f.message
  on conflict (tenant_id, starts_at, workflow_id, step, code, digest) do update
  set
    count = r.count + excluded.count, first_at = least(r.first_at, excluded.first_at),
    last_at = greatest(r.last_at, excluded.last_at),
    sample_execution_id = case when excluded.last_at >= r.last_at
      then excluded.sample_execution_id else r.sample_execution_id end;
end;
$$;
comment on function flowgres.add_to_errors(uuid[], uuid[], uuid[]) is $$Add the failures of executions that have ended, by ranges of ids, to error_rollups. The caller holds the mark.$$;

create or replace function flowgres.list_error_groups()
  returns table (
    tenant_id uuid, workflow_id uuid, step text, code text, message text, count bigint, first_at timestamptz,
    last_at timestamptz, sample_execution_id uuid
  )
  language sql stable rows 100 set search_path to pg_catalog, pg_temp
as $$
  with measured as (
    select
      r.tenant_id, r.workflow_id, r.step, r.code, r.message, r.count, r.first_at, r.last_at, r.sample_execution_id
    from flowgres.error_rollups as r
  ),
  -- What is not measured yet, read as it is: what is young, and what had not ended.
  ranges as (
    select t.tenant_id, flowgres.uuid_v7_floor(flowgres.metrics_until()) as from_id, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid as to_id
    from flowgres.tenants as t
    union all
    select o.tenant_id, o.execution_id, o.execution_id from flowgres.metric_open as o where o.counted_generation is null
  ),
  fresh as (
    select
      r.tenant_id, s.workflow_id, s.step, coalesce(left(s.error ->> 'code', 100), '') as code,
      coalesce(flowgres.normalise_message(s.error ->> 'message'), '') as message, s.failed_at, s.execution_id
    from ranges as r
    cross join lateral flowgres.error_samples(p_tenant_id => r.tenant_id, p_from => r.from_id, p_to => r.to_id) as s
  ),
  parts as (
    select m.* from measured as m
    union all
    select
      f.tenant_id, f.workflow_id, f.step, f.code, f.message, count(*), min(f.failed_at), max(f.failed_at),
      (array_agg(f.execution_id order by f.failed_at desc))[1]
    from fresh as f
    group by 1, 2, 3, 4, 5
  )
  select
    p.tenant_id, p.workflow_id, nullif(p.step, ''), nullif(p.code, ''), p.message, sum(p.count)::bigint, min(p.first_at), max(p.last_at),
    (array_agg(p.sample_execution_id order by p.last_at desc))[1]
  from parts as p
  group by p.tenant_id, p.workflow_id, p.step, p.code, p.message;
$$;
comment on function flowgres.list_error_groups() is $$Failures that are alike, of all that history is kept of, with the caller's own rights.$$;
