-- Which executions may be retried, and which of their steps run again.

set local role flowgres_owner;

create or replace function flowgres.retry_refusals(p_tenant_id uuid, p_execution_ids uuid[])
  returns table (execution_id uuid, is_child boolean, status integer, code text, message text, hint text)
  language plpgsql stable rows 100 set search_path to pg_catalog, pg_temp
as $$
begin
  return query
  select x.id, r.code = 'execution_has_parent', r.status, r.code, r.message, r.hint
  from unnest(p_execution_ids) as x (id)
  left join lateral (
    select e.id, e.status, e.version_id, e.stop, e.finished_at, e.parent_execution_id, e.parent_queue_id, w.deleted_at
    from flowgres.executions as e
    join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where e.tenant_id = p_tenant_id and e.id = x.id and not flowgres.is_hidden(x.id)
    offset 0
  ) as e on true
  cross join lateral (
    values
    (1, e.id is null, 404, 'execution_not_found', format('execution %s does not exist', x.id), 'List /executions.'),
    (
      2, e.finished_at is null, 409, 'execution_not_ended', format('execution %s is %s', x.id, e.status),
      'Only an execution that failed or was cancelled can be retried.'),
    (
      3, e.status = 'completed', 409, 'execution_completed', format('execution %s has completed', x.id),
      'Nothing is left to retry. Replay it to run it again.'),
    (
      4, e.stop is not null, 409, 'execution_stopped', format('execution %s was ended by a stop step', x.id),
      'That step would end it again. Replay it instead.'),
    (
      5, isfinite(e.deleted_at), 409, 'workflow_deleted', format('the workflow of execution %s was deleted', x.id),
      'Its history stays, and nothing of it runs again.'),
    (
      6, exists (
        select from flowgres.step_executions as s
        join flowgres.workflow_steps as w on w.tenant_id = s.tenant_id and w.version_id = e.version_id and w.index = s.step_index
        where s.tenant_id = p_tenant_id and s.execution_id = x.id and w.section = 'compensate'),
      409, 'execution_compensated', format('execution %s has undone its steps', x.id),
      'What was compensated cannot go on. Replay it instead.'),
    -- The last one: a parent asks for its children, and does not mind.
    (
      7, e.parent_execution_id is not null and e.parent_queue_id is not null, 409, 'execution_has_parent',
      format('execution %s is a sub-workflow', x.id),
      format('It is retried with the execution whose step started it: retry %s.', e.parent_execution_id))
  ) as r (place, applies, status, code, message, hint)
  where r.applies and not exists (
    -- Of several reasons the first one.
    select where r.place > 1 and e.id is null
      or r.place > 2 and e.finished_at is null
      or r.place > 3 and e.status = 'completed'
      or r.place > 4 and e.stop is not null
      or r.place > 5 and isfinite(e.deleted_at));
end;
$$;
comment on function flowgres.retry_refusals(uuid, uuid[]) is $$Why executions of these cannot be retried, as an answer says it

is_child: it can, but only through its parent. Whoever decides by it holds their locks.$$;

create or replace function flowgres.steps_to_reset(p_tenant_id uuid, p_execution_ids uuid[])
  returns table (execution_id uuid, step_index smallint, is_list boolean)
  language sql stable rows 1000 set search_path to pg_catalog, pg_temp
as $$
  with recursive chosen as materialized (
    select
      s.execution_id, s.step_index, s.status, s.edge, s.ready_at, s.item_count is not null and w.section = 'steps' as is_list,
      w.children, w.join_rule, w.cancel_indexes, w.rest_indexes, w.section
    from unnest(p_execution_ids) as x (id)
    cross join lateral (
      select e.version_id from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = x.id offset 0
    ) as e
    cross join lateral (
      select s.execution_id, s.step_index, s.status, s.edge, s.ready_at, s.item_count
      from flowgres.step_executions as s
      where s.tenant_id = p_tenant_id and s.execution_id = x.id and s.iteration = -1
      offset 0
    ) as s
    join flowgres.workflow_steps as w
      on w.tenant_id = p_tenant_id and w.version_id = e.version_id and w.index = s.step_index
  ),
  -- What somebody's cancels took away, or a join that had enough, stays cancelled: they have ended as they did.
  cancelled as materialized (
    select c.*
    from chosen as c
    where c.status = 'cancelled' and not exists (
      select from chosen as o
      where o.execution_id = c.execution_id and (
        o.status = 'completed' and c.step_index = any(o.cancel_indexes)
        or o.status <> 'skipped' and o.ready_at is not null and c.step_index = any(o.rest_indexes)))
  ),
  reset as (
    select c.execution_id, c.step_index, c.children, c.is_list from cancelled as c
    union
    -- Failures that nothing handled, or was about to handle, and what ran because of them.
    select c.execution_id, c.step_index, c.children, c.is_list
    from chosen as c
    where c.section <> 'steps' or c.status = 'failed' and c.edge = 'failed' and not exists (
      select from chosen as h
      where h.execution_id = c.execution_id and h.step_index = any(c.children) and h.join_rule = 'failed' and (
        h.status in ('completed', 'failed') or exists (
          select from cancelled as r where r.execution_id = h.execution_id and r.step_index = h.step_index)))
    union
    -- What was decided by how these ended: steps that were skipped, and those that waited for any end.
    select c.execution_id, c.step_index, c.children, c.is_list
    from reset as r
    join chosen as c on c.execution_id = r.execution_id and c.step_index = any(r.children)
    where c.status = 'skipped' or c.join_rule in ('always', 'end')
  )
  select r.execution_id, r.step_index, r.is_list from reset as r;
$$;
comment on function flowgres.steps_to_reset(uuid, uuid[]) is $$Which steps of executions that have ended run again when these are retried

is_list: a foreach whose list was written; of it only the iterations that did not complete run again.$$;
