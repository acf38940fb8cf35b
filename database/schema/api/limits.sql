-- Limits of steps, as clients see and set them.

set local role flowgres_owner;

create or replace view flowgres_api.limits with (security_invoker = true) as
select
  l.tenant_id,
  l.name,
  l.capacity,
  l.per_seconds,
  l.in_use,
  l.waiting
from flowgres.show_limits() as l;

comment on view flowgres_api.limits is $$Limits

How many steps that name one may run at once, or begin in a time.$$;
comment on column flowgres_api.limits.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.limits.name is $$Name that steps give$$;
comment on column flowgres_api.limits.capacity is $$How many at once, or in per_seconds$$;
comment on column flowgres_api.limits.per_seconds is $$Time in which so many may begin; null: so many at once$$;
comment on column flowgres_api.limits.in_use is $$How many have a place, or have begun in the time that ends now$$;
comment on column flowgres_api.limits.waiting is $$How many steps wait for it$$;

create or replace function flowgres_api.set_limit(
  name text, capacity integer, per_seconds double precision default null, reason text default null
)
  returns jsonb language sql
as $$ select flowgres.set_limit(p_name => name, p_capacity => capacity, p_per_seconds => per_seconds, p_reason => reason); $$;
comment on function flowgres_api.set_limit(text, integer, double precision, text) is $$Set how many steps with this limit run at once

With per_seconds: how many may begin in that time. What waits sees a change at once; what runs goes on.
Returns {name, capacity, per_seconds, in_use, waiting}.$$;

create or replace function flowgres_api.delete_limit(name text, reason text default null)
  returns jsonb language sql
as $$ select flowgres.delete_limit(p_name => name, p_reason => reason); $$;
comment on function flowgres_api.delete_limit(text, text) is $$Delete a limit

Refused while a step of an active workflow names it, or one waits for it. Returns {name, deleted}.$$;
