-- What people do with webhooks: see them, rotate their secrets and addresses, deliver once more.

set local role flowgres_owner;

create or replace function flowgres.find_webhook_named(p_tenant_id uuid, p_webhook text)
  returns flowgres.webhooks language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_found flowgres.webhooks[];
begin
  if p_webhook ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then
    v_found := array(select h from flowgres.webhooks as h where h.tenant_id = p_tenant_id and h.id = p_webhook::uuid);
  else
    v_found := array(
      select h
      from flowgres.workflows as w
      join flowgres.webhooks as h on h.tenant_id = w.tenant_id and h.workflow_id = w.id
      where w.tenant_id = p_tenant_id and w.name = p_webhook and w.deleted_at is null
      order by h.place);
  end if;
  if cardinality(v_found) > 1 then
    perform flowgres.fail(
      p_status => 409, p_code => 'webhook_ambiguous',
      p_message => format('workflow "%s" has %s webhooks', left(p_webhook, 100), cardinality(v_found)),
      p_details => (
        select string_agg(concat_ws(' ', f.id::text, f.scheme, f.path), '; ' order by f.place) from unnest(v_found) as f),
      p_hint => 'Name one by its id: list /webhooks.');
  elsif cardinality(v_found) = 0 then
    perform flowgres.fail(
      p_status => 404, p_code => 'webhook_not_found', p_message => format('webhook "%s" does not exist', left(p_webhook, 100)),
      p_hint => 'Name it by its id, or by its workflow: list /webhooks.');
  end if;
  return v_found[1];
end;
$$;
comment on function flowgres.find_webhook_named(uuid, text) is $$The webhook with this id, or the only one of the workflow with this name; refuses when there is none.$$;

create or replace function flowgres.named_webhook_path(p_tenant_id uuid, p_path text)
  returns text language sql stable
as $$
  select '/webhooks/' || t.slug || '/' || p_path from flowgres.tenants as t where t.tenant_id = p_tenant_id;
$$;
comment on function flowgres.named_webhook_path(uuid, text) is $$The address of a webhook below that of its tenant; null without a path of its own.$$;

create or replace function flowgres.describe_webhook(p_webhook flowgres.webhooks)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', (p_webhook).id,
    'workflow_id', (p_webhook).workflow_id,
    'workflow_name', w.name,
    'path', '/webhooks/' || (p_webhook).token,
    'named_path', flowgres.named_webhook_path(p_tenant_id => (p_webhook).tenant_id, p_path => (p_webhook).path),
    'scheme', (p_webhook).scheme,
    'secret_name', (p_webhook).secret_name,
    'previous_secret_name', (p_webhook).previous_secret_name,
    'previous_until', (p_webhook).previous_until,
    'is_active', w.status = 'active')
  from flowgres.workflows as w
  where w.tenant_id = (p_webhook).tenant_id and w.id = (p_webhook).workflow_id;
$$;
comment on function flowgres.describe_webhook(flowgres.webhooks) is $$A webhook as the functions answer with it, its address included.$$;

create or replace function flowgres.describe_webhooks(p_workflow flowgres.workflows)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(jsonb_agg(flowgres.describe_webhook(h) order by h.place), '[]')
  from flowgres.webhooks as h
  where h.tenant_id = (p_workflow).tenant_id and h.workflow_id = (p_workflow).id;
$$;
comment on function flowgres.describe_webhooks(flowgres.workflows) is $$The webhooks of a workflow, in the order of its triggers.$$;

create or replace function flowgres.show_webhook_path(p_webhook_id uuid)
  returns text language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  -- A call that is not made needs no right.
  if pg_catalog.has_function_privilege('flowgres.webhook_path(uuid)', 'execute') then
    return flowgres.webhook_path(p_webhook_id);
  end if;
  return null;
end;
$$;
comment on function flowgres.show_webhook_path(uuid) is $$The address of a webhook, for those who may start its workflow; null for others.$$;

set local role flowgres_definer;

create or replace function flowgres.webhook_path(p_webhook_id uuid)
  returns text language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return (
    select '/webhooks/' || h.token from flowgres.webhooks as h
    where h.tenant_id = flowgres.tenant_id() and h.id = p_webhook_id);
end;
$$;
comment on function flowgres.webhook_path(uuid) is $$The address of a webhook of the caller's tenant.$$;

create or replace function flowgres.rotate_webhook(
  p_webhook text, p_secret text, p_keep_previous_seconds integer, p_new_address boolean
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_webhook flowgres.webhooks := flowgres.find_webhook_named(p_tenant_id => v_tenant_id, p_webhook => p_webhook);
  v_token text := flowgres.make_webhook_token();
  v_now timestamptz;
begin
  if p_secret is null and not coalesce(p_new_address, false) then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'a rotation is of the secret or of the address', p_details => 'secret',
      p_hint => 'Give secret, the name of another stored secret, or new_address: true.');
  elsif p_keep_previous_seconds not between 0 and 2592000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'keep_previous_seconds must be 0 to 2592000, which is 30 days',
      p_details => 'keep_previous_seconds');
  end if;
  -- First the workflow, as whoever changes its versions and with them its webhooks does.
  perform flowgres.find_workflow_locked(p_tenant_id => v_tenant_id, p_workflow => v_webhook.workflow_id::text);
  v_webhook := flowgres.find_webhook_named(p_tenant_id => v_tenant_id, p_webhook => v_webhook.id::text);
  if p_secret is not null then
    if v_webhook.scheme = 'none' then
      perform flowgres.fail(
        p_status => 409, p_code => 'webhook_unsigned', p_message => 'this webhook checks no secret: its scheme is none',
        p_hint => 'Give its trigger a scheme and a secret.');
    elsif not exists (select from flowgres.secrets as s where s.tenant_id = v_tenant_id and s.name = p_secret) then
      perform flowgres.fail(
        p_status => 404, p_code => 'secret_not_found', p_message => format('secret %L does not exist', left(p_secret, 100)),
        p_hint => format('Store it first: PUT /secrets/%s', left(p_secret, 63)));
    elsif p_secret = v_webhook.secret_name then
      perform flowgres.fail(
        p_status => 409, p_code => 'secret_unchanged', p_message => format('the webhook uses the secret "%s" already', p_secret),
        p_hint => 'Store the new one under another name, so that the old one stays good for a while.');
    end if;
  end if;
  v_now := flowgres.now();
  update flowgres.webhooks as h
  set
    secret_name = coalesce(p_secret, h.secret_name),
    previous_secret_name = case
      when p_secret is null then h.previous_secret_name when p_keep_previous_seconds > 0 then h.secret_name end,
    previous_until = case
      when p_secret is null then h.previous_until
      when p_keep_previous_seconds > 0 then v_now + make_interval(secs => p_keep_previous_seconds) end,
    token = case when p_new_address then v_token else h.token end,
    token_hash = case when p_new_address then flowgres.hash_webhook_token(v_token) else h.token_hash end,
    updated_at = v_now
  where h.tenant_id = v_tenant_id and h.id = v_webhook.id
  returning h.* into v_webhook;
  perform flowgres.record_audit(
    p_action => 'webhook_rotated', p_subject => v_webhook.id::text,
    p_details => jsonb_strip_nulls(jsonb_build_object(
      'workflow_id', v_webhook.workflow_id, 'secret_name', v_webhook.secret_name, 'previous_secret_name', v_webhook.previous_secret_name,
      'previous_until', v_webhook.previous_until, 'new_address', coalesce(p_new_address, false))));
  return flowgres.describe_webhook(v_webhook);
end;
$$;
comment on function flowgres.rotate_webhook(text, text, integer, boolean) is $$Let a webhook check deliveries with another secret, or give it another address

The secret of before is good for p_keep_previous_seconds as well; an address of before is gone at once.$$;

create or replace function flowgres.redeliver_webhook(p_delivery uuid)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_delivery flowgres.webhook_deliveries;
  v_webhook flowgres.webhooks;
  v_version flowgres.workflow_versions;
  v_trigger jsonb;
  v_id uuid := flowgres.uuid_v7(v_now);
  v_delivery_id uuid := flowgres.uuid_v7(v_now);
begin
  select d.* into v_delivery from flowgres.webhook_deliveries as d where d.tenant_id = v_tenant_id and d.id = p_delivery;
  if v_delivery.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'delivery_not_found', p_message => format('delivery "%s" does not exist', p_delivery),
      p_hint => 'List /webhook_deliveries; they are kept for delivery_retention_days.');
  elsif v_delivery.outcome = 'rejected' then
    perform flowgres.fail(
      p_status => 409, p_code => 'delivery_not_authentic', p_message => 'what was rejected is not kept, and starts nothing',
      p_hint => 'Put its secret right, and have the sender deliver it again.');
  end if;
  v_trigger := coalesce(v_delivery.trigger, (
    select e.trigger from flowgres.executions as e where e.tenant_id = v_tenant_id and e.id = v_delivery.execution_id));
  select h.* into v_webhook from flowgres.webhooks as h where h.tenant_id = v_tenant_id and h.id = v_delivery.webhook_id;
  if v_trigger is null then
    perform flowgres.fail(
      p_status => 410, p_code => 'delivery_gone', p_message => 'what this delivery brought is not kept any more',
      p_hint => 'Have the sender deliver it again.');
  elsif v_webhook.id is null then
    perform flowgres.fail(
      p_status => 409, p_code => 'webhook_gone', p_message => 'the webhook of this delivery does not exist any more',
      p_hint => 'Start the workflow with start_execution.');
  end if;
  v_id := flowgres.start_delivery(
    p_id => v_id, p_webhook => v_webhook, p_version => v_version, p_now => v_now,
    p_trigger => v_trigger || jsonb_build_object('delivery', v_delivery_id, 'redelivery_of', v_delivery.id));
  insert into flowgres.webhook_deliveries (
    tenant_id, id, webhook_id, received_at, outcome, http_status, key, execution_id, redelivery_of, content_type, byte_count)
  values (
    v_tenant_id, v_delivery_id, v_webhook.id, v_now, 'accepted', 202, v_delivery.key, v_id, v_delivery.id, v_delivery.content_type,
    v_delivery.byte_count);
  perform flowgres.count_deliveries(p_tenant_id => v_tenant_id, p_outcome => 'accepted', p_reason => null, p_count => 1);
  perform flowgres.record_audit(
    p_action => 'webhook_redelivered', p_subject => v_delivery.id::text,
    p_details => jsonb_build_object('webhook_id', v_webhook.id, 'execution_id', v_id));
  if nullif(current_setting('request.method', true), '') is not null then
    perform set_config('response.status', '201', true);
  end if;
  return jsonb_build_object('execution_id', v_id, 'status', 'queued', 'created', true, 'delivery_id', v_delivery_id);
end;
$$;
comment on function flowgres.redeliver_webhook(uuid) is $$Start what a delivery started, or would have, once more: by the version that is active now

Only of what was authentic. Its key is not asked: a person said so.$$;
