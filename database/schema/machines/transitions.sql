-- Which ways lead out of a state, and what they ask of whoever takes them.

set local role flowgres_owner;

create or replace function flowgres.has_business_role(p_roles text[])
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  if session_user in ('flowgres_authenticator', 'flowgres_front') then
    return coalesce(nullif(current_setting('flowgres.roles', true), '')::jsonb ?| p_roles, false);
  end if;
  -- A login of the database could set any setting: of it only what it was granted is believed.
  return exists (
    select from pg_catalog.pg_roles as r where r.rolname = any(p_roles) and pg_has_role(session_user, r.oid, 'member'));
end;
$$;
comment on function flowgres.has_business_role(text[]) is $$Whether the caller has one of these business roles

Those of its token or key; a login of the database has the roles that it was granted there.$$;

create or replace function flowgres.judge_guard(
  p_guard jsonpath, p_instance flowgres.instances, p_metadata jsonb, p_context jsonb
)
  returns boolean language sql stable
as $$
  -- The one without time zones raises an error where a moment has none.
  select jsonb_path_match_tz(
    jsonb_build_object(
      'entity_table', (p_instance).entity_table, 'entity_id', (p_instance).entity_id, 'state', (p_instance).state,
      'metadata', (p_instance).metadata, 'data', p_metadata, 'context', p_context),
    p_guard, '{}', true);
$$;
comment on function flowgres.judge_guard(jsonpath, flowgres.instances, jsonb, jsonb) is $$What a guard says: true, false, or null where it cannot be judged

Such as when it compares a text with a number. Moments without a time zone are in the session's.$$;

create or replace function flowgres.passes_guard(
  p_guard jsonpath, p_instance flowgres.instances, p_metadata jsonb, p_context jsonb
)
  -- Whoever calls may choose the time zone of the session, and not what a guard says.
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp set timezone to 'UTC'
as $$
begin
  return coalesce(flowgres.judge_guard(p_guard, p_instance, p_metadata, p_context), false);
end;
$$;
comment on function flowgres.passes_guard(jsonpath, flowgres.instances, jsonb, jsonb) is $$Whether a guard holds of {entity_table, entity_id, state, metadata, data, context}

metadata is the instance's; data and context are what is sent along. What cannot be judged does not hold.$$;

create or replace function flowgres.missing_fields(p_required text[], p_instance flowgres.instances, p_metadata jsonb, p_context jsonb)
  returns text[] language sql immutable
as $$
  select array(
    select f.name from unnest(p_required) with ordinality as f (name, place)
    where coalesce(p_metadata -> f.name, 'null') = 'null' and coalesce(p_context -> f.name, 'null') = 'null'
      and coalesce((p_instance).metadata -> f.name, 'null') = 'null'
    order by f.place);
$$;
comment on function flowgres.missing_fields(text[], flowgres.instances, jsonb, jsonb) is $$Required fields that are neither sent along nor in the instance's metadata; null is as good as absent.$$;

-- The two below have no search_path of their own, and what each is asked with stands once in it: so they are inlined, and the statement
-- that moves one instance and the one that moves many have one rule and pay no call for it.
create or replace function flowgres.judge_way(
  p_way flowgres.machine_transitions, p_instance flowgres.instances, p_metadata jsonb, p_context jsonb, p_own jsonb
)
  returns text language sql stable
as $$
  select case
    when (p_way).roles <> '{}' and not case
      when p_own is null then flowgres.has_business_role((p_way).roles)
      -- Roles are those of callers. Of the engine's own moves only steps, which anybody may write, have to have one.
      when p_own ? 'roles' then (p_own -> 'roles') ?| (p_way).roles
      else true end then 'transition_forbidden'
    when (p_way).required <> '{}' and flowgres.missing_fields((p_way).required, p_instance, p_metadata, p_context) <> '{}'
      then 'transition_fields_missing'
    when (p_way).guard is not null and not flowgres.passes_guard((p_way).guard, p_instance, p_metadata, p_context)
      then 'transition_guard_refused'
  end;
$$;
comment on function flowgres.judge_way(flowgres.machine_transitions, flowgres.instances, jsonb, jsonb, jsonb) is $$Why an instance may not go this way: a code, or null

p_own is one of write_moves, null for a caller.$$;

create or replace function flowgres.find_way(
  p_tenant_id uuid, p_version_id uuid, p_state text, p_is_completed boolean, p_to text
)
  returns setof flowgres.machine_transitions language sql stable rows 1
as $$
  select t.*
  from flowgres.machine_transitions as t
  where t.tenant_id = p_tenant_id and t.version_id = p_version_id and t.to_state = p_to
    -- In a final state it is completed: the way from everywhere does not leave it.
    and (t.from_state = p_state or t.from_state is null and not p_is_completed)
  -- Null comes last: an explicit way goes before the one from everywhere. The index has this order.
  order by t.from_state, t.place
  limit 1;
$$;
comment on function flowgres.find_way(uuid, uuid, text, boolean, text) is $$The transition that leads from one state to another; no row when none does.$$;

create or replace function flowgres.list_ways(p_instance flowgres.instances)
  -- Not in SQL: whoever is refused would plan this anew, which takes ten times as long as all the rest.
  returns setof flowgres.machine_transitions language plpgsql stable rows 5 set search_path to pg_catalog, pg_temp
as $$
begin
  return query
  select (w.way).*
  from (
    -- An explicit way goes before the one from everywhere, and the first before the others.
    select distinct on (t.to_state) t as way
    from flowgres.machine_states as s
    join flowgres.machine_transitions as t on t.tenant_id = s.tenant_id and t.version_id = s.version_id
    where s.tenant_id = p_instance.tenant_id and s.version_id = p_instance.version_id and s.name = p_instance.state
      and (t.from_state = s.name or t.from_state is null and not s.is_final)
    order by t.to_state, t.from_state is null, t.place
  ) as w
  order by (w.way).place;
end;
$$;
comment on function flowgres.list_ways(flowgres.instances) is $$Transitions that lead out of the state of an instance, one for each state that they lead to, as the author put them.$$;

create or replace function flowgres.find_instance(p_tenant_id uuid, p_instance_id uuid)
  returns flowgres.instances language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_instance flowgres.instances;
begin
  select i.* into v_instance from flowgres.instances as i where i.tenant_id = p_tenant_id and i.id = p_instance_id;
  if v_instance.id is null then
    perform flowgres.fail(
      p_status => 404, p_code => 'instance_not_found', p_message => format('instance %s does not exist', p_instance_id),
      p_hint => 'List /entity_workflows.');
  end if;
  return v_instance;
end;
$$;
comment on function flowgres.find_instance(uuid, uuid) is $$The instance with this id; refuses when there is none.$$;

set local role flowgres_definer;

create or replace function flowgres.get_transitions(p_instance_id uuid)
  returns setof flowgres.possible_transition language plpgsql stable rows 5 security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_instance flowgres.instances := flowgres.find_instance(p_tenant_id => flowgres.require_tenant(), p_instance_id => p_instance_id);
  -- Here the definer is the current user; the caller is the role of the request, or the login.
  v_may_move boolean := pg_has_role(coalesce(nullif(current_setting('role'), 'none'), session_user), 'flowgres_member', 'usage');
begin
  return query
  select
    w.id, w.name, w.to_state, g.metadata, w.context, w.conditions,
    v_may_move and (w.roles = '{}' or flowgres.has_business_role(w.roles))
    -- A guard that speaks of what is sent along cannot be judged yet.
    and (w.guard is null or w.guard::text ~ '"(data|context)"|\*' or flowgres.passes_guard(w.guard, v_instance, '{}', '{}')),
    jsonb_strip_nulls(jsonb_build_object(
      'roles', nullif(w.roles, '{}'),
      'fields', nullif(flowgres.missing_fields(w.required, v_instance, '{}', '{}'), '{}'),
      'guard', w.guard::text))
  from flowgres.list_ways(v_instance) as w
  join flowgres.machine_states as g
    on g.tenant_id = v_instance.tenant_id and g.version_id = v_instance.version_id and g.name = w.to_state
  order by w.place;
end;
$$;
comment on function flowgres.get_transitions(uuid) is $$Where an instance may go from its state, whether the caller may take it there, and what that needs.$$;
