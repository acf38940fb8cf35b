-- Columns of private tables, for those who read them in psql or pgAdmin: the queue and the runners.
--
-- Those that a migration explains are not repeated.

set local role flowgres_owner;

comment on column flowgres.work_queue.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.work_queue.execution_id is $$The execution that the step belongs to$$;
comment on column flowgres.work_queue.id is $$Number in order of arrival, new for each row$$;
comment on column flowgres.work_queue.version_id is $$The version that the execution runs$$;
comment on column flowgres.work_queue.runner_id is $$The runner that holds the lease; null is none$$;
comment on column flowgres.work_queue.due_at is $$Not before this; infinity is until woken$$;
comment on column flowgres.work_queue.waits_for is $$What a parked row waits for: a word with its key

start, retry, timer, child:<execution>, approval:<id>, signal:<name>/<key>, event:<name>, first_of:<these>, callback:<step>,
worker:<queue>, task:<worker>.$$;
comment on column flowgres.work_queue.ready_at is $$When its dependencies were met: age decides among equals$$;
comment on column flowgres.work_queue.claimed_at is $$When the lease was taken$$;
comment on column flowgres.work_queue.iteration is $$-1 for the step itself, 0 and up for the iterations of a foreach$$;
comment on column flowgres.work_queue.step_index is $$The step's number in workflow_steps$$;
comment on column flowgres.work_queue.generation is $$Generation of the execution when it became ready$$;
comment on column flowgres.work_queue.priority is $$0 goes first, 9 last$$;
comment on column flowgres.work_queue.capability is $$What a runner must serve to claim it: core, sql, task:<queue> while a worker outside has to do it, or the name of a custom step type$$;

comment on column flowgres.runners.tenant_id is $$The system tenant, all zeros: runners serve all$$;
comment on column flowgres.runners.id is $$Identifier, new for every process$$;
comment on column flowgres.runners.name is $$Name that it gave itself, its host's unless told otherwise$$;
comment on column flowgres.runners.version is $$Version of its program$$;
comment on column flowgres.runners.protocol is $$Number that it and the database agreed on$$;
comment on column flowgres.runners.capabilities is $$What it serves: core, sql, and names of custom step types$$;
comment on column flowgres.runners.labels is $$Labels that it serves$$;
comment on column flowgres.runners.concurrency is $$Steps that it runs at once$$;
comment on column flowgres.runners.is_idle is $$Whether it waits to be told of work$$;
comment on column flowgres.runners.started_at is $$When it registered$$;
comment on column flowgres.runners.seen_at is $$Its last heartbeat$$;
comment on column flowgres.runners.drained_at is $$When it was told to take no more$$;
comment on column flowgres.runners.stopped_at is $$When it ended$$;
comment on column flowgres.runners.is_signed_off is $$Whether it said itself that it ends: its leases are given back, not lost$$;
comment on column flowgres.runners.stats is $$What it last told of itself: counts, sizes, how its parts are, and is_blocked while its claims are refused$$;
