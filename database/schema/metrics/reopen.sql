-- Executions that go on after their end was measured: their next end counts as another one.
--
-- Callers who retry see no row of the installation, so the mark is looked at as the engine.

set local role flowgres_engine;

create or replace function flowgres.note_reopened(p_tenant_ids uuid[], p_execution_ids uuid[], p_generations smallint[])
  returns void language plpgsql security definer set search_path to pg_catalog, pg_temp
as $$
begin
  -- Before the mark each has been measured or is noted there. One that the mark is passing at this moment is taken as its first end was.
  insert into flowgres.metric_open (tenant_id, execution_id, look_at, counted_generation)
  select x.tenant_id, x.id, flowgres.now() + interval '2 s', x.generation - 1
  from unnest(p_tenant_ids, p_execution_ids, p_generations) as x (tenant_id, id, generation)
  where x.id < (
    select flowgres.uuid_v7_floor(m.measured_until) from flowgres.metric_marks as m
    where m.tenant_id = '00000000-0000-0000-0000-000000000000')
  on conflict (tenant_id, execution_id) do nothing;
end;
$$;
comment on function flowgres.note_reopened(uuid[], uuid[], smallint[]) is $$Note executions that were measured and go on, in a generation of this number, to be measured again when they end.$$;
