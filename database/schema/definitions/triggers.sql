-- What is kept of a workflow's triggers outside of its versions: made to be what the active version says.

set local role flowgres_owner;

create or replace function flowgres.follow_workflow(p_workflow flowgres.workflows)
  returns void language plpgsql set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.follow_schedules(p_workflow);
  perform flowgres.follow_subscriptions(p_workflow);
  perform flowgres.follow_webhooks(p_workflow);
  perform flowgres.follow_notifications(p_workflow);
  perform flowgres.follow_retention(p_workflow);
end;
$$;
comment on function flowgres.follow_workflow(flowgres.workflows) is $$Make what starts a workflow from outside, and how long it is kept, follow its active version

Whatever changes which version is active, or the status of a workflow, calls it, and holds the lock of the workflow. Each kind of
trigger has its function here.$$;

create or replace function flowgres.check_trigger_counts(p_workflow flowgres.workflows, p_version flowgres.workflow_versions)
  returns void language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  perform flowgres.check_schedule_count(p_workflow => p_workflow, p_version => p_version);
  perform flowgres.check_subscription_count(p_workflow => p_workflow, p_version => p_version);
  perform flowgres.check_webhook_count(p_workflow => p_workflow, p_version => p_version);
  perform flowgres.check_notification_count(p_workflow => p_workflow, p_version => p_version);
end;
$$;
comment on function flowgres.check_trigger_counts(flowgres.workflows, flowgres.workflow_versions) is $$Refuse a version with which its tenant would have too many triggers of a kind.$$;

create or replace function flowgres.describe_triggers(p_workflow flowgres.workflows)
  returns jsonb language plpgsql stable set search_path to pg_catalog, pg_temp
as $$
begin
  return jsonb_build_object(
    'schedules', flowgres.describe_schedules(p_workflow),
    'subscriptions', flowgres.describe_subscriptions(p_workflow),
    'webhooks', flowgres.describe_webhooks(p_workflow),
    'notifications', flowgres.describe_notifications(p_workflow));
end;
$$;
comment on function flowgres.describe_triggers(flowgres.workflows) is $$What follow_workflow has made, as an import answers with it: {schedules, subscriptions, webhooks, notifications}.$$;
