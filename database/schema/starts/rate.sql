-- How many starts a tenant may make in a minute.
--
-- Nothing is locked that another start waits for: those of little are counted by their ids; of much there are rows, as many as there
-- are transactions at once. What has not committed is not seen, so at most as many too many pass as there are calls at once.

set local role flowgres_owner;

create or replace function flowgres.check_start_rate(p_tenant_id uuid, p_count integer, p_now timestamptz)
  returns boolean language plpgsql
as $$
declare
  c_few constant integer := 500;
  v_since timestamptz := p_now - interval '1 minute';
  v_most bigint;
  v_looked integer;
  v_used bigint;
begin
  select
    (
      select s.value::bigint from flowgres.settings as s
      where s.name = 'rate_limit_per_minute' and s.tenant_id in (p_tenant_id, '00000000-0000-0000-0000-000000000000')
      order by s.tenant_id desc limit 1
    ),
    count(*), count(*) filter (where flowgres.counts_as_start(e.trigger_type))
  into v_most, v_looked, v_used
  from (
    select e.trigger_type
    from flowgres.executions as e
    where e.tenant_id = p_tenant_id and e.id >= flowgres.uuid_v7_floor(v_since)
    limit c_few
  ) as e;
  if v_looked + p_count > c_few then
    -- What was not counted here were less than c_few.
    v_used := greatest(v_used, (
      select sum(c.start_count) from flowgres.start_counts as c where c.tenant_id = p_tenant_id and c.at > v_since));
    perform flowgres.count_starts(p_tenant_id => p_tenant_id, p_count => p_count, p_now => p_now);
  end if;
  if v_used + p_count > v_most then
    perform flowgres.refuse_start_rate(p_tenant_id => p_tenant_id, p_count => p_count, p_now => p_now, p_most => v_most);
  end if;
  return true;
end;
$$;
comment on function flowgres.check_start_rate(uuid, integer, timestamptz) is $$Refuse starts of a tenant that makes more than rate_limit_per_minute

429 start_rate_exceeded, with Retry-After. Exact up to 500 executions a minute; of a tenant that starts more, 500 too many may pass.$$;

create or replace function flowgres.counts_as_start(p_trigger_type text)
  returns boolean language sql immutable parallel safe
as $$
  select p_trigger_type <> 'sub_workflow' and p_trigger_type <> 'cron' and p_trigger_type <> 'replay';
$$;
comment on function flowgres.counts_as_start(text) is $$Whether a start counts for the rate of its tenant: what others send does, what the engine starts by itself does not.$$;

create or replace function flowgres.count_starts(p_tenant_id uuid, p_count integer, p_now timestamptz)
  returns void language plpgsql
as $$
begin
  update flowgres.start_counts as c
  set start_count = c.start_count + p_count
  where c.ctid = (
    select o.ctid from flowgres.start_counts as o
    where o.tenant_id = p_tenant_id and o.at = date_trunc('second', p_now)
    limit 1
    for update skip locked);
  if not found then
    insert into flowgres.start_counts (tenant_id, at, start_count) values (p_tenant_id, date_trunc('second', p_now), p_count);
  end if;
end;
$$;
comment on function flowgres.count_starts(uuid, integer, timestamptz) is $$Note starts of a tenant, in a row that nobody else holds.$$;

create or replace function flowgres.refuse_start_rate(p_tenant_id uuid, p_count integer, p_now timestamptz, p_most bigint)
  returns void language plpgsql
as $$
declare
  v_since timestamptz := p_now - interval '1 minute';
  v_free_at timestamptz;
begin
  if p_count > p_most then
    perform flowgres.fail(
      p_status => 429, p_code => 'start_rate_exceeded',
      p_message => format('%s starts at once are more than the %s that this tenant may make in a minute', p_count, p_most),
      p_details => 'None was started.', p_hint => 'Send them in several calls, or ask an operator to raise rate_limit_per_minute.',
      p_headers => '{"Retry-After": "60"}');
  end if;
  -- From the newest to the oldest: when the first that is one too many is a minute old, there is room.
  select u.at into v_free_at
  from (
    select s.at, sum(s.start_count) over (order by s.at desc rows unbounded preceding) as start_count
    from (
      select e.created_at as at, 1 as start_count
      from flowgres.executions as e
      where e.tenant_id = p_tenant_id and e.id >= flowgres.uuid_v7_floor(v_since) and flowgres.counts_as_start(e.trigger_type)
        and not exists (select from flowgres.start_counts as c where c.tenant_id = p_tenant_id and c.at > v_since)
      union all
      select c.at + interval '1 second', c.start_count
      from flowgres.start_counts as c
      where c.tenant_id = p_tenant_id and c.at > v_since and c.at < date_trunc('second', p_now)
    ) as s
  ) as u
  where u.start_count > p_most - p_count
  order by u.at desc
  limit 1;
  perform flowgres.fail_later(
    p_code => 'start_rate_exceeded', p_seconds => extract(epoch from coalesce(v_free_at, p_now) - v_since)::double precision,
    p_message => format('this tenant may make %s starts in a minute', p_most));
end;
$$;
comment on function flowgres.refuse_start_rate(uuid, integer, timestamptz, bigint) is $$Say when so many starts more have room.$$;
