-- Schedules of workflows that were active before there were any: an upgrade makes them, with their slots from now on.

set local role flowgres_owner;

select flowgres.follow_schedules(w)
from flowgres.workflows as w
join flowgres.workflow_versions as v on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.active_version
where w.deleted_at is null and w.status in ('active', 'inactive') and v.definition @? '$.triggers[*] ? (@.type == "cron")'
  and not exists (select from flowgres.schedules as s where s.tenant_id = w.tenant_id and s.workflow_id = w.id);
