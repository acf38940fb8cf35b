-- Steps that begin to wait for signals and events.

set local role flowgres_owner;

create or replace function flowgres.label_awaited(p_awaited jsonb)
  returns text language sql immutable parallel safe
as $$
  select case when p_awaited ? 'event' then 'event:' || (p_awaited ->> 'event') else 'signal:' || (p_awaited ->> 'signal') end
    || coalesce('/' || (p_awaited ->> 'key'), '');
$$;
comment on function flowgres.label_awaited(jsonb) is $$How one of those that a step waits for is told: signal:packed/42.$$;

create or replace function flowgres.label_wait(p_for jsonb)
  returns text language sql immutable parallel safe
as $$
  select case
    when jsonb_array_length(p_for) = 1 then flowgres.label_awaited(p_for -> 0)
    else left('first_of:' || (
      select coalesce(string_agg(flowgres.label_awaited(a.value), ', ' order by a.place), '')
      from jsonb_array_elements(p_for) with ordinality as a (value, place)), 500)
  end;
$$;
comment on function flowgres.label_wait(jsonb) is $$What the row of the queue of a step that waits says.$$;

create or replace function flowgres.register_waits(
  p_state flowgres.advance_state, inout p_reports flowgres.step_report[], p_places integer[]
)
  language plpgsql
as $$
declare
  v_report flowgres.step_report;
  v_place integer;
begin
  foreach v_place in array p_places loop
    v_report := p_reports[v_place];
    v_report.waits := flowgres.label_wait(p_for => v_report.input -> 'for');
    p_reports[v_place] := v_report;
  end loop;
end;
$$;
comment on function flowgres.register_waits(flowgres.advance_state, flowgres.step_report[], integer[]) is $$Write down which signals and events these steps wait for.$$;
