-- Steps of one batch of reports that cancel each other.

set local role flowgres_owner;

create or replace function flowgres.standing_cancels(p_given jsonb)
  returns table (slot integer, q bigint, cancel_indexes smallint[])
  language plpgsql immutable rows 2
as $$
declare
  v_given jsonb;
  v_cancelled smallint[];
  v_by_this smallint[];
begin
  for v_given in select g.value from jsonb_array_elements(p_given) with ordinality as g order by g.ordinality loop
    if slot is distinct from (v_given -> 0)::integer then
      v_cancelled := '{}';
      v_by_this := '{}';
    elsif q <> (v_given -> 1)::bigint then
      v_cancelled := v_cancelled || v_by_this;
      v_by_this := '{}';
    end if;
    slot := (v_given -> 0)::integer;
    q := (v_given -> 1)::bigint;
    -- What is cancelled itself has not ended, and cancels nothing.
    continue when (v_given -> 2)::smallint = any(v_cancelled);
    cancel_indexes := array(select c.value::smallint from jsonb_array_elements(v_given -> 3) as c);
    v_by_this := v_by_this || cancel_indexes;
    return next;
  end loop;
end;
$$;
comment on function flowgres.standing_cancels(jsonb) is $$Which completed steps of a batch cancel others, and not by one before them are cancelled themselves

p_given is [[slot, queue id, step, steps that it cancels]], in the order of slots and queue ids.$$;
