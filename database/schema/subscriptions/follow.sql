-- Subscriptions follow their workflow: what its active version says, there is; what it no longer says, is gone.

set local role flowgres_owner;

insert into flowgres.settings (name, value, description) values
  ('max_subscriptions', '1000', 'Event and table triggers of one tenant'),
  ('max_event_subscribers', '100', 'Event triggers of one tenant with the same name, and table triggers of one table'),
  ('max_event_hops', '8', 'Executions in a row, each started by an event or change that came from the one before')
on conflict (tenant_id, name) do nothing;

create or replace function flowgres.list_subscriptions(p_definition jsonb)
  returns table (place smallint, kind text, name text, changes text[], filter jsonpath, input jsonb)
  language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select
    (t.place - 1)::smallint, t.value ->> 'type', coalesce(t.value ->> 'name', t.value ->> 'table'),
    case t.value ->> 'type' when 'table' then array(select jsonb_array_elements_text(t.value -> 'events')) end,
    (t.value ->> 'when')::jsonpath, t.value -> 'input'
  from jsonb_array_elements(p_definition -> 'triggers') with ordinality as t (value, place)
  where t.value ->> 'type' in ('event', 'table')
  order by t.place;
$$;
comment on function flowgres.list_subscriptions(jsonb) is $$The event and table triggers of a canonical definition.$$;

create or replace function flowgres.follow_subscriptions(p_workflow flowgres.workflows)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_definition jsonb;
begin
  if (p_workflow).active_version is not null and (p_workflow).status <> 'archived' and (p_workflow).deleted_at is null then
    select v.definition into v_definition
    from flowgres.workflow_versions as v
    where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id and v.version = (p_workflow).active_version;
  end if;
  -- Who is told of something reads these without a lock: what it does and what happens here are one before the other.
  delete from flowgres.subscriptions as s
  where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id
    and (s.kind, s.name, s.place) not in (select l.kind, l.name, l.place from flowgres.list_subscriptions(v_definition) as l);
  update flowgres.subscriptions as s
  set
    changes = l.changes, filter = l.filter, input = l.input, is_active = (p_workflow).status = 'active', last_error = null,
    updated_at = v_now
  from flowgres.list_subscriptions(v_definition) as l
  where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id and s.place = l.place
    and (s.changes, s.filter::text, s.input, s.is_active)
      is distinct from (l.changes, l.filter::text, l.input, (p_workflow).status = 'active');
  insert into flowgres.subscriptions (
    tenant_id, id, workflow_id, place, kind, name, changes, filter, input, is_active, created_at, updated_at)
  select
    (p_workflow).tenant_id, flowgres.uuid_v7(v_now), (p_workflow).id, l.place, l.kind, l.name, l.changes, l.filter, l.input,
    (p_workflow).status = 'active', v_now, v_now
  from flowgres.list_subscriptions(v_definition) as l
  where not exists (
    select from flowgres.subscriptions as s
    where s.tenant_id = (p_workflow).tenant_id and s.workflow_id = (p_workflow).id and s.place = l.place);
end;
$$;
comment on function flowgres.follow_subscriptions(flowgres.workflows) is $$Make the subscriptions of a workflow what its active version says

The caller holds the lock of the workflow.$$;

create or replace function flowgres.check_subscription_count(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_most_alike integer := (flowgres.setting((p_version).tenant_id, 'max_event_subscribers'))::integer;
  v_added integer := (select count(*) from flowgres.list_subscriptions((p_version).definition));
  v_crowded record;
begin
  if v_added = 0 then
    return;
  end if;
  perform flowgres.check_room(
    p_tenant_id => (p_version).tenant_id, p_things => 'subscriptions', p_remedy => 'Archive workflows that are not needed',
    p_added => v_added, p_count => (
      select count(*) from flowgres.subscriptions as s
      where s.tenant_id = (p_version).tenant_id and s.workflow_id <> (p_workflow).id));
  select l.kind, l.name, l.added + count(s.id) as count into v_crowded
  from (
    select i.kind, i.name, count(*) as added from flowgres.list_subscriptions((p_version).definition) as i group by i.kind, i.name
  ) as l
  left join flowgres.subscriptions as s
    on s.tenant_id = (p_version).tenant_id and s.name = l.name and s.kind = l.kind and s.workflow_id <> (p_workflow).id
  group by l.kind, l.name, l.added
  having l.added + count(s.id) > v_most_alike
  order by l.name
  limit 1;
  if found then
    perform flowgres.fail(
      p_status => 409, p_code => 'too_many_subscribers',
      p_message => format(
        '%s triggers for the %s "%s" are more than the %s of one', v_crowded.count, v_crowded.kind, v_crowded.name, v_most_alike),
      p_hint => 'Let one workflow start the others, or ask an operator to raise max_event_subscribers.');
  end if;
end;
$$;
comment on function flowgres.check_subscription_count(flowgres.workflows, flowgres.workflow_versions)
is $$Refuse a version with which its tenant, or one event or table, would have too many subscriptions.$$;
