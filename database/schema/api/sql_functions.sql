-- Functions that sql steps may call, as clients see them and operators command them.

set local role flowgres_owner;

create or replace view flowgres_api.sql_functions with (security_invoker = true) as
select
  f.tenant_id,
  f.signature,
  f.schema_name || '.' || f.function_name as name,
  d.arguments,
  d.result_type,
  coalesce(d.returns_set, false) as returns_set,
  f.tenant_id = '00000000-0000-0000-0000-000000000000' as for_all,
  p.oid is not null as is_there,
  f.created_by,
  f.created_at
from flowgres.sql_functions as f
left join pg_catalog.pg_namespace as n on n.nspname = f.schema_name
left join pg_catalog.pg_proc as p
  on p.pronamespace = n.oid and p.proname = f.function_name and pg_catalog.oidvectortypes(p.proargtypes) = f.argument_types
    and p.prokind = 'f'
left join lateral flowgres.describe_function(p_function => p.oid) as d on true;

comment on view flowgres_api.sql_functions is $$Functions that sql steps may call

Those of the tenant, and those of all. Operators allow them.$$;
comment on column flowgres_api.sql_functions.tenant_id is $$Tenant whose steps may call it; that of the installation for all$$;
comment on column flowgres_api.sql_functions.signature is $$Schema, name and types of the arguments$$;
comment on column flowgres_api.sql_functions.name is $$What a step names: schema and name$$;
comment on column flowgres_api.sql_functions.arguments is $$Its arguments as [{name, type, required}], in their order$$;
comment on column flowgres_api.sql_functions.result_type is $$Type of its result$$;
comment on column flowgres_api.sql_functions.returns_set is $$Whether it returns rows: the output is an array then$$;
comment on column flowgres_api.sql_functions.for_all is $$Whether the steps of all tenants may call it$$;
comment on column flowgres_api.sql_functions.is_there is $$Whether the database has it$$;
comment on column flowgres_api.sql_functions.created_by is $$Who allowed it$$;
comment on column flowgres_api.sql_functions.created_at is $$When that was$$;

create or replace function flowgres_api.allow_function(signature text, tenant text default null)
  returns jsonb language sql
as $$ select flowgres.allow_function(p_signature => signature, p_slug => tenant); $$;
comment on function flowgres_api.allow_function(text, text) is $$Let sql steps call a function

For operators. signature is schema, name and types, such as shop.reserve(uuid, integer); without a tenant the steps of all may call it.
Returns {signature, tenant, created}.$$;

create or replace function flowgres_api.disallow_function(signature text, tenant text default null)
  returns jsonb language sql
as $$ select flowgres.disallow_function(p_signature => signature, p_slug => tenant); $$;
comment on function flowgres_api.disallow_function(text, text) is $$Take back that sql steps may call a function

For operators. Steps that call it fail from the next call on. Returns {signature, tenant}.$$;
