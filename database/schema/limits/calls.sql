-- What people do with limits of steps: set, delete, and see how full they are.

set local role flowgres_definer;

create or replace function flowgres.show_limits()
  returns table (tenant_id uuid, name text, capacity integer, per_seconds double precision, in_use bigint, waiting bigint)
  language sql stable security definer set search_path to pg_catalog, pg_temp rows 10
as $$
  select
    l.tenant_id, l.name, l.capacity, l.per_seconds,
    case
      when l.per_seconds is null then flowgres.count_held(p_tenant_id => l.tenant_id, p_line => 'limit:' || l.name)
      else coalesce((
        select sum(b.count) from unnest(l.bucket_numbers, l.bucket_counts) as b (number, count)
        where b.number between floor(extract(epoch from flowgres.now()) * 60 / l.per_seconds) - 60
          and floor(extract(epoch from flowgres.now()) * 60 / l.per_seconds) + 60), 0) end,
    (
      select count(*) from flowgres.work_queue as q
      where q.capability collate "C" = ('limit:' || l.name) collate "C" and q.tenant_id = l.tenant_id
        and flowgres.is_waiting(q))
  from flowgres.limits as l
  where l.tenant_id = flowgres.tenant_id() and l.kind = 'step';
$$;
comment on function flowgres.show_limits() is $$The limits of the caller's tenant, how much of each is taken, and how many steps wait for it.$$;

create or replace function flowgres.set_limit(p_name text, p_capacity integer, p_per_seconds double precision, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_most constant integer := 1000;
  v_tenant_id uuid := flowgres.require_tenant();
  v_now timestamptz := flowgres.now();
  v_is_new boolean;
begin
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  if p_name is null or p_name !~ '^[A-Za-z][A-Za-z0-9_-]{0,62}$' then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => format('%L is no name for a limit', left(p_name, 100)),
      p_details => 'name', p_hint => 'Letters, digits, hyphens and underscores, a letter first, at most 63.');
  elsif p_capacity is null or p_capacity not between 1 and 10000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'capacity is not a number from 1 to 10000', p_details => 'capacity',
      p_hint => 'To let everything run, remove the limit from the steps that name it.');
  elsif not p_per_seconds between 1 and 2592000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'per_seconds is not from 1 to 2592000', p_details => 'per_seconds',
      p_hint => 'Leave it out for a limit of how many run at once.');
  end if;
  insert into flowgres.limits as l (tenant_id, kind, name, capacity, per_seconds, updated_at)
  values (v_tenant_id, 'step', p_name, p_capacity, p_per_seconds, v_now)
  on conflict (tenant_id, kind, name) do update
  set
    capacity = excluded.capacity, per_seconds = excluded.per_seconds, updated_at = excluded.updated_at,
    -- In another time all that is remembered has begun just now.
    bucket_numbers = case
      when l.per_seconds is not distinct from excluded.per_seconds then l.bucket_numbers
      when cardinality(l.bucket_counts) > 0 and excluded.per_seconds is not null
        then array[floor(extract(epoch from v_now) * 60 / excluded.per_seconds)::bigint]
      else '{}' end,
    bucket_counts = case
      when l.per_seconds is not distinct from excluded.per_seconds then l.bucket_counts
      when cardinality(l.bucket_counts) > 0 and excluded.per_seconds is not null
        then array[(select sum(c)::integer from unnest(l.bucket_counts) as c)]
      else '{}' end
  -- A row that this statement inserted has no deleter.
  returning l.xmax = 0 into v_is_new;
  if v_is_new and (select count(*) from flowgres.limits as l where l.tenant_id = v_tenant_id and l.kind = 'step') > c_most then
    perform flowgres.fail(
      p_status => 409, p_code => 'too_many_limits', p_message => format('a tenant has %s limits at most', c_most),
      p_hint => 'Delete what no step names: flowgres limits list');
  end if;
  perform flowgres.audit_act(
    p_tenant_id => v_tenant_id, p_action => 'limit_set', p_subject => p_name, p_reason => p_reason,
    p_details => jsonb_strip_nulls(jsonb_build_object('capacity', p_capacity, 'per_seconds', p_per_seconds)));
  perform flowgres.wake_runners();
  return (select to_jsonb(l) - 'tenant_id' from flowgres.show_limits() as l where l.name = p_name);
end;
$$;
comment on function flowgres.set_limit(text, integer, double precision, text) is $$Set a limit of steps

What waits sees it at once; what has its place keeps it, also where there are fewer now.$$;

create or replace function flowgres.delete_limit(p_name text, p_reason text)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_tenant_id uuid := flowgres.require_tenant();
  v_workflow text;
begin
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  if not exists (
    select from flowgres.limits as l
    where l.tenant_id = v_tenant_id and l.kind = 'step' and l.name = p_name
    for update)
  then
    perform flowgres.fail(
      p_status => 404, p_code => 'limit_not_found', p_message => format('the limit %L does not exist', left(p_name, 100)),
      p_hint => 'List them: flowgres limits list');
  end if;
  select w.name into v_workflow
  from flowgres.workflows as w
  join flowgres.workflow_versions as v on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.active_version
  join flowgres.workflow_steps as s on s.tenant_id = v.tenant_id and s.version_id = v.id
  where w.tenant_id = v_tenant_id and w.deleted_at is null and s.capability = 'limit:' || p_name
  order by w.name
  limit 1;
  if v_workflow is not null or exists (
    select from flowgres.work_queue as q
    where q.tenant_id = v_tenant_id and q.capability collate "C" = ('limit:' || p_name) collate "C"
      and flowgres.is_waiting(q))
  then
    perform flowgres.fail(
      p_status => 409, p_code => 'limit_in_use',
      p_message => coalesce(format('the workflow "%s" has a step with the limit %s', v_workflow, p_name), format('steps wait for the limit %s', p_name)),
      p_hint => 'Without it they would wait for ever: give it more capacity, or take it out of the steps.');
  end if;
  delete from flowgres.limit_slots as s where s.tenant_id = v_tenant_id and s.line = 'limit:' || p_name and not flowgres.slot_is_held(s);
  delete from flowgres.limits as l where l.tenant_id = v_tenant_id and l.kind = 'step' and l.name = p_name;
  perform flowgres.audit_act(p_tenant_id => v_tenant_id, p_action => 'limit_deleted', p_subject => p_name, p_reason => p_reason);
  return jsonb_build_object('name', p_name, 'deleted', true);
end;
$$;
comment on function flowgres.delete_limit(text, text) is $$Delete a limit that no step of an active workflow names, and none waits for.$$;
