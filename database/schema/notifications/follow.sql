-- Notifications of a workflow follow it: what its active version says, there is; what it no longer says, is gone.

set local role flowgres_owner;

insert into flowgres.settings (name, value, description) values
  ('max_notifications', '100', 'Notifications of one tenant')
on conflict (tenant_id, name) do nothing;

create or replace function flowgres.notification_events(p_notification jsonb)
  returns text[] language sql immutable parallel safe
as $$
  select array(select e.value from jsonb_array_elements_text(coalesce(p_notification -> 'events', '["completed", "failed"]')) as e (value));
$$;
comment on function flowgres.notification_events(jsonb) is $$What a notification tells of, in canonical form: completed and failed unless it says.$$;

create or replace function flowgres.list_notifications(p_definition jsonb)
  returns table (place smallint, url text, secret_name text, events text[]) rows 10
  language sql immutable parallel safe
as $$
  select
    (n.place - 1)::smallint, n.value ->> 'url', n.value ->> 'secret',
    flowgres.notification_events(n.value)
  from jsonb_array_elements(p_definition #> '{settings,notify}') with ordinality as n (value, place)
  order by n.place;
$$;
comment on function flowgres.list_notifications(jsonb) is $$The notifications of a canonical definition, with their defaults.$$;

create or replace function flowgres.check_notification_secrets(p_tenant_id uuid, p_definition jsonb)
  returns jsonb[] language sql stable set search_path to pg_catalog, pg_temp
as $$
  select array(
    select flowgres.problem(
      p_path => format('settings.notify[%s].secret', n.place), p_code => 'secret_not_found',
      p_message => format('the secret "%s" is not stored yet', n.secret_name), p_hint => format('PUT /secrets/%s', n.secret_name))
    from flowgres.list_notifications(p_definition) as n
    where not exists (select from flowgres.secrets as s where s.tenant_id = p_tenant_id and s.name = n.secret_name)
    order by n.place);
$$;
comment on function flowgres.check_notification_secrets(uuid, jsonb) is $$Warnings of notifications whose secrets are not stored yet.$$;

create or replace function flowgres.follow_notifications(p_workflow flowgres.workflows)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_definition jsonb;
  v_found uuid[];
  v_wanted record;
  v_gone uuid[];
begin
  if (p_workflow).active_version is not null and (p_workflow).status <> 'archived' and (p_workflow).deleted_at is null then
    select v.definition into v_definition
    from flowgres.workflow_versions as v
    where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id and v.version = (p_workflow).active_version;
  end if;
  v_found := array(
    select n.id from flowgres.notifications as n
    where n.tenant_id = (p_workflow).tenant_id and n.workflow_id = (p_workflow).id and n.place is not null
    order by n.id
    for update);
  if v_found = '{}' and not coalesce(v_definition #> '{settings,notify}' is not null, false) then
    return;
  end if;
  for v_wanted in select * from flowgres.list_notifications(v_definition) loop
    insert into flowgres.notifications as n (
      tenant_id, id, workflow_id, place, version_id, url, secret_name, events, created_by, created_at, updated_at)
    values (
      (p_workflow).tenant_id, flowgres.uuid_v7(v_now), (p_workflow).id, v_wanted.place,
      flowgres.notification_version(
        p_tenant_id => (p_workflow).tenant_id, p_url => v_wanted.url, p_secret_name => v_wanted.secret_name),
      v_wanted.url, v_wanted.secret_name, v_wanted.events, flowgres.actor(), v_now, v_now)
    on conflict (tenant_id, workflow_id, place) do update
    set
      version_id = excluded.version_id, url = excluded.url, secret_name = excluded.secret_name, events = excluded.events,
      -- Whoever activates a version means what stands in it.
      failed_count = 0, disabled_at = null, disabled_reason = null, updated_at = v_now;
  end loop;
  v_gone := array(
    select n.id from flowgres.notifications as n
    where n.tenant_id = (p_workflow).tenant_id and n.workflow_id = (p_workflow).id and n.place is not null
      and n.place >= coalesce(jsonb_array_length(v_definition #> '{settings,notify}'), 0));
  perform flowgres.remove_notifications(p_tenant_id => (p_workflow).tenant_id, p_ids => v_gone, p_reason => 'its workflow names it no more');
end;
$$;
comment on function flowgres.follow_notifications(flowgres.workflows) is $$Make the notifications of a workflow what its active version says

The caller holds the lock of the workflow.$$;

create or replace function flowgres.remove_notifications(p_tenant_id uuid, p_ids uuid[], p_reason text)
  returns void language plpgsql
as $$
begin
  if p_ids = '{}' then
    return;
  end if;
  delete from flowgres.notifications as n where n.tenant_id = p_tenant_id and n.id = any(p_ids);
  -- Noted and not cancelled here: they may be very many, and a runner may be sending them.
  insert into flowgres.cancellations (tenant_id, execution_id, requested_at, reason)
  select e.tenant_id, e.id, flowgres.now(), p_reason
  from flowgres.executions as e
  where e.tenant_id = p_tenant_id and e.workflow_id = flowgres.hidden_id(p_tenant_id) and e.finished_at is null
    and (e.trigger ->> 'notification')::uuid = any(p_ids);
end;
$$;
comment on function flowgres.remove_notifications(uuid, uuid[], text) is $$Delete notifications, and let the deliveries that have not ended be cancelled.$$;

create or replace function flowgres.check_notification_count(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_added integer := (select count(*) from flowgres.list_notifications((p_version).definition));
begin
  if v_added > 0 then
    perform flowgres.check_room(
      p_tenant_id => (p_version).tenant_id, p_things => 'notifications', p_remedy => 'Delete those that are not needed',
      p_added => v_added, p_count => (
        select count(*) from flowgres.notifications as n
        where n.tenant_id = (p_version).tenant_id and (n.place is null or n.workflow_id <> (p_workflow).id)));
  end if;
end;
$$;
comment on function flowgres.check_notification_count(flowgres.workflows, flowgres.workflow_versions) is $$Refuse a version with which its tenant would have too many notifications.$$;
