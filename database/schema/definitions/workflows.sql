-- Workflows: finding, importing, activating, changing and deleting them.

set local role flowgres_owner;

create or replace function flowgres.find_workflow(p_tenant_id uuid, p_workflow text)
  returns flowgres.workflows language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
begin
  select w.* into v_workflow
  from flowgres.workflows as w
  where w.tenant_id = p_tenant_id and w.name = p_workflow and w.deleted_at is null;
  if v_workflow.id is null and p_workflow ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' then
    select w.* into v_workflow
    from flowgres.workflows as w
    where w.tenant_id = p_tenant_id and w.id = p_workflow::uuid and w.deleted_at is null;
  end if;
  if v_workflow.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'workflow_not_found', p_message => format('workflow "%s" does not exist', left(p_workflow, 100)),
      p_hint => 'List /workflows.');
  end if;
  return v_workflow;
end;
$$;
comment on function flowgres.find_workflow(uuid, text) is $$The workflow with this name or id; refuses when there is none.$$;

create or replace function flowgres.check_kind(p_workflow flowgres.workflows, p_kind text)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if (p_workflow).kind <> p_kind then
    perform flowgres.fail(
      p_status => 422, p_code => 'workflow_kind_mismatch',
      p_message => format('"%s" is a %s, and this is for a %s', (p_workflow).name, (p_workflow).kind, p_kind),
      p_hint => case p_kind when 'dag' then 'A state machine is begun by start_workflow and moved by execute_transition.'
        else 'A dag is started by start_execution.' end);
  end if;
end;
$$;
comment on function flowgres.check_kind(flowgres.workflows, text) is $$Refuse a workflow of the other kind: dag or state_machine.$$;

create or replace function flowgres.find_workflow_locked(p_tenant_id uuid, p_workflow text)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_found flowgres.workflows := flowgres.find_workflow(p_tenant_id => p_tenant_id, p_workflow => p_workflow);
  v_workflow flowgres.workflows;
begin
  select w.* into v_workflow
  from flowgres.workflows as w
  where w.tenant_id = p_tenant_id and w.id = v_found.id and w.deleted_at is null
  for no key update;
  if v_workflow.id is null then
    -- Deleted while this waited for the lock: answer as if it had come later.
    v_workflow := flowgres.find_workflow(p_tenant_id => p_tenant_id, p_workflow => v_found.id::text);
  end if;
  return v_workflow;
end;
$$;
comment on function flowgres.find_workflow_locked(uuid, text) is $$The workflow with this name or id, locked until the end of the transaction.$$;

create or replace function flowgres.describe_workflow(p_workflow flowgres.workflows)
  returns jsonb language sql stable set search_path to pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'id', (p_workflow).id,
    'name', (p_workflow).name,
    'title', (p_workflow).title,
    'kind', (p_workflow).kind,
    'status', (p_workflow).status,
    'description', (p_workflow).description,
    'metadata', (p_workflow).metadata,
    'active_version', (p_workflow).active_version,
    'is_active', (p_workflow).status = 'active',
    'version', coalesce((p_workflow).active_version, nullif((p_workflow).latest_version, 0)),
    'latest_version', (p_workflow).latest_version,
    'pending_version', flowgres.pending_version((p_workflow).pending_versions),
    'created_at', (p_workflow).created_at,
    'updated_at', (p_workflow).updated_at)
    || (
      select jsonb_build_object('is_paused', p.tenant_id is not null, 'paused_at', p.paused_at, 'paused_by', p.paused_by)
      from (select) as x
      left join flowgres.pauses as p
        on p.tenant_id = (p_workflow).tenant_id and p.workflow_id = (p_workflow).id and p.resumed_at is null);
$$;
comment on function flowgres.describe_workflow(flowgres.workflows) is $$A workflow as the functions answer with it.$$;

create or replace function flowgres.set_workflow_status(p_workflow flowgres.workflows, p_status text, p_action text)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows := p_workflow;
begin
  if (p_workflow).status = p_status and (p_status = 'active' or (p_workflow).pending_versions = '{}') then
    return v_workflow;
  end if;
  update flowgres.workflows as w
  set
    status = p_status,
    -- Whoever stops a workflow does not expect that a version that was being checked starts it again.
    pending_versions = case when p_status = 'active' then w.pending_versions else '{}' end,
    updated_at = flowgres.now()
  where w.tenant_id = (p_workflow).tenant_id and w.id = (p_workflow).id
  returning w.* into v_workflow;
  perform flowgres.record_audit(
    p_action => p_action, p_subject => v_workflow.name,
    p_details => jsonb_build_object('version', v_workflow.active_version, 'previous_status', (p_workflow).status));
  perform flowgres.follow_workflow(v_workflow);
  return v_workflow;
end;
$$;
comment on function flowgres.set_workflow_status(flowgres.workflows, text, text) is $$Change the status of a workflow that the caller has locked, and say so in the audit log.$$;

create or replace function flowgres.activate_version(p_workflow flowgres.workflows, p_version integer)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_version flowgres.workflow_versions;
  v_check jsonb;
begin
  select v.* into v_version
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_workflow).tenant_id and v.workflow_id = (p_workflow).id
    and (v.version = p_version or (p_version is null and v.state <> 'invalid'))
  order by v.version desc
  limit 1;
  if v_version.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'version_not_found',
      p_message => format('workflow "%s" has no version %s', (p_workflow).name, coalesce(p_version::text, 'that could be activated')),
      p_hint => 'List /workflow_versions.');
  end if;
  if v_version.state = 'invalid' then
    perform flowgres.fail_version(p_workflow => p_workflow, p_version => v_version);
  end if;
  if v_version.state = 'draft' then
    -- It was checked when it was written, but what it calls may have changed since.
    v_check := flowgres.check_definition(p_tenant_id => v_version.tenant_id, p_definition => v_version.definition);
    if not (v_check -> 'valid')::boolean then
      perform flowgres.fail_definition(p_errors => v_check -> 'errors');
    end if;
    update flowgres.workflow_versions as v
    set state = case (p_workflow).kind when 'dag' then 'checking' else 'ready' end
    where v.tenant_id = v_version.tenant_id and v.id = v_version.id
    returning v.* into v_version;
  end if;
  return flowgres.request_version(p_workflow => p_workflow, p_version => v_version);
end;
$$;
comment on function flowgres.activate_version(flowgres.workflows, integer) is $$Activate a version of a locked workflow; null means the newest that is not invalid

A draft freezes here. One that is not confirmed waits for that when another version is active.$$;

create or replace function flowgres.apply_changes(p_workflow flowgres.workflows, p_changes jsonb)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows := p_workflow;
  v_root jsonb := flowgres.definition_schema();
  v_errors jsonb[] := flowgres.distinct_problems(
    flowgres.check_value('', coalesce(p_changes, 'null'), v_root #> '{$defs,changes}', v_root));
begin
  if cardinality(v_errors) > 0 then
    perform flowgres.fail(
      p_status => 422, p_code => 'changes_invalid',
      p_message => 'the changes do not fit: ' || (select string_agg(concat_ws(': ', nullif(e ->> 'path', ''), e ->> 'message'), '; ') from unnest(v_errors) as e),
      p_details => to_jsonb(v_errors)::text, p_hint => 'title, description, metadata and status can be changed; steps by an import.');
  end if;
  update flowgres.workflows as w
  set
    -- A member that is null empties the column; one that is absent leaves it.
    title = case when p_changes ? 'title' then p_changes ->> 'title' else w.title end,
    description = case when p_changes ? 'description' then p_changes ->> 'description' else w.description end,
    metadata = case when p_changes ? 'metadata' then coalesce(nullif(p_changes -> 'metadata', 'null'), '{}') else w.metadata end,
    updated_at = flowgres.now()
  where w.tenant_id = (p_workflow).tenant_id and w.id = (p_workflow).id
  returning w.* into v_workflow;
  return case p_changes ->> 'status'
    when 'active' then case
      when v_workflow.active_version is null then flowgres.activate_version(p_workflow => v_workflow, p_version => null)
      else flowgres.set_workflow_status(v_workflow, 'active', 'workflow_activated') end
    when 'inactive' then flowgres.set_workflow_status(v_workflow, 'inactive', 'workflow_deactivated')
    when 'archived' then flowgres.set_workflow_status(v_workflow, 'archived', 'workflow_archived')
    else v_workflow
  end;
end;
$$;
comment on function flowgres.apply_changes(flowgres.workflows, jsonb) is $$Change what is said about a locked workflow, and its status.$$;

set local role flowgres_definer;

create or replace function flowgres.validate_workflow(p_definition jsonb)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
begin
  return flowgres.foresee_kind(
    p_tenant_id => v_tenant_id, p_check => flowgres.check_written(p_tenant_id => v_tenant_id, p_definition => p_definition));
end;
$$;
comment on function flowgres.validate_workflow(jsonb) is $$Everything wrong with a definition, with paths; stores nothing.$$;

create or replace function flowgres.import_workflow(p_definition jsonb, p_activate boolean default true)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.import_definition(
    p_tenant_id => flowgres.require_tenant(), p_definition => p_definition, p_activate => coalesce(p_activate, true));
end;
$$;
comment on function flowgres.import_workflow(jsonb, boolean) is $$Import a definition; the same content gives the same version

A runner confirms its expressions afterwards.$$;

create or replace function flowgres.import_checked_workflow(
  p_definition jsonb, p_activate boolean default true, p_source jsonb default null
)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  -- The login decides, not the role: the front has taken the caller's role by now.
  if session_user <> 'flowgres_front' and not pg_has_role(session_user, 'flowgres_operator', 'member') then
    perform flowgres.fail(
      p_status => 403, p_code => 'front_only', p_message => 'only the front may vouch for expressions',
      p_hint => 'Call import_workflow: a runner checks the expressions then.');
  end if;
  return flowgres.import_definition(
    p_tenant_id => flowgres.require_tenant(), p_definition => p_definition, p_activate => coalesce(p_activate, true),
    p_checked => true, p_source => p_source);
end;
$$;
comment on function flowgres.import_checked_workflow(jsonb, boolean, jsonb) is $$Import a definition whose expressions the front has parsed: its version is ready at once

p_source is what its author wrote, where that is in other words.$$;

create or replace function flowgres.activate_workflow(p_workflow text, p_version integer default null)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
begin
  return flowgres.describe_workflow(p_workflow => flowgres.activate_version(
    p_workflow => flowgres.find_workflow_locked(p_tenant_id => v_tenant_id, p_workflow => p_workflow),
    p_version => p_version));
end;
$$;
comment on function flowgres.activate_workflow(text, integer) is $$Make a version the one that new executions get: without a number the newest

An earlier number is a rollback. Executions that run stay on their version.$$;

create or replace function flowgres.deactivate_workflow(p_workflow text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.describe_workflow(p_workflow => flowgres.set_workflow_status(
    p_workflow => flowgres.find_workflow_locked(p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow),
    p_status => 'inactive', p_action => 'workflow_deactivated'));
end;
$$;
comment on function flowgres.deactivate_workflow(text) is $$Start no new executions of a workflow; those that run go on.$$;

create or replace function flowgres.archive_workflow(p_workflow text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.describe_workflow(p_workflow => flowgres.set_workflow_status(
    p_workflow => flowgres.find_workflow_locked(p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow),
    p_status => 'archived', p_action => 'workflow_archived'));
end;
$$;
comment on function flowgres.archive_workflow(text) is $$Put a workflow aside: nothing starts, everything can still be read; activating it brings it back.$$;

create or replace function flowgres.update_workflow(p_workflow text, p_changes jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  return flowgres.describe_workflow(p_workflow => flowgres.apply_changes(
    p_workflow => flowgres.find_workflow_locked(p_tenant_id => flowgres.require_tenant(), p_workflow => p_workflow),
    p_changes => p_changes));
end;
$$;
comment on function flowgres.update_workflow(text, jsonb) is $$Change title, description, metadata or status of a workflow.$$;

create or replace function flowgres.add_step(p_workflow text, p_step jsonb)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_workflow flowgres.workflows := flowgres.find_workflow_locked(p_tenant_id => v_tenant_id, p_workflow => p_workflow);
  v_version flowgres.workflow_versions;
  v_schema jsonb := flowgres.definition_schema();
  v_base jsonb;
  v_step jsonb := p_step;
begin
  perform flowgres.check_kind(p_workflow => v_workflow, p_kind => 'dag');
  select v.* into v_version
  from flowgres.workflow_versions as v
  where v.tenant_id = v_tenant_id and v.workflow_id = v_workflow.id
  order by
    (v.state = 'draft' and v.version = v_workflow.latest_version) desc,
    (v.version = v_workflow.active_version) desc nulls last,
    v.version desc
  limit 1;
  if v_version.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'version_not_found', p_message => format('workflow "%s" has no version yet', v_workflow.name),
      p_hint => 'Import a definition first.');
  end if;
  -- The author's own text, so that list order stays list order. Where that is in other words, what was made of it: its order is
  -- written out, so a step that says nothing comes after all that nothing comes after.
  v_base := v_version.source;
  if flowgres.check_value('', flowgres.form_definition(p_definition => v_base), v_schema, v_schema) <> '{}' then
    v_base := v_version.definition;
    if not v_version.source @? '$.steps[*].depends_on' and jsonb_typeof(p_step) = 'object' and not p_step ? 'depends_on' then
      v_step := p_step || jsonb_build_object('depends_on', (
        select coalesce(jsonb_agg(s.value -> 'id' order by s.place), '[]')
        from jsonb_array_elements(v_base -> 'steps') with ordinality as s (value, place)
        where not exists (select from jsonb_array_elements(v_base -> 'steps') as o where o -> 'depends_on' @> jsonb_build_array(s.value -> 'id'))));
    end if;
  end if;
  return flowgres.import_definition(
    p_tenant_id => v_tenant_id,
    p_definition => jsonb_set(v_base, '{steps}', (v_base -> 'steps') || jsonb_build_array(v_step)),
    p_activate => false);
end;
$$;
comment on function flowgres.add_step(text, jsonb) is $$Add a step to the draft of a workflow; without one, a draft is made from the active version

In list order the step comes last; otherwise its depends_on says where it belongs.$$;

create or replace function flowgres.delete_workflow(p_workflow text, p_cancel_running boolean default false)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_workflow flowgres.workflows := flowgres.find_workflow_locked(p_tenant_id => v_tenant_id, p_workflow => p_workflow);
  v_running uuid[];
  v_cancelled integer;
  c_most_counted constant integer := 1000;
  v_active integer := 0;
begin
  v_running := array(
    select e.id from flowgres.executions as e
    where e.tenant_id = v_tenant_id and e.workflow_id = v_workflow.id and e.finished_at is null
    order by e.id);
  if v_workflow.kind = 'state_machine' and not coalesce(p_cancel_running, false) then
    select count(*) into v_active
    from (
      select
      from flowgres.instances as i
      where i.tenant_id = v_tenant_id and i.workflow_name = v_workflow.name and i.workflow_id = v_workflow.id and i.completed_at is null
      limit c_most_counted
    ) as a;
  end if;
  if v_active > 0 then
    perform flowgres.fail(
      p_status => 409, p_code => 'workflow_in_use',
      p_message => format('the machine "%s" has ', v_workflow.name) || case v_active
        when 1 then 'an active instance' when c_most_counted then format('%s active instances or more', v_active)
        else format('%s active instances', v_active) end,
      p_hint => format(
        'List them: flowgres instances list --workflow %s. Complete them, or pass cancel_running: then none can be started any more, '
        'and these go on; nothing of an instance or its history is ever deleted.', v_workflow.name));
  end if;
  if cardinality(v_running) > 0 and not coalesce(p_cancel_running, false) then
    perform flowgres.fail(
      p_status => 409, p_code => 'workflow_in_use',
      p_message => format('workflow "%s" has %s executions that have not ended', v_workflow.name, cardinality(v_running)),
      p_hint => 'Wait for them, cancel them, or pass cancel_running.');
  end if;
  v_cancelled := flowgres.cancel_tree(
    p_tenant_id => v_tenant_id, p_execution_ids => v_running, p_reason => 'the workflow was deleted', p_actor => flowgres.actor(),
    p_limit => 1000 + cardinality(v_running));
  update flowgres.workflows as w
  set deleted_at = flowgres.now(), status = 'archived', pending_versions = '{}', updated_at = flowgres.now()
  where w.tenant_id = v_tenant_id and w.id = v_workflow.id
  returning w.* into v_workflow;
  perform flowgres.follow_workflow(v_workflow);
  perform flowgres.record_audit(
    p_action => 'workflow_deleted', p_subject => v_workflow.name,
    p_details => jsonb_build_object('workflow_id', v_workflow.id, 'cancelled_count', v_cancelled));
  return flowgres.describe_workflow(p_workflow => v_workflow) || jsonb_build_object(
    'deleted_at', v_workflow.deleted_at, 'cancelled_count', v_cancelled);
end;
$$;
comment on function flowgres.delete_workflow(text, boolean) is $$Delete a workflow: its name is free again, its past executions stay readable

Refused while executions run, unless they may be cancelled.$$;
