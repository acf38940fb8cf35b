-- What people do with notifications: set, delete, send once more.

set local role flowgres_owner;

create or replace function flowgres.notification_name(p_name text, p_workflow_name text, p_place smallint)
  returns text language sql immutable parallel safe
as $$
  select coalesce(p_name, p_workflow_name || '.' || (p_place + 1));
$$;
comment on function flowgres.notification_name(text, text, smallint) is $$What a notification is called: its name, or that of its workflow with its place in the definition, from 1.$$;

create or replace function flowgres.describe_notification(p_notification flowgres.notifications)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', (p_notification).id,
    'name', flowgres.notification_name(
      p_name => (p_notification).name, p_workflow_name => w.name, p_place => (p_notification).place),
    'workflow_name', w.name,
    'url', (p_notification).url,
    'secret', (p_notification).secret_name,
    'events', to_jsonb((p_notification).events),
    'status', case when (p_notification).disabled_at is null then 'active' else 'disabled' end)
  from (select) as one
  left join flowgres.workflows as w
    on w.tenant_id = (p_notification).tenant_id and w.id = (p_notification).workflow_id;
$$;
comment on function flowgres.describe_notification(flowgres.notifications) is $$A notification as the functions answer with it.$$;

create or replace function flowgres.describe_notifications(p_workflow flowgres.workflows)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(flowgres.describe_notification(n) order by n.place), '[]')
  from flowgres.notifications as n
  where n.tenant_id = (p_workflow).tenant_id and n.workflow_id = (p_workflow).id and n.place is not null;
$$;
comment on function flowgres.describe_notifications(flowgres.workflows) is $$The notifications that the definition of a workflow names, in their order.$$;

create or replace function flowgres.check_notification(p_tenant_id uuid, p_notification jsonb)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_schema jsonb := flowgres.definition_schema();
  v_errors jsonb;
begin
  -- What a definition may say of one, and in no other words.
  v_errors := to_jsonb(flowgres.check_value('', p_notification, v_schema #> '{$defs,notification}', v_schema));
  if v_errors <> '[]' then
    perform flowgres.fail(
      p_status => 422, p_code => 'notification_invalid', p_message => flowgres.name_problems(v_errors), p_details => v_errors::text,
      p_hint => 'The details list every error with its path.');
  elsif not exists (
    select from flowgres.secrets as s where s.tenant_id = p_tenant_id and s.name = p_notification ->> 'secret')
  then
    perform flowgres.fail(
      p_status => 422, p_code => 'secret_not_found', p_message => format('the secret "%s" is not stored', p_notification ->> 'secret'),
      p_details => 'secret', p_hint => format('Store it: flowgres secrets set %s', p_notification ->> 'secret'));
  end if;
  return p_notification;
end;
$$;
comment on function flowgres.check_notification(uuid, jsonb) is $$Refuse a notification that a definition could not have, or whose secret is not stored.$$;

set local role flowgres_definer;

create or replace function flowgres.set_notification(p_name text, p_url text, p_secret text, p_events jsonb, p_workflow text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_workflow flowgres.workflows;
  v_given jsonb;
  v_events text[];
  v_notification flowgres.notifications;
  v_version_id uuid;
begin
  if p_name is null or p_name !~ '^[a-z][a-z0-9_-]{0,62}$' then
    perform flowgres.fail(
      p_status => 422, p_code => 'argument_invalid', p_message => format('%L is no name for a notification', left(p_name, 100)),
      p_details => 'name', p_hint => 'A lower-case letter, then letters, digits, _ and -, 63 at most.');
  end if;
  v_given := flowgres.check_notification(
    p_tenant_id => v_tenant_id, p_notification => jsonb_strip_nulls(jsonb_build_object(
      'url', p_url, 'secret', p_secret, 'events', p_events)));
  v_events := flowgres.notification_events(v_given);
  if p_workflow is not null then
    v_workflow := flowgres.find_workflow(p_tenant_id => v_tenant_id, p_workflow => p_workflow);
  end if;
  -- The lock of the deliveries' workflow: two new ones count each other.
  v_version_id := flowgres.notification_version(p_tenant_id => v_tenant_id, p_url => p_url, p_secret_name => p_secret);
  if not exists (select from flowgres.notifications as n where n.tenant_id = v_tenant_id and n.name = p_name) then
    perform flowgres.check_room(
      p_tenant_id => v_tenant_id, p_things => 'notifications', p_remedy => 'Delete those that are not needed',
      p_added => 1,
      p_count => (select count(*) from flowgres.notifications as n where n.tenant_id = v_tenant_id));
  end if;
  insert into flowgres.notifications as n (
    tenant_id, id, name, workflow_id, version_id, url, secret_name, events, created_by, created_at, updated_at)
  values (
    v_tenant_id, flowgres.uuid_v7(v_now), p_name, v_workflow.id, v_version_id, p_url, p_secret, v_events, flowgres.actor(), v_now, v_now)
  on conflict (tenant_id, name) do update
  set
    workflow_id = excluded.workflow_id, version_id = excluded.version_id, url = excluded.url, secret_name = excluded.secret_name,
    events = excluded.events, failed_count = 0, disabled_at = null, disabled_reason = null, updated_at = v_now
  returning n.* into v_notification;
  perform flowgres.record_audit(
    p_action => 'notification_set', p_subject => p_name,
    p_details => jsonb_build_object('url', p_url, 'events', to_jsonb(v_events), 'workflow_id', v_workflow.id));
  return flowgres.describe_notification(v_notification);
end;
$$;
comment on function flowgres.set_notification(text, text, text, jsonb, text) is $$Make a notification, or make it what it is now to be; one that was disabled is sent again.$$;

create or replace function flowgres.delete_notification(p_name text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_id uuid;
begin
  select n.id into v_id
  from flowgres.notifications as n where n.tenant_id = v_tenant_id and n.name = p_name
  for update;
  if v_id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'notification_not_found', p_message => format('notification "%s" does not exist', left(p_name, 100)),
      p_hint => 'List /notifications. What stands in a definition goes with a version that does not name it.');
  end if;
  perform flowgres.remove_notifications(
    p_tenant_id => v_tenant_id, p_ids => array[v_id], p_reason => 'the notification was deleted');
  perform flowgres.record_audit(p_action => 'notification_deleted', p_subject => p_name, p_details => '{}');
  return jsonb_build_object('name', p_name, 'deleted', true);
end;
$$;
comment on function flowgres.delete_notification(text) is $$Delete a notification by its name; deliveries that have not ended are cancelled.$$;

create or replace function flowgres.redeliver_notification(p_delivery_id uuid)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_delivery flowgres.executions;
  v_notification flowgres.notifications;
  v_ids uuid[];
begin
  if flowgres.is_hidden(p_delivery_id) then
    select e.* into v_delivery
    from flowgres.executions as e
    where e.tenant_id = v_tenant_id and e.id = p_delivery_id and e.trigger_type = 'notification';
  end if;
  if v_delivery.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'delivery_not_found', p_message => format('delivery %s does not exist', p_delivery_id),
      p_hint => 'List /notification_deliveries.');
  elsif v_delivery.finished_at is null then
    perform flowgres.fail(
      p_status => 409, p_code => 'delivery_not_ended', p_message => format('delivery %s is under way', p_delivery_id),
      p_hint => 'It is tried again by itself until it is heard or given up.');
  end if;
  select n.* into v_notification
  from flowgres.notifications as n
  where n.tenant_id = v_tenant_id and n.id = (v_delivery.trigger ->> 'notification')::uuid;
  if v_notification.id is null then
    perform flowgres.fail(
      p_status => 409, p_code => 'notification_deleted', p_message => 'the notification of this delivery was deleted',
      p_hint => 'List /notifications.');
  end if;
  perform flowgres.check_tenant_may_start(v_tenant_id);
  v_ids := flowgres.start_deliveries(
    p_notification => v_notification, p_event => v_delivery.trigger ->> 'event',
    p_execution_ids => array[v_delivery.parent_execution_id], p_message_ids => array[(v_delivery.input ->> 'id')::uuid],
    p_messages => array[v_delivery.input -> 'message'], p_now => flowgres.now(), p_replayed_from => v_delivery.id,
    p_created_by => flowgres.actor());
  perform flowgres.wake_runners();
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', '201', true);
  end if;
  return jsonb_build_object('delivery_id', v_ids[1], 'message_id', v_delivery.input -> 'id', 'redelivers', v_delivery.id);
end;
$$;
comment on function flowgres.redeliver_notification(uuid) is $$Send the message of an ended delivery once more, under the same id, to where its notification sends now.$$;
