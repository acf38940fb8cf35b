-- What is hidden: executions that the product runs for a tenant, which are no executions of his.
--
-- Their ids are UUIDs of version 8 (RFC 9562: the maker's own), ordered by time as all others. So whatever has the id of an execution
-- tells by it alone, and no view has to look anything up.

set local role flowgres_owner;

-- One expression, without a search_path and not strict: it is inlined into views.
create or replace function flowgres.is_hidden(p_id uuid)
  returns boolean language sql immutable parallel safe
as $$
  select get_byte(uuid_send(p_id), 6) between 128 and 143;
$$;
comment on function flowgres.is_hidden(uuid) is $$Whether an id is that of something which the product runs for itself, and nobody lists.$$;

create or replace function flowgres.hidden_id(p_id uuid)
  returns uuid language sql immutable parallel safe
as $$
  select overlay(p_id::text placing '8' from 15 for 1)::uuid;
$$;
comment on function flowgres.hidden_id(uuid) is $$An id as hidden ones are: of the same time, of version 8.$$;

create or replace function flowgres.hidden_ids(p_at timestamptz, p_count integer)
  returns uuid[] language sql volatile parallel safe
as $$
  select coalesce(array_agg(g.id order by g.id), '{}')
  from (select flowgres.hidden_id(flowgres.uuid_v7(p_at)) as id from generate_series(1, p_count)) as g;
$$;
comment on function flowgres.hidden_ids(timestamptz, integer) is $$Hidden ids of one moment, ascending.$$;
