-- Steps that wait until somebody wakes them.

set local role flowgres_owner;

alter type flowgres.step_report add attribute waits text;

alter table flowgres.workflow_steps add column on_timeout jsonb;
comment on column flowgres.workflow_steps.on_timeout is $$Of a step that waits: {output}, with which it completes when its time is over; null when it fails then$$;

-- A note about a parked row itself, beside those about children that have ended.
alter table flowgres.pending_wakes
add column queue_id bigint,
add column token bigint,
add column resume jsonb,
add constraint pending_wakes_row_is_whole check ((queue_id is null) = (token is null) and (queue_id is null) = (resume is null)) not valid;
comment on column flowgres.pending_wakes.queue_id is $$The parked row of the queue that is to be woken; null in a note about a child that has ended$$;
comment on column flowgres.pending_wakes.token is $$The token under which it was parked: a row that went on since then is left alone$$;
comment on column flowgres.pending_wakes.resume is $$What the step goes on with$$;
