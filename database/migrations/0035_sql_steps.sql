-- Steps that call a function of the user's own: which functions tenants may call, and the calls that are under way.

set local role flowgres_owner;

create table flowgres.sql_functions (
  tenant_id uuid not null,
  signature text not null,
  schema_name text not null,
  function_name text not null,
  argument_types text not null,
  created_by text not null,
  created_at timestamptz not null,
  constraint sql_functions_pkey primary key (tenant_id, signature)
);
comment on table flowgres.sql_functions is $$Functions that sql steps may call

Of one tenant, or of all where the tenant is that of the installation. Operators write it.$$;
comment on column flowgres.sql_functions.tenant_id is $$Tenant whose steps may call it; that of the installation for all$$;
comment on column flowgres.sql_functions.signature is $$Schema, name and types of the arguments: shop.reserve(uuid, integer)$$;
comment on column flowgres.sql_functions.schema_name is $$Schema that it is in$$;
comment on column flowgres.sql_functions.function_name is $$Its name$$;
comment on column flowgres.sql_functions.argument_types is $$Types of its arguments, as oidvectortypes tells them$$;
comment on column flowgres.sql_functions.created_by is $$Who allowed it$$;
comment on column flowgres.sql_functions.created_at is $$When that was$$;

-- A row lives as long as the transaction that wrote it: nobody else ever sees one, and a crash leaves nothing to keep.
create unlogged table flowgres.sql_calls (
  tenant_id uuid not null,
  transaction_id xid8 not null,
  execution_id uuid not null,
  queue_id bigint not null,
  runner_id uuid not null,
  token bigint not null,
  secret_hash bytea not null,
  constraint sql_calls_pkey primary key (tenant_id, transaction_id)
);
comment on table flowgres.sql_calls is $$Calls of sql steps that are under way: each is seen by its own transaction alone, and gone when that ends$$;
comment on column flowgres.sql_calls.tenant_id is $$Tenant of the step, for which all of the transaction is done$$;
comment on column flowgres.sql_calls.transaction_id is $$The transaction$$;
comment on column flowgres.sql_calls.execution_id is $$Execution of the step$$;
comment on column flowgres.sql_calls.queue_id is $$Its row of the queue$$;
comment on column flowgres.sql_calls.runner_id is $$The runner that has leased it$$;
comment on column flowgres.sql_calls.token is $$The lease$$;
comment on column flowgres.sql_calls.secret_hash is $$SHA-256 of what the runner shows when it brings the result; the function never sees it$$;

-- Whose a transaction is, is asked by its number alone.
create index sql_calls_transaction_idx on flowgres.sql_calls (transaction_id);
