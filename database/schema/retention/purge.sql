-- Purging a deleted tenant: nothing of it stays but one row in the audit log of the installation.
--
-- The functions belong to the owner of the tables, who alone may delete what is only ever added to. Tables are found in the catalogue:
-- whatever has a tenant_id is emptied, so that one which is added later is no exception.

set local role flowgres_owner;

create or replace function flowgres.tenant_tables()
  returns table (relation regclass, depth integer) language sql stable set search_path to pg_catalog, pg_temp
as $$
  with recursive tables as (
    select c.oid, coalesce(pg_partition_root(c.oid)::oid, c.oid) as root
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attname = 'tenant_id' and not a.attisdropped
    -- Partitions and plain tables: what has rows of its own.
    where c.relnamespace = 'flowgres'::regnamespace and c.relkind = 'r'
  ),
  -- What refers to a table goes before it.
  above (root, depth) as (
    select t.root, 0 from tables as t
    union
    select k.confrelid::oid, a.depth + 1
    from above as a
    join pg_constraint as k on k.conrelid = a.root and k.contype = 'f' and k.confrelid <> k.conrelid
    where a.depth < 20
  )
  select t.oid::regclass, max(a.depth)
  from tables as t
  join above as a on a.root = t.root
  group by t.oid;
$$;
comment on function flowgres.tenant_tables() is $$Every table that has rows of tenants, partitions each by itself, with how many refer to it one behind the other$$;

create or replace function flowgres.count_tenant_rows(p_tenant_id uuid)
  returns table (relation regclass, row_count bigint) language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.require_operator();
  for relation in select t.relation from flowgres.tenant_tables() as t order by t.relation::text loop
    execute format('select count(*) from %s where tenant_id = $1', relation) into row_count using p_tenant_id;
    if row_count > 0 then
      return next;
    end if;
  end loop;
end;
$$;
comment on function flowgres.count_tenant_rows(uuid) is $$Tables that have rows of a tenant, with how many; for operators. No row: there is nothing of it.$$;

create or replace function flowgres.transactions_inside()
  returns text[] language sql volatile set search_path to pg_catalog, pg_temp
as $$
  -- Whoever has looked at a table holds a lock on it until its transaction ends. Who has looked at the tenant, or writes anywhere, may
  -- still write for it; and who has a snapshot (repeatable read) has not looked yet, perhaps, and will see the tenant as it was.
  select coalesce(array_agg(distinct o.virtualtransaction), '{}')
  from (
    select l.virtualtransaction
    from pg_locks as l
    join pg_class as c on c.oid = l.relation and c.relnamespace = 'flowgres'::regnamespace
    where l.locktype = 'relation' and l.database = (select d.oid from pg_database as d where d.datname = current_database())
      and l.pid is distinct from pg_backend_pid()
      and (c.relname in ('tenants', 'tenant_logins', 'api_keys', 'subscriptions', 'sql_calls')
        or l.mode not in ('AccessShareLock', 'RowShareLock', 'ShareUpdateExclusiveLock'))
    union all
    -- Every transaction holds a lock of its own virtual id.
    select l.virtualtransaction
    from pg_stat_activity as a
    join pg_locks as l on l.pid = a.pid and l.locktype = 'virtualxid' and l.virtualxid = l.virtualtransaction
    where a.datname = current_database() and a.backend_xmin is not null and a.pid is distinct from pg_backend_pid()
  ) as o;
$$;
comment on function flowgres.transactions_inside() is $$Transactions of others, by their virtual ids, that may see a tenant as it was, and not have written yet, or not committed$$;

create or replace function flowgres.is_barrier_passed(p_barrier text[])
  returns boolean language sql volatile set search_path to pg_catalog, pg_temp
as $$
  select not exists (select from pg_locks as l where l.virtualtransaction = any(p_barrier));
$$;
comment on function flowgres.is_barrier_passed(text[]) is $$Whether all of these transactions have ended$$;

create or replace function flowgres.delete_tenant_rows(p_tenant_id uuid, p_limit integer)
  returns bigint language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_ids uuid[];
  v_table regclass;
  v_rows bigint;
  v_deleted bigint := 0;
begin
  -- Executions whole, so that nobody ever sees half of one.
  v_ids := array(
    select e.id from flowgres.executions as e where e.tenant_id = p_tenant_id and e.finished_at is not null
    order by e.tenant_id, e.id
    limit p_limit
    for update skip locked);
  if v_ids <> '{}' then
    return flowgres.delete_executions(p_tenant_id => p_tenant_id, p_execution_ids => v_ids);
  end if;
  for v_table in
    select t.relation from flowgres.tenant_tables() as t
    where t.relation not in ('flowgres.tenants'::regclass, 'flowgres.tenant_purges'::regclass)
    order by t.depth, t.relation::text
  loop
    execute format(
      'delete from %1$s where ctid = any(array(select d.ctid from %1$s as d where d.tenant_id = $1 limit $2 for update skip locked))', v_table)
    using p_tenant_id, p_limit - v_deleted;
    get diagnostics v_rows = row_count;
    v_deleted := v_deleted + v_rows;
    exit when v_deleted >= p_limit;
  end loop;
  return v_deleted;
end;
$$;
comment on function flowgres.delete_tenant_rows(uuid, integer) is $$Delete rows of a tenant, executions first and whole, then table by table; returns how many, 0 when nothing is left that is free$$;

create or replace function flowgres.end_purge(p_tenant flowgres.tenants, p_purge flowgres.tenant_purges)
  returns boolean language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_left bigint;
begin
  select sum(r.row_count) into v_left
  from flowgres.count_tenant_rows(p_tenant_id => (p_tenant).tenant_id) as r
  where r.relation not in ('flowgres.tenants'::regclass, 'flowgres.tenant_purges'::regclass);
  if v_left > 0 then
    return false;
  end if;
  delete from flowgres.tenant_purges as p where p.tenant_id = (p_tenant).tenant_id;
  delete from flowgres.tenants as t where t.tenant_id = (p_tenant).tenant_id;
  -- By its id alone: its names are gone as well.
  perform flowgres.audit_act(
    p_tenant_id => flowgres.system_tenant_id(), p_action => 'tenant_purged', p_subject => (p_tenant).tenant_id::text,
    p_reason => (p_purge).reason,
    p_details => jsonb_build_object(
      'deleted_at', (p_tenant).deleted_at, 'deleted_by', (p_tenant).deleted_by, 'started_at', (p_purge).started_at,
      'started_by', (p_purge).started_by, 'deleted', (p_purge).deleted_count));
  return true;
end;
$$;
comment on function flowgres.end_purge(flowgres.tenants, flowgres.tenant_purges) is $$Delete the tenant itself when nothing else is left in any table

False when something is. The audit log of the installation says that it is gone.$$;

create or replace function flowgres.purge_tenant(p_slug text, p_reason text, p_limit integer)
  returns jsonb language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_limit integer := least(greatest(coalesce(p_limit, 1000), 1), 10000);
  v_tenant flowgres.tenants;
  v_purge flowgres.tenant_purges;
  v_deleted bigint := 0;
  v_is_done boolean := false;
begin
  perform flowgres.require_operator();
  perform flowgres.check_length(p_argument => 'reason', p_value => p_reason, p_most => 1000);
  select t.* into v_tenant from flowgres.tenants as t where t.tenant_id = flowgres.tenant_of_slug(p_slug => p_slug) for update;
  if v_tenant.tenant_id is null then
    -- Another one has ended it meanwhile.
    perform flowgres.tenant_of_slug(p_slug => p_slug);
  end if;
  if v_tenant.deleted_at is null then
    perform flowgres.fail(
      p_status => 409, p_code => 'tenant_not_deleted', p_message => format('the tenant %L is not deleted', v_tenant.slug),
      p_hint => format('Delete it first, which can be undone: flowgres tenants delete %s', v_tenant.slug));
  end if;
  select p.* into v_purge from flowgres.tenant_purges as p where p.tenant_id = v_tenant.tenant_id;
  if v_purge.tenant_id is null then
    -- A database login does not ask whether its tenant is suspended.
    delete from flowgres.tenant_logins as l where l.tenant_id = v_tenant.tenant_id;
    insert into flowgres.tenant_purges (tenant_id, reason, started_at, started_by)
    values (v_tenant.tenant_id, nullif(p_reason, ''), flowgres.now(), flowgres.actor())
    returning * into v_purge;
  elsif v_purge.step = 'waiting' then
    -- Only what began before the first call had committed can have seen the tenant or its logins as they were.
    if v_purge.barrier is null then
      v_purge.barrier := flowgres.transactions_inside();
    end if;
    if flowgres.is_barrier_passed(p_barrier => v_purge.barrier) then
      v_purge.step := 'cancelling';
    end if;
  elsif v_purge.step = 'cancelling' then
    if flowgres.cancel_tenant(p_tenant_id => v_tenant.tenant_id, p_limit => v_limit) = 0 then
      v_purge.step := 'deleting';
    end if;
  elsif v_purge.step = 'deleting' then
    v_deleted := flowgres.delete_tenant_rows(p_tenant_id => v_tenant.tenant_id, p_limit => v_limit);
    if v_deleted = 0 then
      -- What the engine had under way of the last of it.
      v_purge.step := 'closing';
      v_purge.barrier := flowgres.transactions_inside();
    end if;
  elsif flowgres.is_barrier_passed(p_barrier => v_purge.barrier) then
    v_is_done := flowgres.end_purge(p_tenant => v_tenant, p_purge => v_purge);
    if not v_is_done then
      v_purge.step := 'cancelling';
    end if;
  end if;
  v_purge.deleted_count := v_purge.deleted_count + v_deleted;
  update flowgres.tenant_purges as p
  set step = v_purge.step, barrier = v_purge.barrier, deleted_count = v_purge.deleted_count
  where p.tenant_id = v_tenant.tenant_id;
  return jsonb_build_object(
    'tenant_id', v_tenant.tenant_id, 'slug', v_tenant.slug, 'is_done', v_is_done, 'step', case when not v_is_done then v_purge.step end,
    'deleted', v_purge.deleted_count,
    'waits_for', case when v_purge.step in ('waiting', 'closing') and not v_is_done then (
      select count(distinct l.virtualtransaction) from pg_locks as l where l.virtualtransaction = any(v_purge.barrier)) else 0 end);
end;
$$;
comment on function flowgres.purge_tenant(text, text, integer) is $$Delete everything of a deleted tenant, about p_limit rows a call; to be called until is_done. It cannot be undone

Each call commits by itself, and goes on where the last one has stopped, whoever made it. It begins with a wait for the transactions
that were there: one of them may have looked at the tenant before it was deleted, and start something yet.$$;
