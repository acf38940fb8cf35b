-- Steps that people repair in place: what an act of theirs is about, and what holds for a step in one execution alone.

set local role flowgres_owner;

-- Null in all but a few rows, and so a bit of what each of them has anyway.
alter table flowgres.work_queue add column overrides jsonb;
comment on column flowgres.work_queue.overrides is $$What of the step's policy is another in this execution, by the names of the columns of workflow_steps; null is nothing$$;

alter type flowgres.claimed_step add attribute overrides json;

create type flowgres.step_target as (
  place integer,
  slot integer,
  tenant_id uuid,
  execution_id uuid,
  version_id uuid,
  step_index smallint,
  iteration integer,
  step text,
  step_type text,
  capability text,
  status text,
  item_count integer,
  queue_id bigint,
  token bigint,
  runner_id uuid,
  attempt smallint,
  generation smallint,
  priority smallint,
  claimed_at timestamptz,
  waits_for text,
  is_under_way boolean,
  is_untold boolean,
  config jsonb,
  code text
);
comment on type flowgres.step_target is $$A step that somebody acts upon, as it stands under the lock of its execution; code is why that cannot be

Not stored anywhere. is_under_way: a try of it has begun and has not ended. is_untold: nobody has told of that yet. queue_id is null
of a foreach whose iterations are under way.$$;
