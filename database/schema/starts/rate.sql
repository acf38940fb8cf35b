-- How many starts a tenant may make in a minute.
--
-- Starts are noted in rows of their own, which nobody updates: no start waits for another one, nor for a sweep. A tenant that may make
-- many has not each of them noted, but one of start_weight for all of them, drawn by lot: some hundred rows tell of any rate. Nor is
-- the rate asked for at each: the lot that finds more than half of what is allowed says so in the tenant's row, which every start
-- reads anyway, and for a minute each is held against the limit. What has not committed is not seen, so of calls at once some may
-- pass that are too many.

set local role flowgres_owner;

create or replace function flowgres.check_start_rate(p_tenant_id uuid, p_count integer, p_now timestamptz, p_is_drawn boolean default false)
  -- A plan that is made while the tables are empty would read all of them for ever.
  returns boolean language plpgsql set enable_seqscan to off
as $$
declare
  c_rows constant integer := 500;
  v_most double precision;
  v_used bigint;
  v_tenant record;
  v_weight integer;
  v_is_near boolean;
begin
  select
    t.start_weight, t.starts_watched_until,
    (
      select s.value::double precision from flowgres.settings as s
      where s.name = 'rate_limit_per_minute' and s.tenant_id in (p_tenant_id, '00000000-0000-0000-0000-000000000000')
      order by s.tenant_id desc limit 1
    ) as most,
    (
      select coalesce(sum(c.start_count), 0) from flowgres.start_counts as c
      where c.tenant_id = p_tenant_id and c.at > p_now - interval '1 minute'
    ) as used
  into v_tenant
  from flowgres.tenants as t
  where t.tenant_id = p_tenant_id;
  if v_tenant.used + p_count > v_tenant.most then
    perform flowgres.refuse_start_rate(p_tenant_id => p_tenant_id, p_count => p_count, p_now => p_now, p_most => v_tenant.most);
  end if;
  v_weight := ceil(least(greatest(v_tenant.most / c_rows, 1), 1000000));
  if p_is_drawn then
    insert into flowgres.start_counts (tenant_id, at, start_count) values (p_tenant_id, p_now, greatest(p_count, v_tenant.start_weight));
  elsif random() * v_weight < p_count then
    insert into flowgres.start_counts (tenant_id, at, start_count) values (p_tenant_id, p_now, greatest(p_count, v_weight));
  end if;
  v_is_near := v_tenant.used + p_count > v_tenant.most / 2 and v_weight > 1
    and coalesce(v_tenant.starts_watched_until, '-infinity') < p_now + interval '30 s';
  if v_is_near or v_weight <> coalesce(v_tenant.start_weight, 1) then
    -- Who holds the row does the same, or is an administrator: nobody waits.
    update flowgres.tenants as t
    set
      start_weight = v_weight,
      starts_watched_until = case when v_is_near then p_now + interval '1 minute' else t.starts_watched_until end
    where t.ctid = (
      select o.ctid from flowgres.tenants as o where o.tenant_id = p_tenant_id for no key update skip locked);
  end if;
  return true;
end;
$$;
comment on function flowgres.check_start_rate is $$Refuse starts of a tenant that makes more than rate_limit_per_minute, and note these

429 start_rate_exceeded, with Retry-After. p_is_drawn: the lot has fallen on this one, which stands for start_weight. Exact where the
limit is 500 or less; above, the rate is known to some percent (a standard deviation of 4.5).$$;

create or replace function flowgres.forget_start_weights(p_tenant_id uuid, p_name text)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  if p_name = 'rate_limit_per_minute' then
    update flowgres.tenants as t
    set start_weight = null
    where t.start_weight is not null and (t.tenant_id = p_tenant_id or p_tenant_id is null);
  end if;
end;
$$;
comment on function flowgres.forget_start_weights(uuid, text) is $$Let the next start read the limit, when that is what changed: of a tenant, or of all (null).$$;

create or replace function flowgres.is_start_from_outside(p_trigger_type text)
  returns boolean language sql immutable parallel safe
as $$
  select p_trigger_type in ('webhook', 'event', 'table');
$$;
comment on function flowgres.is_start_from_outside(text) is $$Whether a trigger's start counts for the rate of its tenant

What others send does, what the engine starts by itself does not. The calls of the API have counted theirs before.$$;

create or replace function flowgres.refuse_start_rate(p_tenant_id uuid, p_count integer, p_now timestamptz, p_most double precision)
  returns void language plpgsql
as $$
declare
  v_until timestamptz;
begin
  if p_count > p_most then
    perform flowgres.fail(
      p_status => 429, p_code => 'start_rate_exceeded',
      p_message => format('%s starts at once are more than the %s that this tenant may make in a minute', p_count, p_most),
      p_details => 'None was started.',
      p_hint => case when p_most < 1 then 'Ask an operator of this installation to raise rate_limit_per_minute.'
        else 'Send them in several calls, or ask an operator to raise rate_limit_per_minute.' end,
      p_headers => '{"Retry-After": "60"}');
  end if;
  -- From the newest back: once the first that is one too many is a minute old, there is room.
  select u.at into v_until
  from (
    select c.at, sum(c.start_count) over (order by c.at desc, c.id desc) as start_count
    from flowgres.start_counts as c
    where c.tenant_id = p_tenant_id and c.at > p_now - interval '1 minute'
  ) as u
  where u.start_count > p_most - p_count
  order by u.at desc
  limit 1;
  perform flowgres.fail(
    p_status => 429, p_code => 'start_rate_exceeded',
    p_message => format('this tenant may make %s starts in a minute', p_most),
    p_headers => flowgres.retry_after(v_until + interval '1 minute' - p_now),
    p_hint => flowgres.retry_hint(v_until + interval '1 minute' - p_now));
end;
$$;
comment on function flowgres.refuse_start_rate(uuid, integer, timestamptz, double precision) is $$Say when so many starts more have room.$$;
