-- Forks: an execution that begins with what another one had done.

set local role flowgres_owner;

create or replace function flowgres.copy_steps(
  p_original flowgres.executions, p_version flowgres.workflow_versions, p_execution_id uuid, p_kept smallint[], p_overrides jsonb,
  p_now timestamptz, p_last_seq integer
)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_count integer;
begin
  -- A foreach is taken over as a whole: its output has those of its items, whose rows stay where they are. So ten thousand of them
  -- cost one row. No attempt was made here, and nothing is undone here either: both belong to the original.
  with was as materialized (
    select s.step, s.status, s.edge, s.output, s.error, s.untaken, s.seq, s.reused_from
    from flowgres.step_executions as s
    where s.tenant_id = (p_original).tenant_id and s.execution_id = (p_original).id and s.iteration = -1
  ),
  copied as materialized (
    select
      w.index, w.id, w.type, p_last_seq + row_number() over (order by s.seq nulls last, w.index) as seq,
      case when o.is_overridden then 'completed' else s.status end as status,
      case when o.is_overridden then 'taken' else s.edge end as edge,
      case when o.is_overridden then p_overrides -> w.id else s.output end as output,
      case when not o.is_overridden then s.error end as error,
      case
        when o.is_overridden or s.untaken is null then null
        when (p_version).id = (p_original).version_id then s.untaken
        else flowgres.untaken_children(
          p_tenant_id => w.tenant_id, p_version_id => w.version_id, p_branches => w.branches, p_taken => array(
            select n.id
            from jsonb_array_elements_text(w.branches -> (s.output ->> 'branch')) as t (index)
            join flowgres.workflow_steps as n
              on n.tenant_id = w.tenant_id and n.version_id = w.version_id and n.index = t.index::smallint))
      end as untaken,
      o.is_overridden, s.reused_from
    from flowgres.workflow_steps as w
    cross join lateral (select p_overrides ? w.id as is_overridden) as o
    left join was as s on s.step = w.id
    where w.tenant_id = (p_version).tenant_id and w.version_id = (p_version).id and w.index = any(p_kept)
  ),
  written as (
    insert into flowgres.step_executions (
      tenant_id, execution_id, step_index, iteration, attempts, step, type, status, edge, untaken, ready_at, finished_at, output, error,
      seq, is_logged, reused_from)
    select
      (p_version).tenant_id, p_execution_id, c.index, -1, 0, c.id, c.type, c.status, c.edge, c.untaken, p_now, p_now, c.output, c.error,
      c.seq, true, coalesce(c.reused_from, (p_original).id)
    from copied as c
  ),
  told as (
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, step, actor, details)
    select
      (p_version).tenant_id, p_execution_id, c.seq, p_now, case when c.is_overridden then 'step_overridden' else 'step_reused' end, c.id,
      case when c.is_overridden then flowgres.actor() end,
      jsonb_build_object('execution_id', coalesce(c.reused_from, (p_original).id), 'status', c.status)
    from copied as c
  )
  select count(*) filter (where c.status = 'completed') into v_count from copied as c;
  return v_count;
end;
$$;
comment on function flowgres.copy_steps is $$Write what a fork takes over, as steps that have ended, and tell of each; returns how many completed.$$;

create or replace function flowgres.fork_execution(
  p_original flowgres.executions, p_version flowgres.workflow_versions, p_execution_id uuid, p_kept smallint[], p_overrides jsonb,
  p_now timestamptz
)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := (p_version).tenant_id;
  v_completed integer;
  v_state flowgres.advance_state;
begin
  v_completed := flowgres.copy_steps(
    p_original => p_original, p_version => p_version, p_execution_id => p_execution_id, p_kept => p_kept, p_overrides => p_overrides,
    p_now => p_now, p_last_seq => 2);
  insert into flowgres.events (tenant_id, execution_id, seq, at, type)
  values (v_tenant_id, p_execution_id, 2, p_now, 'execution_started');
  -- It has begun: what its next steps refer to is read.
  update flowgres.executions as e
  set event_seq = 2 + cardinality(p_kept), started_at = p_now
  where e.tenant_id = v_tenant_id and e.id = p_execution_id;
  delete from flowgres.work_queue as q
  where q.tenant_id = v_tenant_id and q.execution_id = p_execution_id and q.step_index = any(p_kept);
  update flowgres.work_queue as q
  set is_new = false
  where q.tenant_id = v_tenant_id and q.execution_id = p_execution_id;
  v_state := flowgres.hold_executions(p_execution_ids => array[p_execution_id], p_tenant_ids => array[v_tenant_id]);
  -- The same as if all of them had just been reported. Of the first event streams know.
  v_state.event_seqs := array[1];
  v_state.newly_resolved := array[cardinality(p_kept)];
  v_state.newly_completed := array[v_completed];
  v_state.frontier := array(
    select flowgres.make_resolved_step(
      p_slot => 1, p_queue_id => null, p_step_index => w.index, p_step => w.id, p_join_rule => w.join_rule,
      p_children => array(select c from unnest(w.children) as c where c <> all(p_kept)), p_untaken => s.untaken, p_edge => s.edge,
      p_outcome => s.status)
    from flowgres.workflow_steps as w
    join flowgres.step_executions as s
      on s.tenant_id = w.tenant_id and s.execution_id = p_execution_id and s.step_index = w.index and s.iteration = -1
    where w.tenant_id = v_tenant_id and w.version_id = (p_version).id and w.index = any(p_kept)
      and not w.children <@ p_kept);
  v_state.frontier := nullif(v_state.frontier, '{}');
  perform flowgres.carry_on(p_state => v_state);
  perform flowgres.park_again(p_tenant_id => v_tenant_id, p_execution_ids => array[p_execution_id]);
end;
$$;
comment on function flowgres.fork_execution is $$Make of an execution that was just started a fork: with the steps that it takes over, and the next ones ready

Joins, conditions and skips are resolved as by any advance.$$;
