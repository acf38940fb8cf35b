-- What the engine leaves for those who listen: which events there are, and that an execution has ended.

set local role flowgres_owner;

create or replace function flowgres.tell_streams(p_tenant_ids uuid[], p_execution_ids uuid[], p_event_seqs integer[], p_now timestamptz)
  returns void language plpgsql
as $$
begin
  -- Mostly nobody listens, and this is all that it costs.
  if not exists (select from flowgres.stream_watches) then
    return;
  end if;
  insert into flowgres.stream_changes (tenant_id, xid, execution_id, after_seq, last_seq, at)
  select x.tenant_id, pg_current_xact_id()::text::bigint, x.id, x.seq, e.event_seq, p_now
  from unnest(p_tenant_ids, p_execution_ids, p_event_seqs) as x (tenant_id, id, seq)
  join flowgres.stream_watches as w on w.tenant_id = x.tenant_id
  cross join lateral (
    select n.event_seq
    from flowgres.executions as n
    where n.tenant_id = x.tenant_id and n.id = x.id
    offset 0
  ) as e
  where e.event_seq > x.seq and not flowgres.is_hidden(x.id);
end;
$$;
comment on function flowgres.tell_streams(uuid[], uuid[], integer[], timestamptz) is $$Write down which events these executions got in this transaction, as far as somebody listens to their tenants

p_event_seqs are the numbers of their last events before. The caller holds their locks, so the ranges of one execution follow each
other as the transactions commit.$$;

create or replace function flowgres.tell_ends()
  returns void language plpgsql
as $$
begin
  perform pg_notify('flowgres_ends', '');
end;
$$;
comment on function flowgres.tell_ends() is $$Tell those who wait that an execution has ended

Only for one that is_awaited: NOTIFY takes a lock of the whole database at commit. The payload is empty, because any login can listen.
A hint, which saves up to a look of waiting, and never a guarantee.$$;
