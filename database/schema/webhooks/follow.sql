-- Webhooks follow their workflow: what its active version says, there is; what it no longer says, is gone. Addresses stay.

set local role flowgres_owner;

insert into flowgres.settings (name, value, description) values
  ('max_webhooks', '1000', 'Webhooks of one tenant')
on conflict (tenant_id, name) do nothing;

create or replace function flowgres.list_webhook_triggers(p_definition jsonb)
  returns table (place smallint, path text, scheme text, secret_name text, input jsonb)
  language sql immutable rows 2 set search_path to pg_catalog, pg_temp
as $$
  select
    (t.place - 1)::smallint, t.value ->> 'path', coalesce(t.value ->> 'scheme', 'github'), t.value ->> 'secret', t.value -> 'input'
  from jsonb_array_elements(p_definition -> 'triggers') with ordinality as t (value, place)
  where t.value ->> 'type' = 'webhook'
    -- Versions of before could leave it open how they are signed. Nothing unsigned is taken that does not say so.
    and (t.value ? 'secret' or t.value ->> 'scheme' = 'none')
  order by t.place;
$$;
comment on function flowgres.list_webhook_triggers(jsonb) is $$The webhook triggers of a canonical definition, with their defaults.$$;

create or replace function flowgres.make_webhook_token()
  returns text language sql volatile
as $$
  -- 244 random bits: what two random UUIDs have of them.
  select 'wh_' || rtrim(translate(encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64'), '+/', '-_'), '=');
$$;
comment on function flowgres.make_webhook_token() is $$A new random address.$$;

create or replace function flowgres.hash_webhook_token(p_token text)
  returns bytea language sql immutable parallel safe
as $$ select sha256(convert_to(p_token, 'UTF8')); $$;
comment on function flowgres.hash_webhook_token(text) is $$What a webhook is found by.$$;

create or replace function flowgres.match_webhooks(p_workflow flowgres.workflows, p_definition jsonb)
  returns table (webhook_id uuid, place smallint, path text, scheme text, secret_name text, input jsonb)
  language sql stable rows 2 set search_path to pg_catalog, pg_temp
as $$
  with wanted as (select t.* from flowgres.list_webhook_triggers(p_definition) as t),
  found as (
    select w.* from flowgres.webhooks as w
    where w.tenant_id = (p_workflow).tenant_id and w.workflow_id = (p_workflow).id
  ),
  same as (select w.place, f.id from wanted as w join found as f on f.path = w.path)
  select coalesce(s.id, f.id), w.place, w.path, w.scheme, w.secret_name, w.input
  from wanted as w
  left join same as s on s.place = w.place
  -- Where none has that path, one in the same place has been changed.
  left join found as f on f.place = w.place and s.id is null and not exists (select from same as o where o.id = f.id)
  order by w.place;
$$;
comment on function flowgres.match_webhooks(flowgres.workflows, jsonb) is $$Which webhook each webhook trigger of a definition is, null for new ones

That of the same path, wherever it stands now, else that of the same place.$$;

create or replace function flowgres.follow_webhooks(p_workflow flowgres.workflows)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
  v_definition jsonb;
  v_has_any boolean;
  v_token text;
  v_trigger record;
begin
  if (p_workflow).active_version is not null and (p_workflow).deleted_at is null then
    select v.definition into v_definition
    from flowgres.workflow_versions as v
    where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id and v.version = (p_workflow).active_version;
  end if;
  -- Whoever takes a delivery reads them and locks none: it sees them as they were before this commits, or after.
  perform from flowgres.webhooks as w
  where w.tenant_id = (p_workflow).tenant_id and w.workflow_id = (p_workflow).id
  order by w.id
  for update;
  v_has_any := found;
  if not v_has_any and not coalesce(v_definition @? '$.triggers[*] ? (@.type == "webhook")', false) then
    return;
  end if;
  delete from flowgres.webhooks as w
  where w.tenant_id = (p_workflow).tenant_id and w.workflow_id = (p_workflow).id
    and w.id not in (
      select m.webhook_id from flowgres.match_webhooks(p_workflow, v_definition) as m where m.webhook_id is not null);
  for v_trigger in select * from flowgres.match_webhooks(p_workflow, v_definition) loop
    v_token := flowgres.make_webhook_token();
    insert into flowgres.webhooks as w (
      tenant_id, id, workflow_id, place, path, token, token_hash, scheme, defined_secret_name, secret_name, input, created_at, updated_at)
    values (
      (p_workflow).tenant_id, coalesce(v_trigger.webhook_id, flowgres.uuid_v7(v_now)), (p_workflow).id, v_trigger.place,
      -- Taken since the version was asked for: it has its own address all the same.
      case when not exists (
        select from flowgres.webhooks as o
        where o.tenant_id = (p_workflow).tenant_id and o.path = v_trigger.path and o.workflow_id <> (p_workflow).id
      ) then v_trigger.path end,
      v_token, flowgres.hash_webhook_token(v_token), v_trigger.scheme, v_trigger.secret_name,
      case when v_trigger.scheme <> 'none' then v_trigger.secret_name end, v_trigger.input, v_now, v_now)
    on conflict (tenant_id, id) do update
    set
      place = excluded.place, path = excluded.path, scheme = excluded.scheme, input = excluded.input, updated_at = excluded.updated_at,
      defined_secret_name = excluded.defined_secret_name,
      -- A rotation stays until the definition names another secret, or another way to sign.
      secret_name = case when (w.defined_secret_name, w.scheme) is not distinct from (excluded.defined_secret_name, excluded.scheme)
        then w.secret_name else excluded.secret_name end,
      previous_secret_name = case when (w.defined_secret_name, w.scheme) is not distinct from (excluded.defined_secret_name, excluded.scheme)
        then w.previous_secret_name end,
      previous_until = case when (w.defined_secret_name, w.scheme) is not distinct from (excluded.defined_secret_name, excluded.scheme)
        then w.previous_until end;
  end loop;
end;
$$;
comment on function flowgres.follow_webhooks(flowgres.workflows) is $$Make the webhooks of a workflow what its active version says

Addresses stay for as long as the workflow has that webhook, also while it is inactive or archived. The caller holds the lock of
the workflow.$$;

create or replace function flowgres.check_webhook_count(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_added integer;
  v_taken record;
begin
  select count(*) into v_added from flowgres.list_webhook_triggers((p_version).definition);
  if v_added = 0 then
    return;
  end if;
  select t.path, o.name into v_taken
  from flowgres.list_webhook_triggers((p_version).definition) as t
  join flowgres.webhooks as w on w.tenant_id = (p_version).tenant_id and w.path = t.path and w.workflow_id <> (p_workflow).id
  join flowgres.workflows as o on o.tenant_id = w.tenant_id and o.id = w.workflow_id
  order by t.place
  limit 1;
  if v_taken.path is not null then
    perform flowgres.fail(
      p_status => 409, p_code => 'webhook_path_taken',
      p_message => format('the path "%s" belongs to a webhook of workflow "%s"', v_taken.path, v_taken.name),
      p_hint => 'Choose another path, or none: each webhook has an address of its own anyway.');
  end if;
  perform flowgres.check_room(
    p_tenant_id => (p_version).tenant_id, p_things => 'webhooks', p_remedy => 'Delete workflows that are not needed',
    p_added => v_added, p_count => (
      select count(*) from flowgres.webhooks as w where w.tenant_id = (p_version).tenant_id and w.workflow_id <> (p_workflow).id));
end;
$$;
comment on function flowgres.check_webhook_count(flowgres.workflows, flowgres.workflow_versions) is $$Refuse a version whose paths are taken, or with which its tenant would have too many webhooks.$$;
