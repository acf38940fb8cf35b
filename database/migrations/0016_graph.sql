-- Joins that count, steps that cancel others or end their execution, and what runs after a failure: compensation, on_failure.
-- squawk-ignore-file adding-field-with-default, adding-required-field, adding-not-nullable-field, ban-drop-constraint

set local role flowgres_owner;

alter table flowgres.workflow_steps
add column section text not null default 'steps',
add column compensates smallint,
add column join_count smallint,
add column rest_indexes smallint[] not null default '{}',
add column cancel_indexes smallint[] not null default '{}',
add column is_early boolean not null default false;

alter table flowgres.workflow_steps drop constraint workflow_steps_join_rule_is_known;
alter table flowgres.workflow_steps add constraint workflow_steps_join_rule_is_known check (
  join_rule in ('default', 'all', 'any', 'always', 'failed', 'end') or (join_rule = 'at_least' and join_count > 0)
) not valid;
alter table flowgres.workflow_steps add constraint workflow_steps_section_is_known check (
  section = 'steps' or section = 'on_failure' or (section = 'compensate' and compensates is not null)
) not valid;

comment on column flowgres.workflow_steps.section is $$steps, or what runs one by one after a failure: compensate, on_failure$$;
comment on column flowgres.workflow_steps.compensates is $$The step that this one undoes, if it is a compensation$$;
comment on column flowgres.workflow_steps.join_count is $$Of the join rule at_least: how many edges must be taken$$;
comment on column flowgres.workflow_steps.rest_indexes is $$Steps that lead nowhere but to this one, and are cancelled when its join is met$$;
comment on column flowgres.workflow_steps.cancel_indexes is $$Steps that are cancelled when this one completes$$;
comment on column flowgres.workflow_steps.is_early is $$It may be decided before all its dependencies have ended, so its row may be there when the next of them ends$$;

update flowgres.workflow_steps
set is_early = true
where join_rule in ('any', 'failed') or (gates <> '{}' and cardinality(dependencies) > 1);

alter table flowgres.executions add column stop jsonb;

alter type flowgres.step_report add attribute detached boolean;
alter type flowgres.step_outcome add attribute cancels smallint[];
