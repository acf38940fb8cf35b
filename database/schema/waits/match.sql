-- Signals find the steps that wait for them.
--
-- A sender adds the signal and a note, a step that begins to wait a note of its own, and the claim that follows a note sees both when both
-- have committed. Nobody waits for anybody. The rows of the signal and of the queue are the locks, taken past those that somebody holds:
-- what was held keeps its note.

set local role flowgres_owner;

create or replace function flowgres.resume_rows(p_rows tid[], p_resumes jsonb[])
  returns integer language plpgsql
as $$
declare
  v_count integer;
begin
  perform flowgres.forget_waits(p_rows => p_rows);
  update flowgres.work_queue as q
  set
    due_at = null, waits_for = null, ready_at = flowgres.now(), rank = flowgres.next_rank(), is_new = false,
    resume = q.resume || w.resume
  from unnest(p_rows, p_resumes) as w (row_id, resume)
  where q.ctid = w.row_id;
  get diagnostics v_count = row_count;
  return v_count;
end;
$$;
comment on function flowgres.resume_rows(tid[], jsonb[]) is $$Make parked rows ready, which the caller has locked, each with what it is resumed with; returns how many.$$;

create or replace function flowgres.list_waits(p_tenant_id uuid, p_name text, p_address text)
  returns setof flowgres.waits language sql stable
as $$
  select w.*
  from flowgres.waits as w
  join flowgres.work_queue as q on q.tenant_id = w.tenant_id and q.execution_id = w.execution_id and q.id = w.queue_id
  where w.tenant_id = p_tenant_id and w.name = p_name and w.address = p_address and w.kind = 'signal'
    and q.token = w.token and q.runner_id is null and q.waits_for like '%:%'
  union all
  select w.*
  from flowgres.waits as w
  join flowgres.work_queue as q on q.tenant_id = w.tenant_id and q.execution_id = w.execution_id and q.id = w.queue_id
  where w.tenant_id = p_tenant_id and w.execution_id = case when starts_with(p_address, 'x:') then substr(p_address, 3)::uuid end
    and w.name = p_name and w.kind = 'signal'
    and q.token = w.token and q.runner_id is null and q.waits_for like '%:%';
$$;
comment on function flowgres.list_waits(uuid, text, text) is $$What parked steps wait for signals with this address.$$;

create or replace function flowgres.awaited_since(p_tenant_id uuid, p_name text, p_address text)
  returns timestamptz language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  -- One that takes any signal decides, as most do; else who began first, which may take all that came since.
  if exists (
    select from flowgres.list_waits(p_tenant_id => p_tenant_id, p_name => p_name, p_address => p_address) as w where w.takes_earlier)
  then
    return '-infinity';
  end if;
  return (select min(w.registered_at) from flowgres.list_waits(p_tenant_id => p_tenant_id, p_name => p_name, p_address => p_address) as w);
end;
$$;
comment on function flowgres.awaited_since(uuid, text, text) is $$From when on a signal in a mailbox is one that some step waits for; null when none waits.$$;

create or replace function flowgres.match_signals(p_tenant_id uuid, p_name text, p_address text)
  returns integer language plpgsql
as $$
declare
  v_signal record;
  v_wait record;
  v_count integer := 0;
  v_execution_id uuid := case when starts_with(p_address, 'x:') then substr(p_address, 3)::uuid end;
  v_since timestamptz := flowgres.awaited_since(p_tenant_id => p_tenant_id, p_name => p_name, p_address => p_address);
begin
  for v_signal in
    select s.id, s.received_at
    from flowgres.signals as s
    where s.tenant_id = p_tenant_id and s.name = p_name and s.address = p_address and s.kind = 'signal' and s.consumed_at is null
      and s.expires_at > flowgres.now() and s.received_at >= v_since
    order by s.received_at, s.id
    limit 100
    for update skip locked
  loop
    if v_execution_id is null then
      select q.ctid as row_id, q.execution_id, q.version_id, q.step_index, q.iteration, w.index into v_wait
      from flowgres.waits as w
      join flowgres.work_queue as q on q.tenant_id = w.tenant_id and q.execution_id = w.execution_id and q.id = w.queue_id
      where w.tenant_id = p_tenant_id and w.name = p_name and w.address = p_address and w.kind = 'signal'
        and (w.takes_earlier or w.registered_at <= v_signal.received_at)
        and q.token = w.token and q.runner_id is null and q.waits_for like '%:%'
      order by w.registered_at
      limit 1
      for update of q skip locked;
    else
      select q.ctid as row_id, q.execution_id, q.version_id, q.step_index, q.iteration, w.index into v_wait
      from flowgres.waits as w
      join flowgres.work_queue as q on q.tenant_id = w.tenant_id and q.execution_id = w.execution_id and q.id = w.queue_id
      where w.tenant_id = p_tenant_id and w.execution_id = v_execution_id and w.name = p_name and w.kind = 'signal'
        and (w.takes_earlier or w.registered_at <= v_signal.received_at)
        and q.token = w.token and q.runner_id is null and q.waits_for like '%:%'
      order by w.registered_at, w.queue_id
      limit 1
      for update of q skip locked;
    end if;
    -- One that takes no earlier signal may stand before one that does.
    continue when v_wait.row_id is null;
    update flowgres.signals as s
    set
      consumed_at = flowgres.now(), consumed_by = v_wait.execution_id,
      expires_at = greatest(s.expires_at, flowgres.now() + interval '7 days'),
      consumed_by_step = (
        select flowgres.step_label(p_step => w.id, p_iteration => v_wait.iteration)
        from flowgres.workflow_steps as w
        where w.tenant_id = p_tenant_id and w.version_id = v_wait.version_id and w.index = v_wait.step_index)
    where s.tenant_id = p_tenant_id and s.id = v_signal.id;
    -- What it says is read when the step is claimed: here it would lie in the queue, however large it is.
    v_count := v_count + flowgres.resume_rows(
      p_rows => array[v_wait.row_id],
      p_resumes => array[jsonb_build_object('status', 'woken', 'signal_id', v_signal.id)
        || case when v_wait.index is null then '{}' else jsonb_build_object('index', v_wait.index) end]);
  end loop;
  return v_count;
end;
$$;
comment on function flowgres.match_signals(uuid, text, text) is $$Give the signals that lie in one mailbox to the steps that wait for them, each to the one that waits longest; returns how many

A bounded number of them.$$;

create or replace function flowgres.has_match(p_tenant_id uuid, p_name text, p_address text)
  returns boolean language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_since timestamptz := flowgres.awaited_since(p_tenant_id => p_tenant_id, p_name => p_name, p_address => p_address);
begin
  return v_since is not null and exists (
    select from flowgres.signals as s
    where s.tenant_id = p_tenant_id and s.name = p_name and s.address = p_address and s.kind = 'signal' and s.consumed_at is null
      and s.expires_at > flowgres.now() and s.received_at >= v_since);
end;
$$;
comment on function flowgres.has_match(uuid, text, text) is $$Whether a signal lies in a mailbox that a step waits for.$$;

create or replace function flowgres.deliver_signals(p_notes flowgres.pending_wakes[])
  returns integer language plpgsql
as $$
declare
  v_mailbox record;
  v_number integer := 0;
  v_count integer := 0;
begin
  for v_mailbox in
    select m.tenant_id, m.name, m.address
    from (
      select n.tenant_id, n.name, n.address, n.id from unnest(p_notes) as n where n.name is not null and n.resume is null
      union all
      -- Steps that have begun to wait: the mailboxes in which something lies for them.
      select s.tenant_id, s.name, s.address, n.id
      from unnest(p_notes) as n
      join flowgres.waits as w
        on w.tenant_id = n.tenant_id and w.execution_id = n.execution_id and w.queue_id = n.queue_id and w.token = n.token
      cross join lateral (
        values (w.address), (flowgres.signal_address(p_key => null, p_execution_id => w.execution_id))
      ) as a (address)
      cross join lateral (
        select s.tenant_id, s.name, s.address
        from flowgres.signals as s
        where s.tenant_id = w.tenant_id and s.name = w.name and s.address = a.address and s.kind = 'signal' and s.consumed_at is null
        limit 1
      ) as s
      where n.queue_id is not null and n.resume is null and w.kind = 'signal'
    ) as m
    group by m.tenant_id, m.name, m.address
    -- A step that waits for the first of several has what was sent first.
    order by min(m.id)
  loop
    v_number := v_number + 1;
    -- Each costs about as much as a claim, and this is a part of one: the others are for the next.
    if v_number <= 100 then
      v_count := v_count + flowgres.match_signals(
        p_tenant_id => v_mailbox.tenant_id, p_name => v_mailbox.name, p_address => v_mailbox.address);
    end if;
    if v_number > 100 or flowgres.has_match(p_tenant_id => v_mailbox.tenant_id, p_name => v_mailbox.name, p_address => v_mailbox.address) then
      -- Somebody holds what is left, or it is more than one call takes.
      insert into flowgres.pending_wakes (tenant_id, name, address, requested_at)
      values (v_mailbox.tenant_id, v_mailbox.name, v_mailbox.address, flowgres.now());
    end if;
  end loop;
  return v_count;
end;
$$;
comment on function flowgres.deliver_signals(flowgres.pending_wakes[]) is $$Match signals and waits of the mailboxes that these notes speak of; returns how many steps were woken

What is left there, because somebody holds it, is noted again.$$;
