-- The history of instances as a chain: the hash of each row covers the row and the hash before, the first one the instance itself.

set local role flowgres_owner;

create or replace function flowgres.instance_seed(p_instance flowgres.instances)
  returns bytea language plpgsql stable
as $$
begin
  return sha256(convert_to(jsonb_build_array(
    p_instance.tenant_id, p_instance.id, p_instance.workflow_id, p_instance.workflow_name, p_instance.entity_table,
    p_instance.entity_id, p_instance.metadata, p_instance.started_by,
    (extract(epoch from p_instance.started_at) * 1000000)::bigint)::text, 'UTF8'));
end;
$$;
comment on function flowgres.instance_seed(flowgres.instances) is $$Where the chain of an instance begins: a hash of all of it that never changes.$$;

create or replace function flowgres.history_hash(p_before bytea, p_row flowgres.instance_history)
  returns bytea language plpgsql stable
as $$
begin
  -- As JSON, whose text is one for equal content; the moment as a number, because its text depends on the session.
  return sha256(p_before || convert_to(jsonb_build_array(
    p_row.tenant_id, p_row.instance_id, p_row.seq, p_row.id, p_row.from_state, p_row.to_state, p_row.transition_id,
    p_row.transition_name, p_row.executed_by, p_row.actor, (extract(epoch from p_row.executed_at) * 1000000)::bigint,
    p_row.metadata, p_row.context, p_row.notes)::text, 'UTF8'));
end;
$$;
comment on function flowgres.history_hash(bytea, flowgres.instance_history) is $$Hash of a row of history, given the hash before; its own column hash is not looked at.$$;

create or replace function flowgres.chain_row(p_before bytea, p_row flowgres.instance_history)
  returns flowgres.instance_history language plpgsql stable
as $$
begin
  p_row.hash := flowgres.history_hash(p_before, p_row);
  return p_row;
end;
$$;
comment on function flowgres.chain_row(bytea, flowgres.instance_history) is $$A row of history with its hash, given the hash before: as it is written.$$;
