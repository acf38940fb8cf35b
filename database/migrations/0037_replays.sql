-- Executions that repeat others, whole or from a step on.
--
-- squawk-ignore-file require-concurrent-index-creation
--
-- The index is partial, and holds what somebody has replayed: deliveries that were sent again, so far. To find those a table is read once.

set local role flowgres_owner;

alter table flowgres.step_executions add column reused_from uuid;

create index executions_replays_idx on flowgres.executions (tenant_id, replayed_from) where replayed_from is not null;
