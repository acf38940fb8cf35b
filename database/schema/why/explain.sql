-- What there is to know of a step that does not move: since when, and the facts of its reason. A function for each kind of reason.
--
-- All run with the rights of who asks, so row-level security decides what they see. Whatever could be many is bounded.

set local role flowgres_owner;

create or replace function flowgres.seen_signals(p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    with awaited as materialized (
      select w.name, w.address, w.takes_earlier, w.registered_at
      from flowgres.waits as w
      where w.tenant_id = p_tenant_id and w.execution_id = p_execution_id and w.queue_id = p_queue_id and w.kind = 'signal'
        and w.name <> '$callback'
    ),
    seen as (
      -- In the step's own mailboxes; of the right name with another address; and sent to this execution by another name.
      select s.*
      from awaited as a
      cross join lateral (
        values (a.address), (flowgres.signal_address(p_key => null, p_execution_id => p_execution_id))
      ) as m (address)
      cross join lateral (
        select s.id, s.name, s.key, s.execution_id, s.address, s.received_at
        from flowgres.signals as s
        where s.tenant_id = p_tenant_id and s.name = a.name and s.address = m.address and s.kind = 'signal' and s.consumed_at is null
          and s.expires_at > flowgres.now()
        order by s.received_at desc
        limit 5
      ) as s
      union
      select s.* from (select distinct a.name from awaited as a) as n
      cross join lateral (
        select s.id, s.name, s.key, s.execution_id, s.address, s.received_at
        from flowgres.signals as s
        where s.tenant_id = p_tenant_id and s.name = n.name and s.kind = 'signal' and s.consumed_at is null
          and s.expires_at > flowgres.now()
        limit 200
      ) as s
      union
      select s.id, s.name, s.key, s.execution_id, s.address, s.received_at
      from (
        select s.* from flowgres.signals as s where s.tenant_id = p_tenant_id order by s.received_at desc limit 200
      ) as s
      where s.kind = 'signal' and s.consumed_at is null and s.expires_at > flowgres.now()
        and s.execution_id = p_execution_id
    ),
    judged as (
      select
        s.*,
        coalesce((
          select min(case when a.takes_earlier or a.registered_at <= s.received_at then 1 else 2 end)
          from awaited as a
          where a.name = s.name
            and s.address in (a.address, flowgres.signal_address(p_key => null, p_execution_id => p_execution_id))
        ), 3) as fit
      from seen as s
      where exists (select from awaited)
    )
    select jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object('name', j.name, 'key', j.key, 'execution_id', j.execution_id, 'received_at', j.received_at))
      || jsonb_build_object('but', case
        when j.fit = 1 then 'the next claim of a runner brings it'
        when j.fit = 2 then 'it came before the step waited, which takes new ones alone'
        when j.name <> all(array(select a.name from awaited as a)) then 'it has another name'
        when j.execution_id is not null then 'it is for another execution'
        when j.key is null then 'it has no key'
        else 'it has another key' end)
      order by j.fit, j.received_at desc, j.id)
    from (select j.* from judged as j order by j.fit, j.received_at desc, j.id limit 5) as j
  );
end;
$$;
comment on function flowgres.seen_signals(uuid, uuid, bigint) is $$Signals that nobody has taken and that a step which waits could have meant: name, key, when, and why it did not take them

Five at most. Never what they say.$$;

create or replace function flowgres.explain_wait(
  p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_due_at timestamptz, out since timestamptz, out detail jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_for jsonb;
begin
  select
    min(w.registered_at),
    jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object(
        w.kind, w.name, 'key', case when starts_with(w.address, 'k:') then substr(w.address, 3) end,
        'only_new', case when w.kind = 'signal' and not w.takes_earlier then true end,
        'when', w.filter::text, 'match', w.match))
      order by w.place)
  into since, v_for
  from flowgres.waits as w
  where w.tenant_id = p_tenant_id and w.execution_id = p_execution_id and w.queue_id = p_queue_id;
  detail := jsonb_build_object(
    'for', coalesce(v_for, '[]'), 'due_at', nullif(p_due_at, 'infinity'),
    'seen', coalesce(flowgres.seen_signals(p_tenant_id => p_tenant_id, p_execution_id => p_execution_id, p_queue_id => p_queue_id), '[]'));
end;
$$;
comment on function flowgres.explain_wait(uuid, uuid, bigint, timestamptz) is $$Of a step that waits for signals or events: {for: [{signal or event, key, only_new, when, match}], due_at, seen}$$;

create or replace function flowgres.explain_approval(p_tenant_id uuid, p_waits_for text, out since timestamptz, out detail jsonb)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  select
    a.requested_at,
    jsonb_build_object(
      'id', a.id, 'title', a.title, 'roles', a.roles, 'approvers', a.approvers, 'not_starter', a.not_starter, 'quorum', a.quorum,
      'approved_count', flowgres.count_approvals(p_decisions => a.decisions), 'due_at', a.due_at,
      'may_decide', flowgres.may_decide(a))
  into since, detail
  from flowgres.approvals as a
  where a.tenant_id = p_tenant_id and a.id = substr(p_waits_for, 10)::uuid;
end;
$$;
comment on function flowgres.explain_approval(uuid, text) is $$Of a step that waits for a decision: {id, title, roles, approvers, not_starter, quorum, approved_count, due_at, may_decide}$$;

create or replace function flowgres.explain_task(
  p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_waits_for text, p_due_at timestamptz, out since timestamptz, out detail jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  select
    coalesce(t.claimed_at, t.created_at),
    jsonb_build_object(
      'task_id', t.id, 'queue', t.queue, 'attempt', t.attempt, 'worker', case when p_waits_for like 'task:%' then t.worker end,
      'lease_until', case when p_waits_for like 'task:%' then p_due_at end, 'progress', t.progress,
      'workers', (
        -- Who has a task of the queue now, as far as one looks: nobody is a queue without workers, or with idle ones.
        select coalesce(jsonb_agg(distinct w.worker), '[]')
        from (
          select substr(q.waits_for, 6) as worker
          from flowgres.work_queue as q
          where q.tenant_id = p_tenant_id and q.capability = 'task:' || t.queue and q.due_at < 'infinity'
          limit 5
        ) as w))
  into since, detail
  from flowgres.tasks as t
  where t.tenant_id = p_tenant_id and t.execution_id = p_execution_id and t.queue_id = p_queue_id and t.finished_at is null;
end;
$$;
comment on function flowgres.explain_task(uuid, uuid, bigint, text, timestamptz) is $$Of a step that a worker outside does: {task_id, queue, attempt, worker, lease_until, progress, workers}

workers are some of those that have a task of its queue at the moment.$$;

create or replace function flowgres.explain_attempts(
  p_tenant_id uuid, p_execution_id uuid, p_version_id uuid, p_step_index smallint, p_iteration integer, p_attempt integer,
  p_due_at timestamptz, out since timestamptz, out detail jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  select
    a.finished_at,
    jsonb_build_object(
      'attempt', p_attempt + 1, 'max_attempts', w.max_attempts, 'error', a.error, 'due_at', p_due_at)
  into since, detail
  from flowgres.workflow_steps as w
  left join lateral (
    select a.finished_at, a.error
    from flowgres.attempts as a
    where a.tenant_id = p_tenant_id and a.execution_id = p_execution_id and a.step_index = p_step_index and a.iteration = p_iteration
    order by a.generation desc, a.attempt desc
    limit 1
  ) as a on true
  where w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = p_step_index;
end;
$$;
comment on function flowgres.explain_attempts(uuid, uuid, uuid, smallint, integer, integer, timestamptz) is $$Of a step that is tried again: {attempt, max_attempts, error, due_at}

attempt is the next one, error the last one's.$$;

create or replace function flowgres.explain_child(p_tenant_id uuid, p_waits_for text, p_due_at timestamptz, out since timestamptz, out detail jsonb)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  select
    e.created_at,
    jsonb_build_object(
      'execution_id', e.id, 'workflow', w.name, 'status', e.status, 'due_at', nullif(p_due_at, 'infinity'))
  into since, detail
  from flowgres.executions as e
  left join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  where e.tenant_id = p_tenant_id and e.id = substr(p_waits_for, 7)::uuid;
end;
$$;
comment on function flowgres.explain_child(uuid, text, timestamptz) is $$Of a step that waits for the execution that it started: {execution_id, workflow, status, due_at}$$;

create or replace function flowgres.explain_row(
  p_reason text, p_tenant_id uuid, p_execution_id uuid, p_queue_id bigint, p_version_id uuid, p_step_index smallint, p_iteration integer,
  p_attempt integer, p_runner_id uuid, p_due_at timestamptz, p_ready_at timestamptz, p_claimed_at timestamptz, p_waits_for text,
  p_capability text, out since timestamptz, out detail jsonb
)
  language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_found record;
  v_line text := regexp_replace(flowgres.line_of(p_capability => p_capability, p_waits_for => p_waits_for), '^alone:', '');
begin
  -- A branch for each reason; what none has is told as it stands in the queue.
  case p_reason
    when 'running', 'runner_silent' then
      since := p_claimed_at;
      detail := jsonb_build_object('attempt', p_attempt) || coalesce(flowgres.heard_runner(p_runner_id => p_runner_id), '{}')
        || coalesce((
          select jsonb_build_object('last_event_at', v.at, 'last_event', v.type)
          from (
            select v.seq, v.at, v.type, v.step
            from flowgres.events as v
            where v.tenant_id = p_tenant_id and v.execution_id = p_execution_id
            order by v.seq desc
            limit 200
          ) as v
          where v.step = (
            select flowgres.step_label(p_step => w.id, p_iteration => p_iteration)
            from flowgres.workflow_steps as w
            where w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = p_step_index)
          order by v.seq desc
          limit 1), '{}');
    when 'queued', 'runners_full' then
      since := p_ready_at;
      detail := jsonb_build_object('serves', v_line)
        || flowgres.place_in_line(p_tenant_id => p_tenant_id, p_execution_id => p_execution_id, p_queue_id => p_queue_id)
        || case when p_capability like 'alone:%' then '{"is_suspect": true}' else '{}'::jsonb end;
    when 'no_runner' then
      since := p_ready_at;
      detail := jsonb_build_object('serves', v_line, 'says', flowgres.unserved_reason(p_type => (
        select w.type from flowgres.workflow_steps as w
        where w.tenant_id = p_tenant_id and w.version_id = p_version_id and w.index = p_step_index)));
    when 'scheduled' then
      since := flowgres.uuid_v7_time(p_execution_id);
      detail := jsonb_build_object('due_at', p_due_at);
    when 'waits_for_signal', 'waits_for_event', 'waits_for_first_of', 'waits_for_callback' then
      v_found := flowgres.explain_wait(
        p_tenant_id => p_tenant_id, p_execution_id => p_execution_id, p_queue_id => p_queue_id, p_due_at => p_due_at);
      since := v_found.since;
      detail := case p_reason when 'waits_for_callback' then v_found.detail - '{for,seen}'::text[] else v_found.detail end;
    when 'waits_for_approval' then
      v_found := flowgres.explain_approval(p_tenant_id => p_tenant_id, p_waits_for => p_waits_for);
      since := v_found.since;
      detail := v_found.detail;
    when 'waits_for_task' then
      v_found := flowgres.explain_task(
        p_tenant_id => p_tenant_id, p_execution_id => p_execution_id, p_queue_id => p_queue_id, p_waits_for => p_waits_for,
        p_due_at => p_due_at);
      since := v_found.since;
      detail := v_found.detail;
    when 'waits_for_retry' then
      v_found := flowgres.explain_attempts(
        p_tenant_id => p_tenant_id, p_execution_id => p_execution_id, p_version_id => p_version_id, p_step_index => p_step_index,
        p_iteration => p_iteration, p_attempt => p_attempt, p_due_at => p_due_at);
      since := v_found.since;
      detail := v_found.detail;
    when 'waits_for_child' then
      v_found := flowgres.explain_child(p_tenant_id => p_tenant_id, p_waits_for => p_waits_for, p_due_at => p_due_at);
      since := v_found.since;
      detail := v_found.detail;
    when 'waits_for_timer' then
      detail := jsonb_build_object('due_at', p_due_at);
    when 'paused_execution', 'paused_workflow', 'paused_tenant' then
      v_found := flowgres.explain_pause(p_reason => p_reason, p_tenant_id => p_tenant_id, p_execution_id => p_execution_id);
      since := v_found.since;
      detail := v_found.detail;
    when 'waits_for_limit', 'waits_for_concurrency' then
      detail := flowgres.explain_limit(p_tenant_id => p_tenant_id, p_version_id => p_version_id, p_capability => p_capability);
    else
      detail := jsonb_strip_nulls(jsonb_build_object('waits_for', p_waits_for, 'due_at', nullif(p_due_at, 'infinity')));
  end case;
  since := coalesce(since, p_ready_at);
  detail := coalesce(detail, '{}');
end;
$$;
comment on function flowgres.explain_row(
  text, uuid, uuid, bigint, uuid, smallint, integer, integer, uuid, timestamptz, timestamptz, timestamptz, text, text
) is $$Since when the step of a row of the queue does not move for a reason, and what there is to know of it.$$;
