-- Failures that are alike, as clients read them.

set local role flowgres_owner;

create or replace view flowgres_api.error_groups with (security_invoker = true) as
select
  g.tenant_id,
  g.workflow_id,
  w.name as workflow_name,
  g.step,
  g.code,
  g.message,
  g.count,
  g.first_at,
  g.last_at,
  g.sample_execution_id
from flowgres.list_error_groups() as g
join flowgres.workflows as w on w.tenant_id = g.tenant_id and w.id = g.workflow_id;

comment on view flowgres_api.error_groups is $$Failures that are alike

Of the same step, with the same code, and a message that differs in names, numbers and ids alone. Steps and iterations that failed for
good, handled or not, and executions that failed by no step.$$;
comment on column flowgres_api.error_groups.tenant_id is $$Tenant that owns the row$$;
comment on column flowgres_api.error_groups.workflow_id is $$The workflow$$;
comment on column flowgres_api.error_groups.workflow_name is $$Name of that workflow$$;
comment on column flowgres_api.error_groups.step is $$The step that failed; null when it was the execution itself$$;
comment on column flowgres_api.error_groups.code is $$Code of the error$$;
comment on column flowgres_api.error_groups.message is $$The message, with <text>, <time> and <n> in place of what differs$$;
comment on column flowgres_api.error_groups.count is $$How many, for as long as history is kept$$;
comment on column flowgres_api.error_groups.first_at is $$When the first one failed$$;
comment on column flowgres_api.error_groups.last_at is $$When the last one failed$$;
comment on column flowgres_api.error_groups.sample_execution_id is $$The execution of the last one$$;
