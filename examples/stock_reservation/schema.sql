-- A table of a shop, and the one function of it that steps may call.
create schema shop;

create table shop.stock (
  tenant_id uuid not null,
  sku text not null,
  available integer not null check (available >= 0),
  primary key (tenant_id, sku)
);

-- Its owner's rights are those it needs, and its path cannot be changed by who calls it. The tenant is that of the step.
create function shop.reserve(sku text, quantity integer default 1) returns jsonb
  language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  v_left integer;
begin
  update shop.stock as s
  set available = s.available - quantity
  where s.tenant_id = flowgres.tenant_id() and s.sku = reserve.sku
  returning s.available into v_left;
  if v_left is null then
    raise exception 'there is no %', sku using errcode = 'SH001', hint = 'Add it to shop.stock.';
  end if;
  return jsonb_build_object('sku', sku, 'reserved', quantity, 'available', v_left);
end;
$$;

-- Steps call it as flowgres_sql, which may do nothing else.
revoke execute on function shop.reserve from public;
grant usage on schema shop to flowgres_sql;
grant execute on function shop.reserve to flowgres_sql;
select flowgres_api.allow_function('shop.reserve(text, integer)');

insert into shop.stock select t.tenant_id, 'tea', 10 from flowgres_api.tenants as t;
