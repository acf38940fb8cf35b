-- Two executions side by side.

set local role flowgres_definer;

create or replace function flowgres.compare_executions(p_a uuid, p_b uuid)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_a flowgres.executions;
  v_b flowgres.executions;
begin
  select e.* into v_a
  from flowgres.executions as e
  where e.tenant_id = v_tenant_id and e.id = p_a and not flowgres.is_hidden(p_a);
  if v_a.id is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_a);
  end if;
  select e.* into v_b
  from flowgres.executions as e
  where e.tenant_id = v_tenant_id and e.id = p_b and not flowgres.is_hidden(p_b);
  if v_b.id is null then
    perform flowgres.fail_execution_not_found(p_execution_id => p_b);
  end if;
  return jsonb_build_object(
    'a', flowgres.compared_execution(p_execution => v_a),
    'b', flowgres.compared_execution(p_execution => v_b),
    'input', flowgres.json_differences(p_a => v_a.input, p_b => v_b.input, p_most => 100),
    'output', flowgres.json_differences(p_a => v_a.output, p_b => v_b.output, p_most => 100),
    'steps', flowgres.compare_steps(
      p_a => v_a, p_b => v_b,
      -- What is looked into of the whole answer; a step beyond it differs as a whole.
      p_budget_bytes => 524288
        - flowgres.compared_bytes(p_a => v_a.input, p_b => v_b.input) - flowgres.compared_bytes(p_a => v_a.output, p_b => v_b.output)));
end;
$$;
comment on function flowgres.compare_executions(uuid, uuid) is $$Compare two executions: inputs, outputs, and each step

Of whatever versions or workflows: steps are matched by their ids.$$;

set local role flowgres_owner;

create or replace function flowgres.compared_execution(p_execution flowgres.executions)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return jsonb_build_object(
    'id', (p_execution).id, 'version', (p_execution).version, 'status', flowgres.visible_status(p_execution => p_execution),
    'workflow_name', (
      select w.name from flowgres.workflows as w where w.tenant_id = (p_execution).tenant_id and w.id = (p_execution).workflow_id),
    'error', flowgres.shown_value((p_execution).error), 'replayed_from', (p_execution).replayed_from,
    'started_at', (p_execution).started_at, 'finished_at', (p_execution).finished_at,
    'duration_seconds', extract(epoch from (p_execution).finished_at - (p_execution).started_at)::double precision);
end;
$$;
comment on function flowgres.compared_execution(flowgres.executions) is $$What a comparison says of an execution as a whole.$$;

create or replace function flowgres.branch_of(p_step flowgres.step_executions)
  returns text language sql immutable parallel safe
as $$
  select case when (p_step).type in ('condition', 'switch') then (p_step).output ->> 'branch' end;
$$;
comment on function flowgres.branch_of(flowgres.step_executions) is $$The branch that a condition or switch took.$$;

create or replace function flowgres.seconds_of(p_step flowgres.step_executions)
  returns double precision language sql immutable parallel safe
as $$
  select extract(epoch from (p_step).finished_at - (p_step).started_at)::double precision;
$$;
comment on function flowgres.seconds_of(flowgres.step_executions) is $$How long a step took, from its first attempt to its end.$$;

create or replace function flowgres.compared_step(p_step flowgres.step_executions)
  returns jsonb language sql stable
as $$
  select jsonb_build_object(
    'status', (p_step).status, 'branch', flowgres.branch_of(p_step), 'error', flowgres.shown_value((p_step).error),
    'attempts', (p_step).attempts, 'duration_seconds', flowgres.seconds_of(p_step), 'reused_from', (p_step).reused_from)
  where (p_step).step is not null;
$$;
comment on function flowgres.compared_step(flowgres.step_executions) is $$What a comparison says of one side of a step; null where it has no row.$$;

create or replace function flowgres.compared_bytes(p_a jsonb, p_b jsonb)
  returns bigint language sql immutable parallel safe
as $$
  -- What is equal, or too large to be looked into, costs nothing.
  select case
    when p_a is not distinct from p_b or x.bytes > 262144 then 0
    else x.bytes end
  from (select coalesce(greatest(octet_length(p_a::text), octet_length(p_b::text)), 0)::bigint as bytes) as x;
$$;
comment on function flowgres.compared_bytes(jsonb, jsonb) is $$How much is looked into where two values are compared.$$;

create or replace function flowgres.compare_steps(p_a flowgres.executions, p_b flowgres.executions, p_budget_bytes bigint)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return coalesce((
    select jsonb_agg(
      jsonb_build_object(
        'step', x.step, 'differs', to_jsonb(array_remove(array[
          case when (x.a).status is distinct from (x.b).status then 'status' end,
          case when x.is_other_output then 'output' end,
          -- What is said of a failure; when it happened, and of which try, is not.
          case when (x.a).error - '{retry_after}'::text[] is distinct from (x.b).error - '{retry_after}'::text[] then 'error' end,
          case when flowgres.branch_of(x.a) is distinct from flowgres.branch_of(x.b) then 'branch' end,
          -- Twice as long, and by more than a second: less is chance.
          case when abs(flowgres.seconds_of(x.a) - flowgres.seconds_of(x.b)) > 1
            and greatest(flowgres.seconds_of(x.a), flowgres.seconds_of(x.b))
              > 2 * least(flowgres.seconds_of(x.a), flowgres.seconds_of(x.b)) then 'duration' end], null)),
        'a', flowgres.compared_step(x.a), 'b', flowgres.compared_step(x.b),
        'output', case
          when not x.is_other_output then null
          when x.bytes > p_budget_bytes then flowgres.whole_difference(p_a => (x.a).output, p_b => (x.b).output)
          else flowgres.json_differences(p_a => (x.a).output, p_b => (x.b).output, p_most => 20) end)
      order by x.step_index, x.step)
    from (
      select
        y.*,
        sum(case when y.is_other_output then flowgres.compared_bytes(p_a => (y.a).output, p_b => (y.b).output) else 0 end)
          over (order by y.step_index, y.step) as bytes
      from (
        -- Of a step that completed in one of them alone the status says all.
        select
          coalesce(a.step, b.step) as step, coalesce((a.row).step_index, (b.row).step_index) as step_index, a.row as a, b.row as b,
          ((a.row).status = 'completed' and (b.row).status = 'completed' and (a.row).output is distinct from (b.row).output) is true
            as is_other_output
        from (
          select s.step, s as row from flowgres.step_executions as s
          where s.tenant_id = (p_a).tenant_id and s.execution_id = (p_a).id and s.iteration = -1 and s.type <> 'outputs'
        ) as a
        full join (
          select s.step, s as row from flowgres.step_executions as s
          where s.tenant_id = (p_b).tenant_id and s.execution_id = (p_b).id and s.iteration = -1 and s.type <> 'outputs'
        ) as b on b.step = a.step
      ) as y
    ) as x), '[]');
end;
$$;
comment on function flowgres.compare_steps(flowgres.executions, flowgres.executions, bigint) is $$Each step of two executions, with what differs: status, output, error, branch, duration.$$;
