-- What an export of a tenant holds: every table that is kept, and of each what may leave the installation.

set local role flowgres_owner;

create or replace function flowgres.export_tables()
  returns table (table_name text, columns text[], omitted text[], key text[]) language sql stable set search_path to pg_catalog, pg_temp
as $$
  with omitted (table_name, column_name) as (
    values
    -- Encrypted with a key that the installation keeps, or as good as a right to do something.
    ('secrets', 'key_id'), ('secrets', 'nonce'), ('secrets', 'ciphertext'), ('api_keys', 'key_hash'), ('webhooks', 'token'), ('webhooks', 'token_hash')
  ),
  columns as (
    select
      c.oid, c.relname::text as table_name, a.attname::text as column_name, a.attnum,
      exists (select from omitted as o where o.table_name = c.relname and o.column_name = a.attname) as is_omitted
    from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    where c.relnamespace = 'flowgres'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
      -- A period of history that is built and not attached yet is empty. What is unlogged is of the moment.
      and c.relname !~ '_[0-9]{12}$' and c.relpersistence = 'p'
      -- Its owner alone reads the clock, which is the installation's.
      and c.relname <> 'clock'
      and exists (select from pg_attribute as t where t.attrelid = c.oid and t.attname = 'tenant_id' and not t.attisdropped)
  )
  select
    c.table_name, array_agg(c.column_name order by c.attnum) filter (where not c.is_omitted),
    coalesce(array_agg(c.column_name order by c.attnum) filter (where c.is_omitted), '{}'),
    (
      select array_agg(a.attname::text order by k.place)
      from pg_index as i
      cross join unnest(i.indkey::smallint[]) with ordinality as k (number, place)
      join pg_attribute as a on a.attrelid = i.indrelid and a.attnum = k.number
      where i.indrelid = c.oid and i.indisprimary)
  from columns as c
  group by c.oid, c.table_name;
$$;
comment on function flowgres.export_tables() is $$Tables with rows of tenants, the columns that an export has, those that it leaves out, and the key by which rows are sorted

Whoever exports reads them as flowgres_operator, which may read these columns and no more.$$;
