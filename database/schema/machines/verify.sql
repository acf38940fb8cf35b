-- Whether the history of instances is what was written: asked of the hashes, row by row.

set local role flowgres_owner;

create or replace function flowgres.find_breaks(p_tenant_id uuid, p_instance_ids uuid[])
  returns table (instance_id uuid, seq integer, problem text)
  language sql stable rows 10 set search_path to pg_catalog, pg_temp
as $$
  with told as materialized (
    select
      h as entry, i as instance, i.id is null as is_alone,
      lag(h.seq) over w as before_seq, lag(h.hash) over w as before_hash, lead(h.seq) over w is null as is_last
    from flowgres.instance_history as h
    left join flowgres.instances as i on i.tenant_id = h.tenant_id and i.id = h.instance_id
    where h.tenant_id = p_tenant_id and h.instance_id = any(p_instance_ids)
    window w as (partition by h.instance_id order by h.seq)
  )
  -- A row was removed before this one; of whether this one is as it was, nothing can be said then.
  select (t.entry).instance_id, (t.entry).seq - 1, 'row_removed' from told as t
  where not t.is_alone and (t.entry).seq <> coalesce(t.before_seq, 0) + 1
  union all
  select (t.entry).instance_id, (t.entry).seq, 'row_changed' from told as t
  where not t.is_alone and (t.entry).seq = coalesce(t.before_seq, 0) + 1 and (t.entry).seq <= (t.instance).history_count
    and (t.entry).hash <> flowgres.history_hash(coalesce(t.before_hash, flowgres.instance_seed(t.instance)), t.entry)
  union all
  select (t.entry).instance_id, (t.entry).seq, 'row_inserted' from told as t
  where not t.is_alone and (t.entry).seq > (t.instance).history_count
  union all
  select (t.entry).instance_id, (t.instance).history_count, 'row_removed' from told as t
  where t.is_last and (t.entry).seq < (t.instance).history_count
  union all
  select (t.entry).instance_id, (t.entry).seq, 'head_changed' from told as t
  where (t.entry).seq = (t.instance).history_count and (t.entry).hash <> (t.instance).history_head
  union all
  select (t.entry).instance_id, (t.entry).seq, 'state_changed' from told as t
  where (t.entry).seq = (t.instance).history_count and (t.entry).to_state <> (t.instance).state
  union all
  select (t.entry).instance_id, (t.entry).seq, 'instance_removed' from told as t where t.is_alone and t.is_last
  union all
  select i.id, i.history_count, 'row_removed'
  from flowgres.instances as i
  where i.tenant_id = p_tenant_id and i.id = any(p_instance_ids)
    and not exists (select from flowgres.instance_history as h where h.tenant_id = i.tenant_id and h.instance_id = i.id);
$$;
comment on function flowgres.find_breaks(uuid, uuid[]) is $$Where the histories of these instances are not what was written

problem is row_changed (the row, or at 1 what never changes of the instance), row_removed, row_inserted, head_changed, state_changed or
instance_removed.$$;

set local role flowgres_definer;

create or replace function flowgres.verify_history(p_instance_id uuid, p_after uuid, p_limit integer)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_first constant uuid := '00000000-0000-0000-0000-000000000000';
  c_last constant uuid := 'ffffffff-ffff-ffff-ffff-ffffffffffff';
  v_tenant_id uuid := flowgres.require_tenant();
  v_after uuid := coalesce(p_after, c_first);
  v_next uuid;
  v_ids uuid[] := array[p_instance_id];
  v_rows bigint;
  v_problems jsonb;
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'limit must be between 1 and 10000', p_details => 'limit',
      p_hint => 'Go on with after: the next of the answer.');
  end if;
  if p_instance_id is null then
    v_ids := array(
      select i.id from flowgres.instances as i where i.tenant_id = v_tenant_id and i.id > v_after order by i.id limit p_limit);
    v_next := case when cardinality(v_ids) = p_limit then v_ids[p_limit] end;
    -- Histories whose instance somebody has deleted.
    v_ids := v_ids || array(
      select distinct h.instance_id
      from flowgres.instance_history as h
      where h.tenant_id = v_tenant_id and h.instance_id > v_after and h.instance_id <= coalesce(v_next, c_last)
        and not exists (select from flowgres.instances as i where i.tenant_id = h.tenant_id and i.id = h.instance_id));
  end if;
  select count(*) into v_rows
  from flowgres.instance_history as h
  where h.tenant_id = v_tenant_id and h.instance_id = any(v_ids);
  if p_instance_id is not null and v_rows = 0 then
    perform flowgres.find_instance(p_tenant_id => v_tenant_id, p_instance_id => p_instance_id);
  end if;
  select coalesce(jsonb_agg(jsonb_build_object('instance_id', b.instance_id, 'seq', b.seq, 'problem', b.problem)
    order by b.instance_id, b.seq, b.problem), '[]')
  into v_problems
  from flowgres.find_breaks(p_tenant_id => v_tenant_id, p_instance_ids => v_ids) as b;
  return jsonb_build_object(
    'valid', v_problems = '[]', 'instances', cardinality(v_ids), 'rows', v_rows, 'problems', v_problems, 'next', v_next);
end;
$$;
comment on function flowgres.verify_history(uuid, uuid, integer) is $$Check the history of one instance, or of a page of them: {valid, instances, rows, problems, next}.$$;
