-- Steps that wait for somebody: a signal, an event, a decision.
--
-- A handler reports park: what it waits for (a kind), and its configuration. The kind writes down what it needs, under the lease of the
-- step, and says in waits what the row of the queue waits for: '<kind>:<key>'. The row is due when the step's time is over. Whoever
-- wakes it leaves a note (pending_wakes) and waits for nobody; the next claim makes the row ready, with what it is resumed with. At
-- its time the step is resumed with {"status": "timed_out"}.

set local role flowgres_owner;

create or replace function flowgres.park_steps(p_state flowgres.advance_state, inout p_reports flowgres.step_report[])
  language plpgsql
as $$
declare
  v_kind record;
begin
  p_reports := flowgres.hold_leases(p_state => p_state, p_reports => p_reports, p_outcome => 'park');
  for v_kind in
    select r.waits as kind, array_agg(n.place order by n.place) as places
    from generate_subscripts(p_reports, 1) as n (place)
    cross join lateral (select (p_reports[n.place]).*) as r
    where r.o = 'park' and r.k is not null
    group by r.waits
    order by r.waits
  loop
    -- A line for each kind. Its function may say that a step goes on at once (moved, with its output), or has failed; and a report
    -- without a token is sent again.
    case v_kind.kind
      when 'wait' then
        p_reports := flowgres.register_waits(p_state => p_state, p_reports => p_reports, p_places => v_kind.places);
      when 'callback' then
        p_reports := flowgres.register_callbacks(p_state => p_state, p_reports => p_reports, p_places => v_kind.places);
      when 'approval' then
        p_reports := flowgres.open_approvals(p_state => p_state, p_reports => p_reports, p_places => v_kind.places);
      when 'task' then
        p_reports := flowgres.open_tasks(p_state => p_state, p_reports => p_reports, p_places => v_kind.places);
      else
        p_reports := flowgres.refuse_parking(p_reports => p_reports, p_places => v_kind.places);
    end case;
  end loop;
end;
$$;
comment on function flowgres.park_steps(flowgres.advance_state, flowgres.step_report[]) is $$Write down what the steps wait for that ask to be parked

Without its lease nothing is written, and the report loses its token.$$;

create or replace function flowgres.refuse_parking(inout p_reports flowgres.step_report[], p_places integer[])
  language plpgsql
as $$
declare
  v_report flowgres.step_report;
  v_place integer;
begin
  foreach v_place in array p_places loop
    v_report := p_reports[v_place];
    v_report.o := 'failed';
    v_report.error := jsonb_build_object(
      'code', 'wait_unknown', 'class', 'internal', 'message', format('nobody can wait for "%s"', left(v_report.waits, 60)),
      'hint', 'Upgrade the database: its runners are newer.');
    p_reports[v_place] := v_report;
  end loop;
end;
$$;
comment on function flowgres.refuse_parking(flowgres.step_report[], integer[]) is $$Let steps fail that wait for what is not known here.$$;

create or replace function flowgres.wake_rows(
  p_tenant_ids uuid[], p_execution_ids uuid[], p_queue_ids bigint[], p_tokens bigint[], p_resumes jsonb[]
)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_rows tid[];
  v_places bigint[];
begin
  -- Who was first wins; the row is the lock.
  select array_agg(q.ctid), array_agg(x.place) into v_rows, v_places
  from (
    select distinct on (x.execution_id, x.queue_id, x.token) x.*
    from unnest(p_tenant_ids, p_execution_ids, p_queue_ids, p_tokens) with ordinality
      as x (tenant_id, execution_id, queue_id, token, place)
    order by x.execution_id, x.queue_id, x.token, x.place
  ) as x
  cross join lateral (
    select q.ctid
    from flowgres.work_queue as q
    where q.tenant_id = x.tenant_id and q.execution_id = x.execution_id and q.id = x.queue_id and q.token = x.token
      and q.runner_id is null and q.waits_for like '%:%'
    for update skip locked
  ) as q;
  if coalesce(cardinality(v_rows), 0) < cardinality(p_queue_ids) then
    -- Those that somebody holds come back.
    insert into flowgres.pending_wakes (tenant_id, execution_id, queue_id, token, resume, requested_at)
    select x.tenant_id, x.execution_id, x.queue_id, x.token, x.resume, v_now
    from unnest(p_tenant_ids, p_execution_ids, p_queue_ids, p_tokens, p_resumes) with ordinality
      as x (tenant_id, execution_id, queue_id, token, resume, place)
    cross join lateral (
      select q.ctid
      from flowgres.work_queue as q
      where q.tenant_id = x.tenant_id and q.execution_id = x.execution_id and q.id = x.queue_id and q.token = x.token
        and q.runner_id is null and q.waits_for like '%:%'
    ) as q
    where q.ctid <> all(coalesce(v_rows, '{}'));
  end if;
  if v_rows is null then
    return 0;
  end if;
  return flowgres.resume_rows(
    p_rows => v_rows, p_resumes => array(select p_resumes[w.place] from unnest(v_places) with ordinality as w (place, i) order by w.i));
end;
$$;
comment on function flowgres.wake_rows(uuid[], uuid[], bigint[], bigint[], jsonb[]) is $$Make parked rows ready, each with what it is resumed with; returns how many

Waits for nobody: a row that somebody holds is noted again. One that went on since it was parked is left alone.$$;
