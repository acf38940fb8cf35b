-- Importing a definition: find or make the workflow, find or make the version, activate it.

set local role flowgres_owner;

create or replace function flowgres.fail_definition(p_errors jsonb)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.fail(
    p_status => 422,
    -- The one mistake that another door repairs has its own code: the front stores such a secret.
    p_code => case when p_errors @? '$[*] ? (@.code == "inline_secret")' then 'inline_secret' else 'definition_invalid' end,
    p_message => format(
      'the definition has %s %s: %s', jsonb_array_length(p_errors),
      case jsonb_array_length(p_errors) when 1 then 'error' else 'errors' end,
      flowgres.name_problems(p_errors)),
    p_details => p_errors::text,
    p_hint => 'The details list every error with its path.');
end;
$$;
comment on function flowgres.fail_definition(jsonb) is $$Refuse a definition with everything that is wrong with it.$$;

create or replace function flowgres.lock_workflow(p_tenant_id uuid, p_name text, p_kind text)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
  v_now timestamptz := flowgres.now();
begin
  -- Two imports of a new name meet here: the second waits for the first one's commit, then finds its row.
  insert into flowgres.workflows (tenant_id, id, name, kind, created_by, created_at, updated_at)
  values (p_tenant_id, flowgres.uuid_v7(v_now), p_name, p_kind, flowgres.actor(), v_now, v_now)
  on conflict (tenant_id, name) where deleted_at is null do nothing;
  select w.* into strict v_workflow
  from flowgres.workflows as w
  where w.tenant_id = p_tenant_id and w.name = p_name and w.deleted_at is null
  for no key update;
  return v_workflow;
end;
$$;
comment on function flowgres.lock_workflow(uuid, text, text) is $$The workflow of a name, made if needed, locked until the end of the transaction

Its lock serialises everything that changes a workflow or its versions.$$;

create or replace function flowgres.check_title(p_workflow flowgres.workflows, p_definition jsonb, p_given_name text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_latest flowgres.workflow_versions;
begin
  select v.* into v_latest
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id and v.version = (p_workflow).latest_version;
  -- "Report" and "report" are one identifier. Whoever has given only one of the two means another workflow.
  if v_latest.id is not null
    and v_latest.definition ->> 'title' is distinct from p_definition ->> 'title'
    and (
      p_given_name <> p_definition ->> 'name'
      or (not p_definition ? 'title' and coalesce(v_latest.source ->> 'name', v_latest.source #>> '{workflow,name}') <> (p_workflow).name)
    )
  then
    perform flowgres.fail(
      p_status => 409, p_code => 'workflow_name_taken',
      p_message => format(
        'the name "%s" belongs to the workflow "%s"', (p_workflow).name,
        coalesce(v_latest.definition ->> 'title', (p_workflow).name)),
      p_hint => 'Choose another name, or give both name and title to make a new version of that workflow.');
  end if;
end;
$$;
comment on function flowgres.check_title(flowgres.workflows, jsonb, text) is $$Refuse a display name that would end up on another workflow's identifier.$$;

create or replace function flowgres.write_version(
  p_workflow flowgres.workflows, p_source jsonb, p_definition jsonb, p_state text, out version flowgres.workflow_versions, out created boolean
)
  language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_number integer;
begin
  created := false;
  -- The same content is the same version, whatever was imported between.
  select v.* into version
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id
    and v.checksum = flowgres.definition_checksum(p_definition)
    -- Versions from before inputs were closed take more than their text says.
    and (v.inputs is null or v.takes_additional_inputs = flowgres.takes_additional_inputs(p_definition))
  order by v.version desc
  limit 1;
  if version.id is not null then
    if version.state in ('draft', 'invalid') and p_state <> 'draft' or version.state = 'checking' and p_state = 'ready' then
      update flowgres.workflow_versions as v
      set state = p_state, errors = null
      where v.tenant_id = version.tenant_id and v.id = version.id
      returning v.* into version;
    end if;
    return;
  end if;

  created := true;
  -- A draft is edited in place, as a new row: whoever has read the old one by its id has not read this. A version that is
  -- imported to run leaves somebody's draft alone.
  delete from flowgres.workflow_versions as v
  where p_state = 'draft' and v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id
    and v.version = (p_workflow).latest_version and v.state = 'draft'
  returning v.version into v_number;
  version := flowgres.compile_version(
    p_tenant_id => (p_workflow).tenant_id, p_workflow_id => (p_workflow).id,
    p_version => coalesce(v_number, (p_workflow).latest_version + 1), p_state => p_state,
    p_source => p_source, p_definition => p_definition);
  update flowgres.workflows as w
  set latest_version = version.version, updated_at = flowgres.now()
  where w.tenant_id = version.tenant_id and w.id = version.workflow_id;
end;
$$;
comment on function flowgres.write_version(flowgres.workflows, jsonb, jsonb, text) is $$The version with this content: an old one, the draft rewritten, or a new one

The caller holds the lock of the workflow.$$;

create or replace function flowgres.describe_kinds(p_name text, p_kind text, p_wanted text)
  returns text language sql immutable parallel safe
as $$
  select format(
    'the workflow "%s" is a %s, and this definition a %s', p_name, translate(p_kind, '_', ' '), translate(p_wanted, '_', ' '));
$$;
comment on function flowgres.describe_kinds(text, text, text) is $$That a workflow is of one kind, and a definition of another.$$;

create or replace function flowgres.foresee_kind(p_tenant_id uuid, p_check jsonb)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select p_check || coalesce((
    select jsonb_build_object('valid', false, 'errors', p_check -> 'errors' || flowgres.problem(
      p_path => 'name', p_code => 'workflow_kind_mismatch', p_message => flowgres.describe_kinds(w.name, w.kind, k.kind),
      p_hint => 'Choose another name, or delete that workflow first.'))
    from flowgres.workflows as w
    cross join lateral (select flowgres.workflow_kind(p_check -> 'definition') as kind) as k
    where w.tenant_id = p_tenant_id and w.deleted_at is null and w.name = p_check #>> '{definition,name}' and w.kind <> k.kind), '{}');
$$;
comment on function flowgres.foresee_kind(uuid, jsonb) is $$The answer of a check, with the error that an import would meet where the name is that of a workflow of the other kind.$$;

create or replace function flowgres.store_definition(
  p_tenant_id uuid, p_definition jsonb, p_source jsonb, p_warnings jsonb, p_activate boolean, p_checked boolean
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_kind text := flowgres.workflow_kind(p_definition);
  v_workflow flowgres.workflows;
  v_written record;
begin
  v_workflow := flowgres.lock_workflow(p_tenant_id => p_tenant_id, p_name => p_definition ->> 'name', p_kind => v_kind);
  if v_workflow.kind <> v_kind then
    perform flowgres.fail(
      p_status => 422, p_code => 'workflow_kind_mismatch',
      p_message => flowgres.describe_kinds(v_workflow.name, v_workflow.kind, v_kind),
      p_hint => 'Choose another name, or delete that workflow first: flowgres workflows delete ' || v_workflow.name);
  end if;
  perform flowgres.check_title(
    p_workflow => v_workflow, p_definition => p_definition,
    p_given_name => coalesce(p_source ->> 'name', p_source #>> '{workflow,name}'));
  if v_workflow.latest_version = 0 then
    update flowgres.workflows as w
    set
      title = p_definition ->> 'title', description = p_definition ->> 'description',
      metadata = coalesce(p_definition -> 'metadata', '{}')
    where w.tenant_id = p_tenant_id and w.id = v_workflow.id
    returning w.* into v_workflow;
  end if;
  select * into v_written
  from flowgres.write_version(
    p_workflow => v_workflow, p_source => p_source, p_definition => p_definition,
    -- A machine has no expressions that a runner would have to confirm.
    p_state => case when not p_activate then 'draft' when p_checked or v_kind = 'state_machine' then 'ready' else 'checking' end);
  if p_activate then
    v_workflow := flowgres.request_version(p_workflow => v_workflow, p_version => v_written.version);
  end if;
  return jsonb_build_object(
    'workflow_id', v_workflow.id,
    'name', v_workflow.name,
    'title', v_workflow.title,
    'kind', v_workflow.kind,
    'version', (v_written.version).version,
    'version_id', (v_written.version).id,
    'created', v_written.created,
    'status', v_workflow.status,
    'state', (v_written.version).state,
    'active_version', v_workflow.active_version,
    'pending_version', flowgres.pending_version(v_workflow.pending_versions),
    'warnings', p_warnings) || flowgres.describe_triggers(v_workflow);
end;
$$;
comment on function flowgres.store_definition(uuid, jsonb, jsonb, jsonb, boolean, boolean) is $$Store, compile and activate a definition that was checked: p_definition is its canonical form.$$;

create or replace function flowgres.import_definition(
  p_tenant_id uuid, p_definition jsonb, p_activate boolean, p_checked boolean default false, p_source jsonb default null
)
  returns jsonb language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_check jsonb := flowgres.check_written(p_tenant_id => p_tenant_id, p_definition => p_definition);
begin
  if not (v_check -> 'valid')::boolean then
    perform flowgres.fail_definition(p_errors => v_check -> 'errors');
  end if;
  return flowgres.store_definition(
    p_tenant_id => p_tenant_id, p_definition => v_check -> 'definition', p_source => coalesce(p_source, p_definition),
    p_warnings => v_check -> 'warnings', p_activate => p_activate, p_checked => p_checked);
end;
$$;
comment on function flowgres.import_definition(uuid, jsonb, boolean, boolean, jsonb) is $$Check, store, compile and activate a definition

The same content gives the same version. p_checked says that the expressions were parsed already; otherwise the version is
checking until a runner has confirmed it: it waits behind an active one, and where there is none it can be started
meanwhile, because the evaluator refuses what is unsafe anyway.$$;
