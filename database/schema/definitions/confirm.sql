-- Which version is active, and how an unchecked one becomes it.
--
-- A definition that came in by SQL is `checking` until a runner has parsed its expressions. Such a version never takes the
-- place of an active one: it waits in `workflows.pending_versions`, so that a broken one changes nothing for those who
-- start executions. Where nothing is active there is nothing to lose, and it is active at once.
--
-- Locks: the workflow first, then its version.

set local role flowgres_owner;

create or replace function flowgres.pending_version(p_versions integer[])
  returns integer language sql immutable parallel safe
return p_versions[cardinality(p_versions)];
comment on function flowgres.pending_version(integer[]) is $$The version that was asked for last among those that wait to be confirmed; null when none waits.$$;

create or replace function flowgres.switch_version(
  p_workflow flowgres.workflows, p_version flowgres.workflow_versions, p_pending integer[] default '{}', p_actor text default null
)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows := p_workflow;
  v_definition jsonb := (p_version).definition;
  v_is_same boolean := (p_workflow).active_version is not distinct from (p_version).version;
begin
  if v_is_same and (p_workflow).status = 'active' and (p_workflow).pending_versions = p_pending then
    return v_workflow;
  end if;
  update flowgres.workflows as w
  set
    active_version = (p_version).version,
    status = 'active',
    pending_versions = p_pending,
    -- What the version says about itself comes with it; what it leaves out stays.
    title = case when v_is_same then w.title else coalesce(v_definition ->> 'title', w.title) end,
    description = case when v_is_same then w.description else coalesce(v_definition ->> 'description', w.description) end,
    metadata = case when v_is_same then w.metadata else coalesce(v_definition -> 'metadata', w.metadata) end,
    updated_at = flowgres.now()
  where w.tenant_id = (p_workflow).tenant_id and w.id = (p_workflow).id
  returning w.* into v_workflow;
  perform flowgres.record_audit(
    p_action => 'workflow_activated', p_subject => v_workflow.name,
    p_details => jsonb_build_object('version', (p_version).version, 'previous_version', (p_workflow).active_version),
    p_tenant_id => v_workflow.tenant_id, p_actor => p_actor);
  perform flowgres.follow_workflow(v_workflow);
  return v_workflow;
end;
$$;
comment on function flowgres.switch_version(flowgres.workflows, flowgres.workflow_versions, integer[], text) is $$Make a version the active one

Executions that run stay on theirs. p_pending are the versions that were asked for after it. The caller holds the lock of
the workflow.$$;

create or replace function flowgres.request_version(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
begin
  perform flowgres.check_trigger_counts(p_workflow => p_workflow, p_version => p_version);
  if (p_version).state <> 'checking' or coalesce((p_workflow).active_version, (p_version).version) = (p_version).version then
    return flowgres.switch_version(p_workflow => p_workflow, p_version => p_version);
  end if;
  if flowgres.pending_version((p_workflow).pending_versions) = (p_version).version then
    return p_workflow;
  end if;
  update flowgres.workflows as w
  set
    pending_versions = array_append(array_remove(w.pending_versions, (p_version).version), (p_version).version),
    updated_at = flowgres.now()
  where w.tenant_id = (p_workflow).tenant_id and w.id = (p_workflow).id
  returning w.* into v_workflow;
  perform flowgres.record_audit(
    p_action => 'workflow_activation_requested', p_subject => v_workflow.name,
    p_details => jsonb_build_object('version', (p_version).version, 'active_version', v_workflow.active_version));
  return v_workflow;
end;
$$;
comment on function flowgres.request_version(flowgres.workflows, flowgres.workflow_versions) is $$Make a version the active one as soon as it may be: at once, or when a runner has confirmed it

The caller holds the lock of the workflow.$$;

create or replace function flowgres.fail_version(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb := coalesce((p_version).errors, '[]');
  v_ready integer;
begin
  select max(v.version) into v_ready
  from flowgres.workflow_versions as v
  where v.tenant_id = (p_version).tenant_id and v.workflow_id = (p_version).workflow_id and v.state = 'ready';
  perform flowgres.fail(
    p_status => 409, p_code => 'version_invalid',
    p_message => format(
      'version %s of workflow "%s" has errors: %s', (p_version).version, (p_workflow).name, flowgres.name_problems(v_errors)),
    p_details => v_errors::text,
    p_hint => 'Import a corrected definition' || case when v_ready is null then '.' else format(
      ', or activate version %s, the last that was ready: flowgres workflows activate %s --version %s',
      v_ready, (p_workflow).name, v_ready) end);
end;
$$;
comment on function flowgres.fail_version(flowgres.workflows, flowgres.workflow_versions) is $$Refuse to use an invalid version, with its errors and with what to do.$$;

create or replace function flowgres.withdraw_version(
  p_workflow flowgres.workflows, p_version flowgres.workflow_versions, p_pending integer[]
)
  returns flowgres.workflows language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_workflow flowgres.workflows;
  v_next flowgres.workflow_versions;
begin
  if (p_workflow).active_version is distinct from (p_version).version then
    update flowgres.workflows as w
    set pending_versions = p_pending
    where w.tenant_id = (p_workflow).tenant_id and w.id = (p_workflow).id
    returning w.* into v_workflow;
    return v_workflow;
  end if;
  update flowgres.workflows as w
  set
    active_version = null, status = case w.status when 'active' then 'inactive' else w.status end,
    pending_versions = '{}', updated_at = flowgres.now()
  where w.tenant_id = (p_workflow).tenant_id and w.id = (p_workflow).id
  returning w.* into v_workflow;
  if cardinality(p_pending) > 0 then
    -- Nothing is active now, so the next one is not to wait for its check any longer.
    select v.* into strict v_next
    from flowgres.workflow_versions as v
    where v.tenant_id = v_workflow.tenant_id and v.workflow_id = v_workflow.id and v.version = p_pending[1];
    v_workflow := flowgres.switch_version(
      p_workflow => v_workflow, p_version => v_next, p_pending => p_pending[2 :], p_actor => 'engine');
  else
    perform flowgres.follow_workflow(v_workflow);
  end if;
  return v_workflow;
end;
$$;
comment on function flowgres.withdraw_version(flowgres.workflows, flowgres.workflow_versions, integer[]) is $$Take back a version that turned out to be invalid

The version before stays active. When the invalid one was itself active, which only one can be that nothing confirmed came
before, the next that waits takes its place.$$;

set local role flowgres_engine;

create or replace function flowgres.unchecked_versions(p_limit integer, p_seconds double precision)
  returns table (version_id uuid, definition jsonb) language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_now timestamptz := flowgres.now();
begin
  return query
  with turn as materialized (
    select v.ctid as row_id, w.place, w.created_at
    from (
      select c.tenant_id, c.id, c.created_at, row_number() over (partition by c.tenant_id order by c.created_at) as place
      from flowgres.workflow_versions as c
      where c.state = 'checking' and coalesce(c.check_until, '-infinity') <= v_now
    ) as w
    join flowgres.workflow_versions as v on v.tenant_id = w.tenant_id and v.id = w.id
    -- Judged again under the lock: another runner may have taken it just now.
    where v.state = 'checking' and coalesce(v.check_until, '-infinity') <= v_now
    -- In turns: whoever imports a thousand at once delays nobody else's.
    order by w.place, w.created_at
    limit p_limit
    for update of v skip locked
  ),
  taken as (
    update flowgres.workflow_versions as v
    set check_until = v_now + make_interval(secs => p_seconds)
    from turn as t
    where v.ctid = t.row_id
    returning v.id, v.definition, t.place, t.created_at
  )
  select t.id, t.definition from taken as t order by t.place, t.created_at;
end;
$$;
comment on function flowgres.unchecked_versions(integer, double precision) is $$Take upon oneself to parse the expressions of versions that were imported by SQL

The oldest of each tenant first. For p_seconds no other runner gets them; confirm_version says what was found.$$;

create or replace function flowgres.confirm_version(p_version_id uuid, p_errors jsonb)
  returns boolean language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_errors jsonb := nullif(coalesce(p_errors, '[]'), '[]');
  v_version flowgres.workflow_versions;
  v_workflow flowgres.workflows;
  v_place integer;
begin
  select v.* into v_version from flowgres.workflow_versions as v where v.id = p_version_id and v.state = 'checking';
  if not found then
    return false;
  end if;
  select w.* into strict v_workflow
  from flowgres.workflows as w
  where w.tenant_id = v_version.tenant_id and w.id = v_version.workflow_id
  for no key update;
  update flowgres.workflow_versions as v
  set state = case when v_errors is null then 'ready' else 'invalid' end, errors = v_errors
  where v.tenant_id = v_version.tenant_id and v.id = v_version.id and v.state = 'checking'
  returning v.* into v_version;
  if not found then
    return false;
  end if;
  v_place := array_position(v_workflow.pending_versions, v_version.version);
  if v_errors is not null then
    v_workflow := flowgres.withdraw_version(
      p_workflow => v_workflow, p_version => v_version,
      p_pending => array_remove(v_workflow.pending_versions, v_version.version));
    perform flowgres.record_audit(
      p_action => 'workflow_version_refused', p_subject => v_workflow.name,
      p_details => jsonb_build_object(
        'version', v_version.version, 'active_version', v_workflow.active_version, 'errors', jsonb_path_query_array(v_errors, '$[0 to 9]')),
      p_tenant_id => v_workflow.tenant_id, p_actor => 'engine');
  elsif v_place is not null then
    -- What was asked for before it is out of date, what was asked for after it still waits: the outcome is that of checks
    -- that take no time.
    v_workflow := flowgres.switch_version(
      p_workflow => v_workflow, p_version => v_version,
      p_pending => v_workflow.pending_versions[v_place + 1 :], p_actor => 'engine');
  end if;
  return true;
end;
$$;
comment on function flowgres.confirm_version(uuid, jsonb) is $$Say what parsing the expressions of a version has shown

Without errors it is ready, and becomes active if that was asked for; with errors it is invalid, and what was active stays.$$;
