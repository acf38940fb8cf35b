-- What must always hold, as one query. Tests run it after every fault; operators may at any time.

set local role flowgres_engine;

create or replace function flowgres.check_invariants(p_is_drained boolean default false)
  returns table (rule text, tenant_id uuid, execution_id uuid, detail text)
  language sql stable security definer set search_path to pg_catalog, pg_temp
as $$
  -- Nothing is lost: what has not ended has work in the queue, and after a drain nothing is left at all.
  select 'unfinished_execution_has_work', e.tenant_id, e.id, e.status
  from flowgres.executions as e
  where e.finished_at is null and (p_is_drained or not exists (
    select from flowgres.work_queue as q where q.tenant_id = e.tenant_id and q.execution_id = e.id))
  union all
  select 'finished_execution_has_no_work', q.tenant_id, q.execution_id, q.id::text
  from flowgres.work_queue as q
  left join flowgres.executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
  where e.id is null or e.finished_at is not null
  union all
  -- Instances learn how what they have started ends, and are moved on.
  select 'instance_knows_the_end', x.tenant_id, x.execution_id, x.instance_id::text
  from flowgres.instance_executions as x
  left join flowgres.executions as e on e.tenant_id = x.tenant_id and e.id = x.execution_id
  where x.status is distinct from e.status and e.finished_at is not null or p_is_drained and x.due_at is not null
  union all
  -- Nothing happens twice.
  select 'step_ends_once', v.tenant_id, v.execution_id, v.step || ': ' || count(*)
  from flowgres.all_events as v
  where v.type in ('step_completed', 'step_failed', 'step_skipped', 'step_cancelled')
  group by v.tenant_id, v.execution_id, v.step
  having count(*) > (
    select e.generation from flowgres.executions as e where e.tenant_id = v.tenant_id and e.id = v.execution_id)
  union all
  select 'execution_ends_once', v.tenant_id, v.execution_id, count(*)::text
  from flowgres.all_events as v
  where v.type in ('execution_completed', 'execution_failed', 'execution_cancelled')
  group by v.tenant_id, v.execution_id
  having count(*) > (
    select e.generation from flowgres.executions as e where e.tenant_id = v.tenant_id and e.id = v.execution_id)
  union all
  select 'step_is_queued_once', q.tenant_id, q.execution_id, q.step_index::text
  from flowgres.work_queue as q
  group by q.tenant_id, q.execution_id, q.step_index, q.iteration
  having count(*) > 1
  union all
  select 'queued_step_has_not_ended', q.tenant_id, q.execution_id, s.step
  from flowgres.work_queue as q
  join flowgres.step_executions as s
    on s.tenant_id = q.tenant_id and s.execution_id = q.execution_id and s.step_index = q.step_index and s.iteration = q.iteration
  where s.finished_at is not null
  union all
  -- Times follow the numbers.
  select 'events_follow_time', v.tenant_id, v.execution_id, v.seq::text
  from (
    select
      v.tenant_id, v.execution_id, v.seq, v.at,
      max(v.at) over (partition by v.tenant_id, v.execution_id order by v.seq rows between unbounded preceding and 1 preceding) as before
    from flowgres.all_events as v
    where v.type not in ('step_started', 'execution_started')
  ) as v
  where v.at < v.before
  union all
  -- Events have no gaps, and no number twice: as many as the last number says, counting those that other rows tell.
  select 'events_have_no_gaps', e.tenant_id, e.id, format('%s of %s', coalesce(v.told, 0), e.event_seq)
  from flowgres.executions as e
  left join (
    select
      v.tenant_id, v.execution_id, case when count(*) = count(distinct v.seq) then count(*) else -1 end as told,
      max(v.seq) as last_seq
    from flowgres.all_events as v group by v.tenant_id, v.execution_id
  ) as v on v.tenant_id = e.tenant_id and v.execution_id = e.id
  where coalesce(v.told, 0) <> e.event_seq or coalesce(v.last_seq, 0) <> e.event_seq
  union all
  -- Every step of an ended execution has ended.
  select 'ended_execution_resolved_every_step', e.tenant_id, e.id, format('%s of %s', count(s.step_index), e.step_count)
  from flowgres.executions as e
  left join flowgres.step_executions as s
    on s.tenant_id = e.tenant_id and s.execution_id = e.id and s.iteration = -1 and s.finished_at is not null
  where e.finished_at is not null
  group by e.tenant_id, e.id, e.step_count, e.hidden_step_count
  having count(s.step_index) <> e.step_count + e.hidden_step_count
  union all
  select 'ended_execution_counted_every_step', e.tenant_id, e.id, e.resolved_count::text
  from flowgres.executions as e
  where e.finished_at is not null and e.resolved_count <> e.step_count + e.hidden_step_count
  union all
  -- Order: a step that waits for all its parents ends after them; it does not run again where they do after a retry.
  select 'successor_ends_after_predecessors', s.tenant_id, s.execution_id, s.step
  from flowgres.step_executions as s
  join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  join flowgres.workflow_steps as w
    on w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.index = s.step_index
  join flowgres.step_executions as p
    on p.tenant_id = s.tenant_id and p.execution_id = s.execution_id and p.step_index = any(w.dependencies) and p.iteration = -1
  where s.status in ('completed', 'failed') and w.join_rule not in ('any', 'failed', 'at_least') and s.finished_at < p.finished_at
    and coalesce(p.generation, 1) <= coalesce(s.generation, 1)
  union all
  -- What is for failures runs after one, compensations from the last step that completed to the first.
  select 'compensation_follows_a_failure', s.tenant_id, s.execution_id, s.step
  from flowgres.executions as e
  join flowgres.workflow_steps as w on w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.section <> 'steps'
  join flowgres.step_executions as s on s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = w.index
  where e.phase in ('run', 'always')
  union all
  select 'compensations_run_backwards', c.tenant_id, c.execution_id, c.step
  from (
    select
      s.tenant_id, s.execution_id, s.step, o.seq, o.status,
      lag(o.seq) over (partition by s.tenant_id, s.execution_id order by s.seq) as before
    from flowgres.executions as e
    join flowgres.workflow_steps as w on w.tenant_id = e.tenant_id and w.version_id = e.version_id and w.section = 'compensate'
    join flowgres.step_executions as s
      on s.tenant_id = e.tenant_id and s.execution_id = e.id and s.step_index = w.index and s.iteration = -1
    join flowgres.step_executions as o
      on o.tenant_id = e.tenant_id and o.execution_id = e.id and o.step_index = w.compensates and o.iteration = -1
    where e.phase in ('compensate', 'on_failure')
  ) as c
  where c.seq > c.before or c.status <> 'completed'
  union all
  -- Generations: what is queued belongs to the one that its execution is in, and no step to one that is yet to come.
  select 'queue_is_of_this_generation', q.tenant_id, q.execution_id, format('%s of %s', q.generation, e.generation)
  from flowgres.work_queue as q
  join flowgres.executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
  where q.generation <> e.generation
  union all
  select 'step_is_of_a_generation', s.tenant_id, s.execution_id, format('%s: %s of %s', s.step, s.generation, e.generation)
  from flowgres.step_executions as s
  join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  where s.generation not between 2 and e.generation
  union all
  select 'retries_are_counted', e.tenant_id, e.id, format('%s of %s', e.retry_count, e.max_retries)
  from flowgres.executions as e
  where e.retry_count > e.max_retries or e.retry_count >= e.generation or e.retry_count > 0 and e.retry_at is null
  union all
  -- A foreach that has not ended counts what has, and one that goes on beyond its end has work.
  select 'iterations_are_counted', s.tenant_id, s.execution_id, format('%s: %s of %s', s.step, i.done, s.done_count)
  from flowgres.step_executions as s
  cross join lateral (
    select count(*) as done from flowgres.step_executions as r
    where r.tenant_id = s.tenant_id and r.execution_id = s.execution_id and r.step_index = s.step_index and r.iteration >= 0
      and r.finished_at is not null
  ) as i
  where s.item_count is not null and s.iteration = -1 and (s.finished_at is null or s.done_count < s.item_count) and (
    i.done <> s.done_count or not exists (
      select from flowgres.work_queue as q
      where q.tenant_id = s.tenant_id and q.execution_id = s.execution_id and q.step_index = s.step_index and q.iteration >= 0))
  union all
  -- What a replay took over has ended in the original, and not here.
  select 'reused_step_ended_elsewhere', s.tenant_id, s.execution_id, s.step
  from flowgres.step_executions as s
  join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  where s.reused_from is not null and (
    s.finished_at is null or s.attempts <> 0 or s.iteration <> -1 or s.is_logged is not true or e.replayed_from is null)
  union all
  -- Nothing is held by a runner that does not exist.
  select 'lease_has_a_runner', q.tenant_id, q.execution_id, q.runner_id::text
  from flowgres.work_queue as q
  where q.runner_id is not null and not exists (select from flowgres.runners as r where r.id = q.runner_id)
  union all
  -- A tenant that is deleted is suspended, and only such a one is being purged.
  select 'deleted_tenant_is_suspended', t.tenant_id, null, t.status
  from flowgres.tenants as t
  where t.deleted_at is not null and t.status <> 'suspended'
  union all
  select 'purge_is_of_a_deleted_tenant', p.tenant_id, null, p.step
  from flowgres.tenant_purges as p
  where not exists (select from flowgres.tenants as t where t.tenant_id = p.tenant_id and t.deleted_at is not null)
  union all
  select 'retention_has_a_workflow', r.tenant_id, r.workflow_id, r.keep_seconds::text
  from flowgres.retentions as r
  where r.workflow_id <> flowgres.system_tenant_id() and not exists (
      select from flowgres.workflows as w where w.tenant_id = r.tenant_id and w.id = r.workflow_id)
    -- A purge goes table by table.
    and not exists (select from flowgres.tenant_purges as p where p.tenant_id = r.tenant_id)
  union all
  -- No row mixes tenants, and none stands alone: there are no foreign keys that would say so.
  select 'step_belongs_to_an_execution', s.tenant_id, s.execution_id, s.step
  from flowgres.step_executions as s
  where not exists (select from flowgres.executions as e where e.tenant_id = s.tenant_id and e.id = s.execution_id)
  union all
  select 'event_belongs_to_an_execution', v.tenant_id, v.execution_id, v.seq::text
  from flowgres.events as v
  where not exists (select from flowgres.executions as e where e.tenant_id = v.tenant_id and e.id = v.execution_id)
  union all
  select 'execution_belongs_to_a_version', e.tenant_id, e.id, e.version_id::text
  from flowgres.executions as e
  where not exists (
    select from flowgres.workflow_versions as v
    where v.tenant_id = e.tenant_id and v.id = e.version_id and v.workflow_id = e.workflow_id)
  union all
  -- What waits for a child waits for one that is there and has not ended, or whose end is about to be told.
  select 'parent_is_woken_by_its_child', q.tenant_id, q.execution_id, q.waits_for
  from flowgres.work_queue as q
  left join flowgres.executions as e on e.tenant_id = q.tenant_id and 'child:' || e.id = q.waits_for
  where q.waits_for like 'child:%' and (e.id is null or e.finished_at is not null)
    and not exists (
      select from flowgres.pending_wakes as w where w.tenant_id = q.tenant_id and w.execution_id = e.id)
  union all
  -- What somebody waits for belongs to a step that is parked; a signal that lies where a step waits for it is about to be found.
  select 'wait_belongs_to_a_parked_step', w.tenant_id, w.execution_id, w.name
  from flowgres.waits as w
  where not exists (
    select from flowgres.work_queue as q
    where q.tenant_id = w.tenant_id and q.execution_id = w.execution_id and q.id = w.queue_id and q.token = w.token
      and q.waits_for is not null)
  union all
  select 'signal_finds_who_waits_for_it', s.tenant_id, s.execution_id, s.name
  from flowgres.signals as s
  where s.kind = 'signal' and s.consumed_at is null and s.expires_at > flowgres.now()
    and flowgres.has_match(p_tenant_id => s.tenant_id, p_name => s.name, p_address => s.address)
    and not exists (
      select from flowgres.pending_wakes as p
      where p.tenant_id = s.tenant_id and (p.name = s.name or p.queue_id is not null))
  union all
  -- What is left of an event has it to tell of.
  select 'event_that_is_followed_is_kept', p.tenant_id, p.execution_id, p.name
  from flowgres.pending_wakes as p
  where p.name is not null and p.resume is not null and not exists (
    select from flowgres.signals as s where s.tenant_id = p.tenant_id and s.id = (p.resume ->> 'signal_id')::uuid and s.kind = 'event')
  union all
  -- Who waits for a decision waits for one that can still be made, or whose time has just ended.
  select 'approval_is_open_while_its_step_waits', q.tenant_id, q.execution_id, q.waits_for
  from flowgres.work_queue as q
  where q.waits_for like 'approval:%' and not exists (
    select from flowgres.approvals as a
    where a.tenant_id = q.tenant_id and 'approval:' || a.id = q.waits_for and a.status in ('pending', 'timed_out'))
  union all
  -- A parked row says what it waits for, and only a parked one does.
  select 'parked_row_waits_for_something', q.tenant_id, q.execution_id, q.id::text
  from flowgres.work_queue as q
  where (q.due_at is null) <> (q.waits_for is null) or (q.due_at = 'infinity' and q.waits_for not like '%:%')
  union all
  -- What people do is told with who did it, and another policy is one that can be read.
  select 'repair_names_who_did_it', v.tenant_id, v.execution_id, v.seq::text
  from flowgres.events as v
  where v.type = 'step_repaired' and (v.actor is null or v.details ->> 'act' is null)
  union all
  select 'overrides_are_named', q.tenant_id, q.execution_id, q.id::text
  from flowgres.work_queue as q
  where jsonb_typeof(q.overrides) <> 'object'
  union all
  -- Of a limit no more is taken than there may be, since it was set last; and what has a limit has its place, or waits in its line.
  select 'limit_is_kept', s.tenant_id, null, format('%s: %s of %s', s.line, s.held, s.most)
  from (
    select
      s.tenant_id, s.line, count(*) as held, max(s.taken_at) as taken_at, max(coalesce(l.capacity, (v.concurrency ->> 'limit')::integer)) as most,
      max(l.updated_at) as updated_at
    from flowgres.limit_slots as s
    left join flowgres.limits as l on l.tenant_id = s.tenant_id and l.kind = 'step' and 'limit:' || l.name = s.line
    left join flowgres.executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id and s.queue_id = 0
    left join flowgres.workflow_versions as v on v.tenant_id = e.tenant_id and v.id = e.version_id
    where l.per_seconds is null and flowgres.slot_is_held(s)
    group by s.tenant_id, s.line
  ) as s
  where s.held > s.most and (s.updated_at is null or s.taken_at > s.updated_at)
  union all
  select 'limited_step_has_a_place', q.tenant_id, q.execution_id, w.id
  from flowgres.work_queue as q
  join flowgres.workflow_steps as w on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
  where w.capability like 'limit:%' and q.capability not like all('{limit:%,refused:%}') and not exists (
    select from flowgres.limit_slots as s
    where s.tenant_id = q.tenant_id and s.line = w.capability and s.execution_id = q.execution_id and s.queue_id = q.id
      and s.step_index = q.step_index and s.iteration = q.iteration)
  union all
  -- What is in no line of its execution is of one that has its place, or runs in that of who called it.
  select 'limited_execution_has_a_place', q.tenant_id, q.execution_id, min(q.capability)
  from flowgres.workflow_versions as v
  join flowgres.work_queue as q on q.tenant_id = v.tenant_id and q.version_id = v.id
  join flowgres.executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
  where v.concurrency is not null and q.capability not like all('{limit:@%,refused:%}') and not exists (
    select from flowgres.limit_slots as s
    where s.tenant_id = q.tenant_id and s.execution_id = q.execution_id and s.queue_id = 0
      and s.line = flowgres.execution_line(p_workflow_id => e.workflow_id, p_rule => v.concurrency, p_input => e.input))
    and not flowgres.is_in_place_of_caller(p_tenant_id => q.tenant_id, p_execution_id => q.execution_id)
  group by q.tenant_id, q.execution_id
  union all
  -- What was refused is about to be cancelled.
  select 'refused_execution_is_cancelled', q.tenant_id, q.execution_id, q.id::text
  from flowgres.work_queue as q
  where q.capability like 'refused:%' and not exists (
    select from flowgres.cancellations as c where c.tenant_id = q.tenant_id and c.execution_id = q.execution_id)
  union all
  -- A row in the line of a queue is a task that is open, and only such a row is there.
  select 'open_task_is_written_down', q.tenant_id, q.execution_id, q.id::text
  from flowgres.work_queue as q
  left join flowgres.tasks as t on t.tenant_id = q.tenant_id and t.execution_id = q.execution_id and t.id = q.resume ->> 'task_id'
  where (q.capability like 'task:%') <> (coalesce(q.waits_for, '') like any('{worker:%,task:%}'))
    or q.capability like 'task:%' and (
      t.finished_at is not null or t.queue_id is distinct from q.id or q.capability <> 'task:' || t.queue
      or t.status is distinct from case when q.due_at = 'infinity' then 'waiting' else 'claimed' end)
  union all
  -- All of what is paused is held, and its clock stands still.
  select 'paused_execution_is_held', e.tenant_id, e.id, q.id::text
  from flowgres.executions as e
  join flowgres.work_queue as q on q.tenant_id = e.tenant_id and q.execution_id = e.id
  where e.status = 'paused' and (not q.held or q.held_for is distinct from e.id)
  union all
  select 'paused_execution_has_no_clock', e.tenant_id, e.id, e.deadline_at::text
  from flowgres.executions as e
  where e.status = 'paused' and (e.deadline_at is not null or e.active_since is not null or e.paused_at is null or e.paused_for is null)
  union all
  -- What is held for a pause is let go with it.
  select 'held_row_has_a_pause', q.tenant_id, q.execution_id, q.id::text
  from flowgres.work_queue as q
  join flowgres.executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
  where q.held <> (q.held_for is not null) or q.held_for is not null and (
    q.held_for = q.execution_id and e.status <> 'paused'
    or q.held_for <> q.execution_id and not exists (
      select from flowgres.pauses as p where p.tenant_id = q.tenant_id and p.workflow_id = q.held_for));
$$;
comment on function flowgres.check_invariants(boolean) is $$Violations of what the engine promises; no rows when all is well

With p_is_drained also every execution that has not ended. Reads all history: for tests, and for an operator with a doubt.$$;
