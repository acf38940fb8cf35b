-- How far steps are that run: events beside those of the engine, which decide nothing.

set local role flowgres_engine;

create or replace function flowgres.report_progress(p_runner_id uuid, p_reports jsonb)
  returns void language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_report record;
  v_seq integer;
begin
  for v_report in
    select r.t, r.x, r.q, r.k, r.p, r.m
    from jsonb_to_recordset(p_reports) as r (t uuid, x uuid, q bigint, k bigint, p double precision, m text)
    order by r.x, r.q
  loop
    -- Nobody is waited for: of a step whose execution somebody holds at this moment its next word is told.
    perform from flowgres.executions as e
    where e.tenant_id = v_report.t and e.id = v_report.x and e.finished_at is null
    for no key update skip locked;
    continue when not found;
    update flowgres.executions as e
    set event_seq = e.event_seq + 1
    from flowgres.work_queue as q
    -- Its start has to be told of before.
    where e.tenant_id = v_report.t and e.id = v_report.x and q.tenant_id = e.tenant_id and q.execution_id = e.id
      and q.id = v_report.q and q.runner_id is not distinct from p_runner_id and q.token = v_report.k and q.is_announced
    returning e.event_seq into v_seq;
    continue when not found;
    insert into flowgres.events (tenant_id, execution_id, seq, at, type, step, message, details)
    select
      v_report.t, v_report.x, v_seq, flowgres.now(), 'step_progress', flowgres.step_label(w.id, q.iteration), nullif(v_report.m, ''),
      jsonb_build_object('progress', round(v_report.p::numeric, 4))
    from flowgres.work_queue as q
    join flowgres.workflow_steps as w on w.tenant_id = q.tenant_id and w.version_id = q.version_id and w.index = q.step_index
    where q.tenant_id = v_report.t and q.execution_id = v_report.x and q.id = v_report.q;
    perform flowgres.tell_streams(
      p_tenant_ids => array[v_report.t], p_execution_ids => array[v_report.x], p_event_seqs => array[v_seq - 1], p_now => flowgres.now());
  end loop;
end;
$$;
comment on function flowgres.report_progress(uuid, jsonb) is $$Write down how far steps are that this runner has leased: events step_progress

p_reports: [{t, x, q, k, p, m}], the lease, a fraction and words. What cannot be told at once is left out. They go with the history of
their execution; runners send at most one a second for a step.$$;
