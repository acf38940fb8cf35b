-- History as lines of JSON that whoever keeps them can check without us: each with its hash and the one before.

set local role flowgres_owner;

create or replace function flowgres.exact_moment(p_at timestamptz)
  returns text language sql stable
as $$ select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'); $$;
comment on function flowgres.exact_moment(timestamptz) is $$A moment in UTC with its microseconds, whatever the session's time zone.$$;

create or replace function flowgres.history_line(p_row flowgres.instance_history, p_instance flowgres.instances, p_previous bytea)
  returns text language sql stable
as $$
  select row_to_json(l)::text
  from (
    select
      (p_row).tenant_id, (p_row).instance_id, (p_row).seq, (p_row).id, (p_instance).workflow_name, (p_instance).entity_table,
      (p_instance).entity_id, (p_row).from_state, (p_row).to_state, (p_row).transition_id, (p_row).transition_name,
      (p_row).executed_by, (p_row).actor, flowgres.exact_moment((p_row).executed_at) as executed_at, (p_row).metadata, (p_row).context,
      (p_row).notes,
      -- What the first hash before is made of.
      case when (p_row).seq = 1 and (p_instance).id is not null then json_build_object(
        'workflow_id', (p_instance).workflow_id, 'workflow_name', (p_instance).workflow_name,
        'entity_table', (p_instance).entity_table, 'entity_id', (p_instance).entity_id, 'metadata', (p_instance).metadata,
        'started_by', (p_instance).started_by, 'started_at', flowgres.exact_moment((p_instance).started_at)) end as instance,
      encode(p_previous, 'hex') as previous_hash, encode((p_row).hash, 'hex') as hash
  ) as l;
$$;
comment on function flowgres.history_line(flowgres.instance_history, flowgres.instances, bytea) is $$A row of history as a line of JSON

p_previous is the hash before it; null where the row before is not there.$$;

set local role flowgres_definer;

create or replace function flowgres.export_history(p_workflow text, p_since timestamptz, p_after text, p_limit integer)
  returns jsonb language plpgsql stable security definer set search_path to pg_catalog, pg_temp
as $$
declare
  -- A page ends with whatever comes first, so that no call takes long or answers much: rows, rows that were passed by, bytes.
  c_most_looked_at constant integer := 50000;
  c_most_bytes constant integer := 4194304;
  v_tenant_id uuid := flowgres.require_tenant();
  v_workflow_id uuid;
  v_after text[] := regexp_match(
    coalesce(p_after, '00000000-0000-0000-0000-000000000000/0'), '^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/([0-9]{1,9})$');
  v_row flowgres.instance_history;
  v_before flowgres.instance_history;
  v_instance flowgres.instances;
  v_previous bytea;
  v_line text;
  v_lines text[] := '{}';
  v_bytes integer := 0;
  v_looked_at integer := 0;
  v_next text;
begin
  if p_limit is null or p_limit not between 1 and 10000 then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'limit must be between 1 and 10000', p_details => 'limit',
      p_hint => 'Go on with after: the next of the answer.');
  end if;
  if v_after is null then
    perform flowgres.fail(
      p_status => 400, p_code => 'argument_invalid', p_message => 'after must be the next of an answer', p_details => 'after',
      p_hint => 'Begin without it.');
  end if;
  if p_workflow is not null then
    v_workflow_id := (flowgres.find_workflow(p_tenant_id => v_tenant_id, p_workflow => p_workflow)).id;
  end if;
  for v_row in
    select h.*
    from flowgres.instance_history as h
    where h.tenant_id = v_tenant_id and (h.instance_id, h.seq) > (v_after[1]::uuid, v_after[2]::integer)
    order by h.instance_id, h.seq
    limit c_most_looked_at
  loop
    v_looked_at := v_looked_at + 1;
    if v_instance.id is distinct from v_row.instance_id then
      select i.* into v_instance from flowgres.instances as i where i.tenant_id = v_tenant_id and i.id = v_row.instance_id;
    end if;
    if v_row.executed_at >= coalesce(p_since, '-infinity') and (v_workflow_id is null or v_workflow_id = v_instance.workflow_id) then
      if v_row.seq = 1 then
        v_previous := case when v_instance.id is not null then flowgres.instance_seed(v_instance) end;
      elsif v_before.instance_id = v_row.instance_id and v_before.seq = v_row.seq - 1 then
        v_previous := v_before.hash;
      else
        v_previous := (
          select p.hash from flowgres.instance_history as p
          where p.tenant_id = v_tenant_id and p.instance_id = v_row.instance_id and p.seq = v_row.seq - 1);
      end if;
      v_line := flowgres.history_line(v_row, v_instance, v_previous);
      v_lines := v_lines || v_line;
      v_bytes := v_bytes + octet_length(v_line);
    end if;
    v_before := v_row;
    if cardinality(v_lines) = p_limit or v_bytes >= c_most_bytes or v_looked_at = c_most_looked_at then
      v_next := format('%s/%s', v_row.instance_id, v_row.seq);
      exit;
    end if;
  end loop;
  return jsonb_build_object('lines', to_jsonb(v_lines), 'next', v_next);
end;
$$;
comment on function flowgres.export_history(text, timestamptz, text, integer) is $$A page of history as lines of JSON, each instance's in the order of its chain: {lines, next}.$$;
