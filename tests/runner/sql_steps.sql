-- Functions for test_sql_steps.py, in the schema shop.
create table shop.stock (n integer check (n >= 0));
create table shop.items (id integer primary key);
create table shop.orders (id integer, item integer references shop.items deferrable initially deferred);
grant insert on shop.stock, shop.effects, shop.orders to flowgres_sql;
create function shop.types(a integer, b numeric, c boolean, d text[], e jsonb, f date, g text default 'x') returns jsonb
  language sql return jsonb_build_array(a, b, c, d, e, f, g);
create function shop.one(n integer) returns table (n2 integer, word text) language sql as 'select n, ''w''';
create function shop.row(n integer, out a integer, out b text) language sql as 'select n, ''b''';
create function shop.many(n integer) returns setof integer language sql as 'select generate_series(1, n)';
create function shop.nothing() returns void language plpgsql as 'begin end';
create function shop.path() returns text language sql as 'select current_setting(''search_path'')';
create function shop.late() returns void language sql as 'insert into shop.orders values (1, 99)';
create function shop.slow(seconds double precision) returns void language sql as 'select pg_sleep(seconds)';
create function shop.large(bytes integer) returns text language sql as 'select repeat(''x'', bytes)';
create function shop.broken(kind text) returns void language plpgsql as $$
begin
  insert into shop.effects (step) values ('broken');
  case kind
    when 'own' then raise exception 'no stock' using errcode = 'ST001', hint = 'order some', detail = 'sku 7';
    when 'check' then insert into shop.stock values (-1);
    when 'serial' then raise serialization_failure using message = 'again';
    when 'refused' then perform flowgres.fail(p_status => 429, p_code => 'too_much', p_message => 'wait');
  end case;
end;
$$;
create function shop.leave() returns text language plpgsql as $$
begin
  create temp table if not exists stock (n integer);
  perform set_config('search_path', 'pg_temp', false), set_config('shop.left', 'behind', false);
  perform pg_advisory_lock(4711);
  listen shop;
  return current_setting('shop.left', true);
end;
$$;
create function shop.look() returns text language plpgsql as $$
begin
  return concat_ws(
    ',', to_regclass('pg_temp.stock'), nullif(current_setting('shop.left', true), ''),
    (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()),
    (select count(*) from pg_listening_channels()));
end;
$$;
