-- Telling: where executions turn, their deliveries begin, in the same transaction. What is rolled back was never told.
--
-- Whoever ends executions holds their locks. Here nothing is waited for: rows are only added, and a notification that somebody holds
-- is not counted on this time.

set local role flowgres_owner;

-- Stable, as what they call: so they are inlined where many executions are told of.
create or replace function flowgres.moment_text(p_at timestamptz)
  returns text language sql stable parallel safe
as $$
  select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
$$;
comment on function flowgres.moment_text(timestamptz) is $$A moment as it stands in JSON, whatever the zone of the session.$$;

create or replace function flowgres.is_light(p_value jsonb)
  returns boolean language sql stable parallel safe
as $$
  -- What is stored in more bytes than that has more as text as well, and is not fetched to find out.
  select p_value is null or case when pg_column_size(p_value) <= 65536 then octet_length(p_value::text) <= 65536 else false end;
$$;
comment on function flowgres.is_light(jsonb) is $$Whether a value is small enough to be sent along: 64 KiB as text.$$;

create or replace function flowgres.notification_message(
  p_event text, p_execution flowgres.executions, p_workflow_name text, p_now timestamptz
)
  returns jsonb language sql stable parallel safe
as $$
  select jsonb_build_object(
    'type', 'execution.' || p_event,
    'timestamp', flowgres.moment_text(coalesce((p_execution).finished_at, p_now)),
    'data', jsonb_strip_nulls(jsonb_build_object(
      'execution_id', (p_execution).id,
      'workflow', p_workflow_name,
      'workflow_id', (p_execution).workflow_id,
      'version', (p_execution).version,
      'status', (p_execution).status,
      'trigger_type', (p_execution).trigger_type,
      'correlation_id', (p_execution).correlation_id,
      'parent_execution_id', (p_execution).parent_execution_id,
      'replayed_from', (p_execution).replayed_from,
      'created_at', flowgres.moment_text((p_execution).created_at),
      'started_at', flowgres.moment_text((p_execution).started_at),
      'finished_at', flowgres.moment_text((p_execution).finished_at)))
    || case when flowgres.is_light((p_execution).output) then jsonb_build_object('output', (p_execution).output)
      else '{"output": null, "output_omitted": true}' end
    || case
      when (p_execution).error is null then '{}'
      when flowgres.is_light((p_execution).error) then jsonb_build_object('error', (p_execution).error)
      else jsonb_build_object('error', jsonb_build_object(
        'code', (p_execution).error -> 'code', 'step', (p_execution).error -> 'step',
        'message', left((p_execution).error ->> 'message', 1000)), 'error_shortened', true) end);
$$;
comment on function flowgres.notification_message is $$What is sent of an execution: {type, timestamp, data}

Of an output of more than 64 KiB it is said that there is one (output_omitted): get_execution has it.$$;

create or replace function flowgres.start_deliveries(
  p_notification flowgres.notifications, p_event text, p_execution_ids uuid[], p_message_ids uuid[], p_messages jsonb[],
  p_now timestamptz, p_replayed_from uuid default null, p_created_by text default null
)
  returns uuid[] language plpgsql
as $$
declare
  v_ids uuid[] := flowgres.hidden_ids(p_at => p_now, p_count => cardinality(p_execution_ids));
  v_version flowgres.workflow_versions;
begin
  -- No more than insert_executions reads.
  select v.tenant_id, v.id, v.workflow_id, v.version, v.step_count, v.hidden_step_count, v.root_indexes, v.timeout_seconds, v.priority
  into
    v_version.tenant_id, v_version.id, v_version.workflow_id, v_version.version, v_version.step_count, v_version.hidden_step_count,
    v_version.root_indexes, v_version.timeout_seconds, v_version.priority
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_notification).tenant_id and v.id = (p_notification).version_id;
  perform flowgres.insert_executions(
    p_version => v_version,
    p_ids => v_ids,
    p_inputs => array(
      -- The first attempt of a message names it, and every one after it.
      select jsonb_build_object('id', coalesce(m.id, d.id), 'message', m.message)
      from unnest(v_ids) with ordinality as d (id, place)
      join unnest(p_message_ids, p_messages) with ordinality as m (id, message, place) on m.place = d.place
      order by d.place),
    p_now => p_now,
    p_trigger_type => 'notification',
    p_triggers => array(
      -- In the trace of what they tell of.
      select
        jsonb_build_object(
          'type', 'notification', 'event', p_event, 'notification', (p_notification).id, 'url', (p_notification).url)
        || flowgres.trace_below(p_execution_id => e.id, p_trigger => e.trigger, p_span => flowgres.execution_span(e.id))
      from unnest(p_execution_ids) with ordinality as x (id, place)
      cross join lateral (
        select x.id, (
          select t.trigger from flowgres.executions as t where t.tenant_id = (p_notification).tenant_id and t.id = x.id) as trigger
      ) as e
      order by x.place),
    p_created_by => coalesce(p_created_by, 'notification:' || (p_notification).id),
    p_replayed_from => p_replayed_from,
    -- Children that nobody waits for: so they are found from what they tell of.
    p_parent_execution_ids => p_execution_ids);
  return v_ids;
end;
$$;
comment on function flowgres.start_deliveries is $$Start the deliveries of one notification; returns their ids

Set-based: executions told of, ids of messages (null: that of the delivery) and messages are parallel arrays.$$;

create or replace function flowgres.tell_of(p_tenant_ids uuid[], p_execution_ids uuid[], p_event text default null)
  returns integer language plpgsql
as $$
declare
  v_now timestamptz := flowgres.now();
  v_group record;
  v_count integer := 0;
begin
  for v_group in
    select n as notification, e.event, array_agg(e.id order by e.id) as ids, array_agg(e.message order by e.id) as messages
    from unnest(p_tenant_ids, p_execution_ids) as x (tenant_id, id)
    cross join lateral (
      select
        e.tenant_id, e.id, e.workflow_id, t.event, e.parent_queue_id is null as is_root,
        flowgres.notification_message(p_event => t.event, p_execution => e, p_workflow_name => w.name, p_now => v_now) as message
      from flowgres.executions as e
      join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
      cross join lateral (select coalesce(p_event, e.status) as event) as t
      where e.tenant_id = x.tenant_id and e.id = x.id
      offset 0
    ) as e
    join flowgres.notifications as n
      on n.tenant_id = e.tenant_id and n.disabled_at is null and e.event = any(n.events)
      -- A child is told of by its own workflow alone: its parent tells of the whole.
      and case when n.workflow_id is null then e.is_root else n.workflow_id = e.workflow_id end
    where not flowgres.is_hidden(x.id)
    group by n, e.event
  loop
    perform flowgres.start_deliveries(
      p_notification => v_group.notification, p_event => v_group.event, p_execution_ids => v_group.ids,
      p_message_ids => array_fill(null::uuid, array[cardinality(v_group.ids)]), p_messages => v_group.messages, p_now => v_now);
    v_count := v_count + cardinality(v_group.ids);
  end loop;
  if exists (select from unnest(p_execution_ids) as x (id) where flowgres.is_hidden(x.id)) then
    perform flowgres.judge_deliveries(p_tenant_ids => p_tenant_ids, p_execution_ids => p_execution_ids, p_now => v_now);
  end if;
  if v_count > 0 then
    perform flowgres.wake_runners();
  end if;
  return v_count;
end;
$$;
comment on function flowgres.tell_of(uuid[], uuid[], text) is $$Start the deliveries of what has become of these executions; returns how many

Whoever turns executions calls it, in the same transaction: p_event says how, null that they have ended. Deliveries among them are
told to nobody; their notifications are judged by them.$$;

create or replace function flowgres.judge_deliveries(p_tenant_ids uuid[], p_execution_ids uuid[], p_now timestamptz)
  returns void language plpgsql
as $$
declare
  c_most_failed constant integer := 10;
begin
  with ended as (
    select
      e.tenant_id, (e.trigger ->> 'notification')::uuid as notification_id, bool_or(e.status = 'completed') as is_heard,
      count(*) filter (where e.status = 'failed')::integer as failed_count,
      bool_or(e.status = 'failed' and e.error #>> '{details,status}' = '410') as is_gone,
      array_agg(e.status) as statuses
    from unnest(p_tenant_ids, p_execution_ids) as x (tenant_id, id)
    cross join lateral (
      select e.tenant_id, e.trigger, e.status, e.error
      from flowgres.executions as e where e.tenant_id = x.tenant_id and e.id = x.id
      offset 0
    ) as e
    where flowgres.is_hidden(x.id)
    group by 1, 2
  ),
  counted as (
    insert into flowgres.metric_counts (tenant_id, measure, status, total)
    select e.tenant_id, 'notification', s.status, count(*)
    from ended as e
    cross join unnest(e.statuses) as s (status)
    where s.status in ('completed', 'failed', 'cancelled')
    group by e.tenant_id, s.status
  ),
  judged as (
    select
      n.tenant_id, n.id, case when e.is_heard then 0 else n.failed_count + e.failed_count end as failed_count,
      case when e.is_gone and not e.is_heard then 'gone'
        when not e.is_heard and n.failed_count + e.failed_count >= c_most_failed then 'failing' end as reason
    from ended as e
    join flowgres.notifications as n on n.tenant_id = e.tenant_id and n.id = e.notification_id
    -- Mostly all is well and was before, and nothing is written.
    where n.disabled_at is null and (e.failed_count > 0 or n.failed_count > 0)
    for update of n skip locked
  )
  update flowgres.notifications as n
  set
    failed_count = j.failed_count, updated_at = p_now,
    disabled_at = case when j.reason is not null then p_now end, disabled_reason = j.reason
  from judged as j
  where n.tenant_id = j.tenant_id and n.id = j.id;
end;
$$;
comment on function flowgres.judge_deliveries(uuid[], uuid[], timestamptz) is $$What ended deliveries say of those who are told

One who answered 410 wants no more, and of whom ten deliveries in a row were given up is not there: they are disabled.$$;
