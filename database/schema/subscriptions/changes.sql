-- What changes of tables start. Every runner does it; who takes a change holds its row, and it is gone with the same commit that
-- writes its executions: each starts once.

set local role flowgres_owner;

create or replace function flowgres.list_changed_rows(p_change flowgres.table_changes)
  returns table (place bigint, old_row json, new_row json) rows 1000 language sql immutable set search_path to pg_catalog, pg_temp
as $$
  select coalesce(n.place, o.place), o.value, n.value
  from json_array_elements(coalesce((p_change).new_rows, '[]')) with ordinality as n (value, place)
  full join json_array_elements(coalesce((p_change).old_rows, '[]')) with ordinality as o (value, place) on o.place = n.place
  order by 1;
$$;
comment on function flowgres.list_changed_rows(flowgres.table_changes) is $$The rows of a change, before and after.$$;

create or replace function flowgres.describe_change(p_change flowgres.table_changes, p_old_row json, p_new_row json)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
declare
  v_old jsonb := p_old_row::jsonb;
  v_new jsonb := p_new_row::jsonb;
begin
  return jsonb_build_object('table', (p_change).name, 'event', (p_change).change, 'at', (p_change).changed_at)
    || case when v_old is not null then jsonb_build_object('old', v_old) else '{}' end
    || case when v_new is not null then jsonb_build_object('new', v_new) else '{}' end
    || case when v_old is not null and v_new is not null then jsonb_build_object('changed', (
      select coalesce(jsonb_agg(n.key order by n.key), '[]')
      from jsonb_each(v_new) as n
      where n.value is distinct from v_old -> n.key)) else '{}' end;
end;
$$;
comment on function flowgres.describe_change(flowgres.table_changes, json, json) is $$The payload of a changed row: {table, event, at, old, new, changed}

changed lists the columns that an update has given another value.$$;

create or replace function flowgres.start_changed_rows(
  p_change flowgres.table_changes, p_subscription flowgres.subscriptions, p_now timestamptz
)
  returns integer language plpgsql set search_path to pg_catalog, pg_temp
as $$
declare
  v_version flowgres.workflow_versions;
  v_row record;
  v_payload jsonb;
  v_input jsonb;
  v_inputs jsonb[] := '{}';
  v_triggers jsonb[] := '{}';
  v_common jsonb := jsonb_strip_nulls(jsonb_build_object(
    'type', 'table', 'table', (p_change).name, 'event', (p_change).change, 'id', (p_change).id, 'at', (p_change).changed_at,
    'hops', nullif((p_change).hops, 0), 'subscription', (p_subscription).id));
  v_code text;
  v_message text;
  v_refused integer := 0;
begin
  begin
    perform flowgres.refuse_loop(p_tenant_id => (p_change).tenant_id, p_hops => (p_change).hops);
    v_version := flowgres.find_active_version(p_tenant_id => (p_change).tenant_id, p_workflow_id => (p_subscription).workflow_id);
  exception when others then
    if sqlstate ~ '^(40|53|55|57|58)' then
      raise;
    end if;
    get stacked diagnostics v_code = constraint_name;
    perform flowgres.record_refusal(
      p_subscription_id => (p_subscription).id, p_tenant_id => (p_change).tenant_id,
      p_code => flowgres.read_refusal(p_sqlstate => sqlstate, p_constraint => v_code, p_message => sqlerrm),
      p_message => sqlerrm, p_now => p_now, p_count => (p_change).row_count);
    return 0;
  end;
  for v_row in select * from flowgres.list_changed_rows(p_change) loop
    -- Nothing is written here, so this costs no number of a transaction.
    begin
      v_payload := flowgres.describe_change(p_change => p_change, p_old_row => v_row.old_row, p_new_row => v_row.new_row);
      continue when not coalesce(
        (p_subscription).filter is null or jsonb_path_match(v_payload, (p_subscription).filter, '{}', true), false);
      v_input := flowgres.trigger_input(
        p_mapping => (p_subscription).input, p_payload => v_payload, p_inputs => v_version.inputs,
        p_takes_additional => v_version.takes_additional_inputs);
      v_input := flowgres.check_input(
        p_inputs => v_version.inputs, p_takes_additional => v_version.takes_additional_inputs, p_input => v_input);
      perform flowgres.check_payload(p_tenant_id => (p_change).tenant_id, p_payload => v_input, p_what => 'the input');
      perform flowgres.check_payload(p_tenant_id => (p_change).tenant_id, p_payload => v_payload, p_what => 'the row');
      v_inputs := v_inputs || v_input;
      v_triggers := v_triggers || (v_common || jsonb_build_object('payload', v_payload));
    exception when others then
      if sqlstate ~ '^(40|53|55|57|58)' then
        raise;
      end if;
      get stacked diagnostics v_code = constraint_name;
      v_code := flowgres.read_refusal(p_sqlstate => sqlstate, p_constraint => v_code, p_message => sqlerrm);
      v_message := sqlerrm;
      v_refused := v_refused + 1;
    end;
  end loop;
  if v_refused > 0 then
    perform flowgres.record_refusal(
      p_subscription_id => (p_subscription).id, p_tenant_id => (p_change).tenant_id, p_code => v_code, p_message => v_message,
      p_now => p_now, p_count => v_refused);
  end if;
  if v_inputs = '{}' then
    return 0;
  end if;
  return cardinality(flowgres.insert_executions(
    p_version => v_version, p_ids => flowgres.uuids_v7(p_at => p_now, p_count => cardinality(v_inputs)), p_inputs => v_inputs,
    p_now => p_now, p_trigger_type => 'table', p_triggers => v_triggers, p_created_by => 'subscription:' || (p_subscription).id));
end;
$$;
comment on function flowgres.start_changed_rows(flowgres.table_changes, flowgres.subscriptions, timestamptz)
is $$Start the executions of one subscription for the rows of a change that its filter holds for; returns how many

A row that the inputs do not take is passed over, and last_error of the subscription says so.$$;

set local role flowgres_engine;

create or replace function flowgres.start_changes(
  p_limit integer, out p_picked integer, out p_started integer
)
  language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
declare
  c_most_looked_at constant integer := 1000;
  v_now timestamptz := flowgres.now();
  v_changes flowgres.table_changes[];
  v_change flowgres.table_changes;
  v_subscription flowgres.subscriptions;
  v_started integer;
  v_is_told boolean;
begin
  p_picked := 0;
  p_started := 0;
  if not exists (select from flowgres.table_changes as c where c.due_at <= v_now) then
    return;
  end if;
  -- In a copy of the database the original's changes are not to start once more.
  perform flowgres.require_original();
  v_changes := array(
    select c
    from (
      select d.tenant_id, d.id, d.due_at, row_number() over (partition by d.tenant_id order by d.due_at, d.id) as turn
      from (
        select i.tenant_id, i.id, i.due_at from flowgres.table_changes as i
        where i.due_at <= v_now order by i.due_at limit c_most_looked_at
      ) as d
    ) as t
    join flowgres.table_changes as c on c.tenant_id = t.tenant_id and c.id = t.id
    where c.due_at <= v_now
    order by t.turn, t.due_at, t.id
    limit p_limit
    for update of c skip locked);
  p_picked := cardinality(v_changes);
  foreach v_change in array v_changes loop
    begin
      v_started := 0;
      for v_subscription in
        select s.*
        from flowgres.subscriptions as s
        where s.tenant_id = v_change.tenant_id and s.name = v_change.name and s.kind = 'table' and s.is_active
          and v_change.change = any(s.changes)
        order by s.id
      loop
        v_started := v_started + flowgres.start_changed_rows(
          p_change => v_change, p_subscription => v_subscription, p_now => v_now);
      end loop;
      delete from flowgres.table_changes as c where c.tenant_id = v_change.tenant_id and c.id = v_change.id;
      p_started := p_started + v_started;
    exception when others then
      if sqlstate ~ '^(40|53|55|57|58)' then
        raise;
      end if;
      -- What fails whole is kept, and does not keep the others waiting.
      raise warning 'changes of % could not be started: %', v_change.name, sqlerrm;
      update flowgres.table_changes as c
      set attempts = least(c.attempts + 1, 32767), due_at = v_now + make_interval(secs => least(2 ^ c.attempts, 3600))
      where c.tenant_id = v_change.tenant_id and c.id = v_change.id;
    end;
  end loop;
  if p_started > 0 then
    v_is_told := flowgres.wake_runners();
  end if;
end;
$$;
comment on function flowgres.start_changes(integer) is $$Start what changes of tables start, of p_limit written changes at most

Returns how many it took and how many executions it started. Whoever got as many as it wanted calls again. Each tenant has its turn.$$;
