-- Lines of limits: where steps and executions wait that somebody has to let go.
--
-- What may not run yet stands in the queue like any other row, ready, in a line that no runner looks at: its capability is limit:<name>
-- for a step, limit:@<workflow>:<key> for the first steps of an execution. So it costs a claim nothing, is ordered by priority and age,
-- and whatever removes a row removes it from there. admit.sql gives it the capability that a runner serves.

set local role flowgres_owner;

create or replace function flowgres.execution_line(p_workflow_id uuid, p_rule jsonb, p_input jsonb)
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select format(
    'limit:@%s:%s', p_workflow_id,
    case when p_rule ? 'key' then flowgres.start_key(p_input => p_input, p_path => (p_rule ->> 'key')::jsonpath) else '' end);
$$;
comment on function flowgres.execution_line(uuid, jsonb, jsonb) is $$The line in which an execution waits whose version says how many run at once.$$;

create or replace function flowgres.describe_concurrency(p_rule jsonb)
  returns text language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select format('%s at once', p_rule ->> 'limit') || coalesce(' by ' || (p_rule ->> 'key'), '') || ', then '
    || coalesce(p_rule ->> 'when_full', 'queue');
$$;
comment on function flowgres.describe_concurrency(jsonb) is $$How many executions run at once, for people; null where any number does.$$;

create or replace function flowgres.park_starts(
  p_version flowgres.workflow_versions, p_execution_ids uuid[], p_trigger_type text
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_rule jsonb := p_version.concurrency;
  v_line text;
begin
  if v_rule ->> 'when_full' = 'reject' and p_trigger_type = 'api' and cardinality(p_execution_ids) = 1 then
    -- A look without a lock, so that most callers hear at once; what it misses is refused when its turn comes.
    select flowgres.execution_line(p_workflow_id => p_version.workflow_id, p_rule => v_rule, p_input => e.input) into v_line
    from flowgres.executions as e
    where e.tenant_id = p_version.tenant_id and e.id = p_execution_ids[1];
    if flowgres.count_held(p_tenant_id => p_version.tenant_id, p_line => v_line) + (
      select count(*) from (
        select from flowgres.work_queue as q
        where q.capability collate "C" = v_line collate "C" and q.tenant_id = p_version.tenant_id and flowgres.is_waiting(q)
        limit (v_rule ->> 'limit')::integer) as w) >= (v_rule ->> 'limit')::integer
    then
      perform flowgres.fail(
        p_status => 409, p_code => 'concurrency_rejected',
        p_message => format('%s of this workflow and key run already, and no more may', v_rule ->> 'limit'),
        p_hint => 'Start it when one of them has ended, or set settings.concurrency.when_full to queue.');
    end if;
  end if;
  update flowgres.work_queue as q
  -- Nobody has seen it elsewhere: it keeps its age.
  set capability = x.line, rank = q.rank
  from (
    select e.tenant_id, e.id, n.line, e.parent_execution_id
    from unnest(p_execution_ids) as i (id)
    cross join lateral (
      select e.tenant_id, e.id, e.input, e.parent_execution_id
      from flowgres.executions as e
      where e.tenant_id = p_version.tenant_id and e.id = i.id
      offset 0
    ) as e
    cross join lateral (
      select flowgres.execution_line(p_workflow_id => p_version.workflow_id, p_rule => v_rule, p_input => e.input) as line
    ) as n
  ) as x
  where q.tenant_id = x.tenant_id and q.execution_id = x.id and q.runner_id is null
    -- Who calls itself would wait for the place that it has: what it calls runs in that.
    and not (x.parent_execution_id is not null and flowgres.is_within(
      p_tenant_id => x.tenant_id, p_execution_id => x.parent_execution_id, p_line => x.line));
end;
$$;
comment on function flowgres.park_starts(flowgres.workflow_versions, uuid[], text) is $$Let the first steps of executions wait until somebody lets them go

Nothing is locked but what this transaction has written: a start waits for no other one.$$;

create or replace function flowgres.is_within(p_tenant_id uuid, p_execution_id uuid, p_line text)
  returns boolean language sql stable set search_path to pg_catalog, pg_temp
as $$
  with recursive above as (
    select p_execution_id as id, 1 as level
    union all
    select e.parent_execution_id, a.level + 1
    from above as a
    join flowgres.executions as e on e.tenant_id = p_tenant_id and e.id = a.id
    where e.parent_execution_id is not null and a.level < 20
  )
  select exists (
    select from above as a
    join flowgres.limit_slots as s
      on s.tenant_id = p_tenant_id and s.line = p_line and s.execution_id = a.id and s.queue_id = 0);
$$;
comment on function flowgres.is_within(uuid, uuid, text) is $$Whether an execution, or one that it was called by, has a place of a line.$$;

create or replace function flowgres.park_again(p_tenant_id uuid, p_execution_ids uuid[])
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_version flowgres.workflow_versions;
  v_ids uuid[] := '{}';
  v_group record;
begin
  for v_group in
    select e.version_id, array_agg(e.id order by e.id) as ids
    from unnest(p_execution_ids) as x (id)
    cross join lateral (
      select e.id, e.version_id from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id = x.id and e.finished_at is null
      offset 0
    ) as e
    join flowgres.workflow_versions as v on v.tenant_id = p_tenant_id and v.id = e.version_id
    where v.concurrency is not null
    group by e.version_id
  loop
    select v.* into v_version from flowgres.workflow_versions as v where v.tenant_id = p_tenant_id and v.id = v_group.version_id;
    perform flowgres.park_starts(p_version => v_version, p_execution_ids => v_group.ids, p_trigger_type => 'retry');
    v_ids := v_ids || v_group.ids;
  end loop;
  if v_ids = '{}' then
    return;
  end if;
  -- Its clock begins with its turn.
  update flowgres.executions as e
  set status = 'queued', active_since = null, deadline_at = null
  where e.tenant_id = p_tenant_id and e.id = any(v_ids) and e.status = 'running'
    and flowgres.derive_status(p_tenant_id => e.tenant_id, p_execution_id => e.id) = 'queued';
end;
$$;
comment on function flowgres.park_again(uuid, uuid[]) is $$Let executions that go on, or begin in the middle, wait in the line of their workflow and key as a start does

Nothing for those of workflows that say nothing of it. One that still has its place is let go at once, by whoever looks at the line next.
The caller holds their locks, and none of their rows is leased.$$;

create or replace function flowgres.give_places_back(p_tenant_id uuid, p_execution_ids uuid[])
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_ids uuid[];
  v_lines text[];
begin
  select array_agg(x.id), array_agg(x.line) into v_ids, v_lines
  from (
    select i.id, flowgres.execution_line(p_workflow_id => e.workflow_id, p_rule => v.concurrency, p_input => e.input) as line
    from unnest(p_execution_ids) as i (id)
    cross join lateral (
      select e.workflow_id, e.version_id, e.input from flowgres.executions as e where e.tenant_id = p_tenant_id and e.id = i.id offset 0
    ) as e
    join flowgres.workflow_versions as v on v.tenant_id = p_tenant_id and v.id = e.version_id
    where v.concurrency is not null
    union
    select q.execution_id, w.capability
    from flowgres.work_queue as q
    join flowgres.workflow_steps as w on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
    where q.tenant_id = p_tenant_id and q.execution_id = any(p_execution_ids) and w.capability like 'limit:%'
  ) as x;
  if v_ids is null then
    return;
  end if;
  -- Who lets go the rest of an execution that has its place has seen this, or does not see the place. It waits for no row of the queue.
  perform from flowgres.limits as l
  where l.tenant_id = p_tenant_id and l.kind = 'workflow' and l.name in (
    select substr(x.line, 8, 36) from unnest(v_lines) as x (line) where x.line like 'limit:@%')
  order by l.name
  for no key update;
  delete from flowgres.limit_slots as s
  using unnest(v_ids, v_lines) as x (id, line)
  where s.tenant_id = p_tenant_id and s.line = x.line and s.execution_id = x.id;
  update flowgres.work_queue as q
  set rank = flowgres.next_rank(), capability = w.capability
  from flowgres.workflow_steps as w
  where q.tenant_id = p_tenant_id and q.execution_id = any(v_ids) and q.capability not like 'refused:%'
    and w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index;
  perform flowgres.park_again(p_tenant_id => p_tenant_id, p_execution_ids => v_ids);
end;
$$;
comment on function flowgres.give_places_back(uuid, uuid[]) is $$Take the places of executions that were let go and have not begun, and let them wait in their lines again

The caller holds their locks and rows.$$;

create or replace function flowgres.is_in_place_of_caller(p_tenant_id uuid, p_execution_id uuid)
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_own record;
begin
  select e.workflow_id, e.parent_execution_id, flowgres.execution_line(
    p_workflow_id => e.workflow_id, p_rule => v.concurrency, p_input => e.input) as line
  into v_own
  from flowgres.executions as e
  join flowgres.workflow_versions as v on v.tenant_id = e.tenant_id and v.id = e.version_id
  where e.tenant_id = p_tenant_id and e.id = p_execution_id and v.concurrency is not null;
  if v_own.line is null then
    return false;
  end if;
  return exists (
    with recursive above as (
      select v_own.parent_execution_id as id, 1 as level
      union all
      select e.parent_execution_id, a.level + 1
      from above as a
      join flowgres.executions as e on e.tenant_id = p_tenant_id and e.id = a.id
      where e.parent_execution_id is not null and a.level < 20
    )
    select from above as a
    join flowgres.executions as e on e.tenant_id = p_tenant_id and e.id = a.id and e.workflow_id = v_own.workflow_id
    join flowgres.workflow_versions as v on v.tenant_id = e.tenant_id and v.id = e.version_id and v.concurrency is not null
    where flowgres.execution_line(p_workflow_id => e.workflow_id, p_rule => v.concurrency, p_input => e.input) = v_own.line);
end;
$$;
comment on function flowgres.is_in_place_of_caller(uuid, uuid) is $$Whether an execution belongs into the line of one that it was called by, and so runs in its place.$$;

create or replace function flowgres.slot_is_held(p_slot flowgres.limit_slots)
  returns boolean language plpgsql stable
as $$
begin
  if (p_slot).queue_id = 0 then
    return exists (
      select from flowgres.executions as e
      where e.tenant_id = (p_slot).tenant_id and e.id = (p_slot).execution_id and e.finished_at is null);
  end if;
  return exists (
    select from flowgres.work_queue as q
    where q.tenant_id = (p_slot).tenant_id and q.execution_id = (p_slot).execution_id and q.id = (p_slot).queue_id
      and q.step_index = (p_slot).step_index and q.iteration = (p_slot).iteration and q.capability not like 'limit:%');
end;
$$;
comment on function flowgres.slot_is_held(flowgres.limit_slots) is $$Whether who took a place still has it: the execution has not ended, or the row of the queue is still at that step

A step that is tried again is back in its line.$$;

create or replace function flowgres.count_held(p_tenant_id uuid, p_line text)
  returns integer language sql stable set search_path to pg_catalog, pg_temp
as $$
  select count(*)::integer
  from flowgres.limit_slots as s
  where s.tenant_id = p_tenant_id and s.line = p_line and flowgres.slot_is_held(s);
$$;
comment on function flowgres.count_held(uuid, text) is $$How many places of a line are taken.$$;

create or replace function flowgres.line_of_step(p_tenant_id uuid, p_version_id uuid, p_step_index smallint)
  returns text language plpgsql stable
as $$
begin
  return (
    select w.capability from flowgres.workflow_steps as w
    where w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = p_step_index and w.capability like 'limit:%');
end;
$$;
comment on function flowgres.line_of_step(uuid, uuid, smallint) is $$The line in which a step waits to be let go; null where it has no limit.$$;
