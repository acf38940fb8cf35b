-- after-every-change
--
-- The periods that are missing now: all at the installation, and those of a family that a migration has added.

set local role flowgres_owner;

do $$
begin
  while (flowgres.create_history() ->> 'created')::integer > 0 loop
    null;
  end loop;
end
$$;
