-- The age of a ready row as a rank of its own, what a session knows of lines under a held snapshot, and chains after which their
-- execution goes on.
--
-- The queue is small; what is dropped here is the engine's own, and nobody else's.
-- squawk-ignore-file adding-not-nullable-field, adding-required-field, ban-drop-column, ban-drop-constraint, ban-drop-function, constraint-missing-not-valid
-- squawk-ignore-file require-concurrent-index-creation, require-concurrent-index-deletion

set local role flowgres_owner;

alter table flowgres.work_queue add column rank bigint;
update flowgres.work_queue as q set rank = q.id;
-- A new row has just taken its id, and no number of the sequence is as cheap as the same one.
alter table flowgres.work_queue
alter column rank set not null,
alter column rank set default lastval();
comment on column flowgres.work_queue.rank is $$Age in its line: taken from the sequence of the ids whenever the row becomes ready to be claimed.$$;

-- A row is written again by its lease and by each step that it is re-pointed to: on the same page that logs no more than what
-- changed, and locks nothing twice. So for executions, in the periods to come.
alter table flowgres.work_queue set (fillfactor = 40);
update flowgres.history_tables as t
set storage = 'fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05'
where t.table_name = 'executions';

drop index flowgres.work_queue_ready_idx;
create index work_queue_ready_idx on flowgres.work_queue (capability, tenant_id, priority, is_new, rank)
where runner_id is null and due_at is null and not held;

-- What a session knows of lines whose beginnings are taken, while a snapshot keeps a vacuum from removing them. Not stored anywhere.

create type flowgres.queue_range as (
  capability text,
  after_tenant_id uuid,
  before_tenant_id uuid,
  tenant_id uuid,
  after_priority smallint,
  before_priority smallint,
  priority smallint,
  is_new boolean,
  floor bigint
);
comment on type flowgres.queue_range is $$A stretch of work_queue_ready_idx that is to be read

Of a capability all between two tenants (tenant_id is null), or of a tenant all between two priorities (priority is null), or a
line from its floor on: no row of it that is ready has a lower rank. An index is entered and left at once only where all columns
but the last are equal to something.$$;

create type flowgres.queue_floors as (
  rank bigint,
  at timestamptz,
  xid xid8,
  due_at timestamptz,
  full_at timestamptz,
  capabilities text[],
  ranges flowgres.queue_range[]
);
comment on type flowgres.queue_floors is $$What a session knows of the beginnings of its indexes

ranges are what is to be read for these capabilities, due_at is the floor of the rows that are due. rank and at are the floors that
hold once every transaction before xid has ended; at full_at the indexes are read from their beginnings again.$$;

-- All are compiled anew by schema/work/chains.sql.
delete from flowgres.chains as c where true;
alter table flowgres.chains
add column children smallint[] not null,
add column opens smallint[] not null,
add column open_capabilities text[] not null,
add column open_computes boolean[] not null,
drop constraint chains_are_parallel,
add constraint chains_are_parallel check (
  cardinality(indexes) between 1 and 16 and cardinality(steps) = cardinality(indexes) and cardinality(types) = cardinality(indexes)
  and cardinality(open_capabilities) = cardinality(opens) and cardinality(open_computes) = cardinality(opens)
);
comment on column flowgres.chains.children is $$Indexes of the steps that depend on the last one, and of which more must be known to say whether they run.$$;
comment on column flowgres.chains.opens is $$Indexes of the steps that run when the last one has completed, whatever else there is.$$;
comment on column flowgres.chains.open_capabilities is $$What a runner must have to take each of these.$$;
comment on column flowgres.chains.open_computes is $$Which of these only compute.$$;

create type flowgres.reported_chain as (
  place integer,
  tenant_id uuid,
  execution_id uuid,
  queue_id bigint,
  token bigint,
  version_id uuid,
  head smallint,
  step_count smallint,
  outputs jsonb,
  indexes smallint[],
  steps text[],
  types text[],
  event_count smallint,
  children smallint[],
  opens smallint[],
  open_capabilities text[],
  open_computes boolean[]
);
comment on type flowgres.reported_chain is $$A lease whose chain completed: what its runner says of it, and what was compiled

outputs are [[milliseconds, output], ...]; what was compiled is null where there is no such chain.$$;

-- Parts of the advance that take or give something else now; the schema files write them.
alter type flowgres.ready_step add attribute only_computes boolean;
drop function if exists flowgres.make_ready_step(integer, bigint, smallint, text);
drop function if exists flowgres.carry_on(flowgres.advance_state);
drop function if exists flowgres.advance_chains(uuid, uuid[], uuid[], bigint[], bigint[], uuid[], smallint[], smallint[], jsonb[]);
drop function if exists flowgres.unfold_chains(
  integer[], uuid[], uuid[], bigint[], bigint[], uuid[], smallint[], smallint[], jsonb[]
);
drop function if exists flowgres.move_ready(flowgres.advance_state, integer, integer);
drop function if exists flowgres.room_for_ready(flowgres.advance_state);
