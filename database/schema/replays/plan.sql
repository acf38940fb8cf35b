-- What a fork takes over of the execution that it repeats, and what it does anew.

set local role flowgres_owner;

create or replace function flowgres.plan_fork(
  p_original flowgres.executions, p_version flowgres.workflow_versions, p_from_index smallint, p_overridden text[]
)
  returns table (index smallint, step text, source text, is_reached boolean) language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return query
  with recursive was as materialized (
    -- Once, and not for each step: it may have ten thousand iterations.
    select s.step, s.type, s.status, s.edge, s.output
    from flowgres.step_executions as s
    where s.tenant_id = (p_original).tenant_id and s.execution_id = (p_original).id and s.iteration = -1 and s.finished_at is not null
  ),
  steps as materialized (
    select
      w.index, w.id, w.type, w.dependencies, w.children, w.join_rule, w.cancel_indexes, w.rest_indexes, w.is_early, w.branches,
      s.status, s.edge, s.output ->> 'branch' as branch, s.type as was_type, w.id = any(p_overridden) as is_overridden
    from flowgres.workflow_steps as w
    left join was as s on s.step = w.id
    where w.tenant_id = (p_version).tenant_id and w.version_id = (p_version).id and w.section = 'steps'
  ),
  reached as (
    select p_from_index as index
    union
    select c.index
    from reached as r
    join steps as w on w.index = r.index
    cross join unnest(w.children) as c (index)
  ),
  judged as materialized (
    select
      w.*, w.index in (select r.index from reached as r) as is_reached,
      -- A step that stops the execution has to do so again; of another version a branch may be gone.
      w.is_overridden or w.type = w.was_type and w.type <> 'outputs' and (
        w.status = 'skipped'
        or w.status = 'completed' and w.type <> 'stop'
        and ((p_version).id = (p_original).version_id or w.branches is null or w.branches ? w.branch)
        -- A failure stands when it was none to those that come after, or somebody handled it, or will now.
        or w.status = 'failed' and (w.edge <> 'failed' or exists (
          select from steps as h
          where h.index = any(w.children) and h.join_rule = 'failed'
            and (h.status in ('completed', 'failed') or h.index in (select r.index from reached as r))))
        -- Who was cancelled because another step had ended stays so with that step; of an execution that ended others run.
        or w.status = 'cancelled' and exists (
          select from steps as k
          where k.status = 'completed' and (w.index = any(k.cancel_indexes) or w.index = any(k.rest_indexes))
            and k.index not in (select r.index from reached as r))) is true as may_stay
    from steps as w
  ),
  anew as (
    select j.index from judged as j where j.is_reached or not j.may_stay
    union
    -- What follows is judged again, but not what had all that it needed.
    select c.index
    from anew as a
    join steps as w on w.index = a.index
    cross join unnest(w.children) as n (index)
    join judged as c on c.index = n.index
    where (c.is_early and c.status = 'completed' and c.join_rule in ('any', 'at_least', 'failed')) is not true
  )
  select
    j.index, j.id, case when a.index is not null then 'anew' when j.is_overridden then 'override' else j.status end, j.is_reached
  from judged as j
  left join anew as a on a.index = j.index;
end;
$$;
comment on function flowgres.plan_fork(flowgres.executions, flowgres.workflow_versions, smallint, text[]) is $$What becomes of each step in a fork: anew, override, or the status that is taken over

Anew is what the step to begin with reaches, what had not ended by itself, and what comes after that. Of a version that is another one steps are found
by their ids.$$;

create or replace function flowgres.check_fork(
  p_original flowgres.executions, p_version flowgres.workflow_versions, p_from_step text, p_overrides jsonb
)
  returns smallint[] language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_from flowgres.workflow_steps;
  v_known text[] := array(
    select w.id from flowgres.workflow_steps as w
    where w.tenant_id = (p_version).tenant_id and w.version_id = (p_version).id and w.section = 'steps' and w.type <> 'outputs'
    order by w.index);
  v_overridden text[] := array(select jsonb_object_keys(p_overrides));
  v_name text;
  v_type text;
  v_kept smallint[];
  v_plan record;
begin
  foreach v_name in array v_overridden || p_from_step loop
    if v_name <> all(v_known) then
      perform flowgres.fail(
        p_status => 404, p_code => 'step_not_found',
        p_message => format('version %s of the workflow has no step %L', (p_version).version, left(v_name, 255)),
        p_details => case when v_name = p_from_step then 'from_step' else 'overrides' end,
        p_hint => coalesce(
          flowgres.did_you_mean(p_word => v_name, p_known => v_known), 'Steps that are there for failures cannot be replayed alone.'));
    end if;
  end loop;
  select w.* into strict v_from
  from flowgres.workflow_steps as w
  where w.tenant_id = (p_version).tenant_id and w.version_id = (p_version).id and w.id = p_from_step;
  for v_plan in
    select p.*, w.type, w.dependencies
    from flowgres.plan_fork(
      p_original => p_original, p_version => p_version, p_from_index => v_from.index, p_overridden => v_overridden) as p
    join flowgres.workflow_steps as w on w.tenant_id = (p_version).tenant_id and w.version_id = (p_version).id and w.index = p.index
  loop
    if v_plan.source <> 'anew' then
      v_kept := v_kept || v_plan.index;
    end if;
    if v_plan.step <> all(v_overridden) then
      continue;
    end if;
    if v_plan.type in ('condition', 'switch', 'stop') then
      perform flowgres.fail(
        p_status => 422, p_code => 'override_not_possible',
        p_message => format('the step "%s" of the type %s decides for itself', v_plan.step, v_plan.type), p_details => 'overrides',
        p_hint => 'Fork from it, and override what it looks at.');
    elsif v_plan.source = 'anew' then
      perform flowgres.fail(
        p_status => 422, p_code => 'override_not_kept',
        p_message => format('the step "%s" runs anew in a fork from "%s", so no output of it can be given', v_plan.step, p_from_step),
        p_details => 'overrides',
        p_hint => case when v_plan.is_reached then 'Fork from a step that comes after it.'
          else 'Override also the steps before it that have not ended.' end);
    end if;
  end loop;
  v_kept := coalesce(v_kept, '{}');
  select s.step into v_name
  from flowgres.step_executions as s
  where s.tenant_id = (p_original).tenant_id and s.execution_id = (p_original).id and s.iteration = -1 and s.status = 'skipped'
    and (s.step = p_from_step and v_from.dependencies <@ v_kept or s.step = any(v_overridden))
  limit 1;
  if v_name is not null then
    perform flowgres.fail(
      p_status => 422, p_code => 'step_not_taken',
      p_message => format('the step "%s" was skipped: the way there was not taken', v_name),
      p_details => case when v_name = p_from_step then 'from_step' else 'overrides' end,
      p_hint => 'Fork from the step that decided so.');
  end if;
  return v_kept;
end;
$$;
comment on function flowgres.check_fork(flowgres.executions, flowgres.workflow_versions, text, jsonb) is $$The steps that a fork takes over, by their numbers; refuses what cannot be forked.$$;
