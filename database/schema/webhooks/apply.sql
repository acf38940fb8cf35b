-- Webhooks of workflows that were active before there were any: an upgrade makes them, with their addresses.

set local role flowgres_owner;

select flowgres.follow_webhooks(w)
from flowgres.workflows as w
join flowgres.workflow_versions as v on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.active_version
where w.deleted_at is null and v.definition @? '$.triggers[*] ? (@.type == "webhook")'
  and not exists (select from flowgres.webhooks as h where h.tenant_id = w.tenant_id and h.workflow_id = w.id);
