-- When waiting lines are looked at, and what is left of places that nobody has any more.

set local role flowgres_owner;

create or replace function flowgres.admit_beside(p_is_idle boolean)
  returns boolean language plpgsql
as $$
declare
  v_next_at timestamptz := nullif(current_setting('flowgres.admits_at', true), '');
  v_began_at timestamptz := clock_timestamp();
  v_let integer;
begin
  -- A runner that finds other work looks a fifth of its time at most at lines that have no room; one without any has nothing else to do.
  if not p_is_idle and v_began_at < v_next_at
    or (flowgres.next_line(p_tenant_id => '00000000-0000-0000-0000-000000000000', p_line => '')).line is null
  then
    return false;
  end if;
  v_let := flowgres.admit(p_limit => 32);
  perform set_config(
    'flowgres.admits_at', case when v_let = 0 then (clock_timestamp() + 4 * (clock_timestamp() - v_began_at))::text else '' end, false);
  return v_let > 0;
end;
$$;
comment on function flowgres.admit_beside(boolean) is $$Let go what waits for a limit, as a part of a claim; returns whether anything was

Before the claim has locked what it takes. Where nothing waits it is one look at an index.$$;

create or replace function flowgres.prune_slots(p_limit integer)
  returns integer language plpgsql
as $$
declare
  v_cursor text := nullif(current_setting('flowgres.slots_pruned', true), '');
  v_tenant_id uuid := coalesce(left(v_cursor, 36)::uuid, '00000000-0000-0000-0000-000000000000');
  v_line text := coalesce(substr(v_cursor, 37), '');
  v_count integer := 0;
begin
  -- From line to line, each under the lock of its limit: who lets go waits for nothing that is deleted here.
  for v_turn in 1..p_limit loop
    select s.tenant_id, s.line into v_tenant_id, v_line
    from flowgres.limit_slots as s
    where (s.tenant_id, s.line) > (v_tenant_id, v_line)
    order by s.tenant_id, s.line
    limit 1;
    if not found then
      v_line := '';
      exit;
    end if;
    v_count := v_count + 1;
    perform from flowgres.limits as l
    where l.tenant_id = v_tenant_id and l.kind = case when v_line like 'limit:@%' then 'workflow' else 'step' end
      and l.name = case when v_line like 'limit:@%' then substr(v_line, 8, 36) else substr(v_line, 7) end
    for no key update skip locked;
    if found then
      perform flowgres.free_slots(p_tenant_id => v_tenant_id, p_line => v_line);
    end if;
  end loop;
  perform set_config('flowgres.slots_pruned', case when v_line <> '' then v_tenant_id || v_line else '' end, false);
  return v_count;
end;
$$;
comment on function flowgres.prune_slots(integer) is $$Forget places that nobody has any more, of so many lines, going on where the last call of the session ended; returns how many were looked at.$$;
