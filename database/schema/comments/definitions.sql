-- Columns of private tables, for those who read them in psql or pgAdmin: workflows, versions and compiled steps.
--
-- Those that a migration explains are not repeated.

set local role flowgres_owner;

comment on column flowgres.workflows.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.workflows.id is $$Identifier; stays the same over versions$$;
comment on column flowgres.workflows.name is $$Name by which calls refer to it; free again once it is deleted$$;
comment on column flowgres.workflows.title is $$Display name, when the definition gave one that is no identifier$$;
comment on column flowgres.workflows.kind is $$dag or state_machine$$;
comment on column flowgres.workflows.status is $$draft, active, inactive or archived; only an active one starts executions$$;
comment on column flowgres.workflows.description is $$The author's description$$;
comment on column flowgres.workflows.metadata is $$The author's metadata$$;
comment on column flowgres.workflows.active_version is $$Version that new executions take$$;
comment on column flowgres.workflows.latest_version is $$Number of the newest version; 0 is none$$;
comment on column flowgres.workflows.created_by is $$Who imported it first$$;
comment on column flowgres.workflows.created_at is $$When it was imported first$$;
comment on column flowgres.workflows.updated_at is $$When it or its active version last changed$$;
comment on column flowgres.workflows.deleted_at is $$When it was deleted; the row stays for the executions of the past$$;

comment on column flowgres.workflow_versions.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.workflow_versions.id is $$Identifier$$;
comment on column flowgres.workflow_versions.workflow_id is $$The workflow that it is a version of$$;
comment on column flowgres.workflow_versions.version is $$Number within the workflow, from 1$$;
comment on column flowgres.workflow_versions.version_label is $$The author's own text for the version$$;
comment on column flowgres.workflow_versions.state is $$draft, checking, ready or invalid; only a ready one runs$$;
comment on column flowgres.workflow_versions.checksum is $$Fingerprint of the canonical form: importing the same again makes no new version$$;
comment on column flowgres.workflow_versions.source is $$The definition as it was given$$;
comment on column flowgres.workflow_versions.definition is $$The definition in its canonical form$$;
comment on column flowgres.workflow_versions.root_indexes is $$Steps without dependencies: ready when an execution starts$$;
comment on column flowgres.workflow_versions.inputs is $$Declared inputs, by name$$;
comment on column flowgres.workflow_versions.priority is $$Priority of executions whose start names none: 0 first, 9 last$$;
comment on column flowgres.workflow_versions.correlation_path is $$Where in the input the correlation id is found$$;
comment on column flowgres.workflow_versions.errors is $$What is wrong with it when its state is invalid$$;
comment on column flowgres.workflow_versions.check_until is $$Until when a runner has taken the check of this version upon itself$$;
comment on column flowgres.workflow_versions.created_by is $$Who imported it$$;
comment on column flowgres.workflow_versions.created_at is $$When it was imported$$;

comment on column flowgres.workflow_steps.tenant_id is $$Tenant that owns it$$;
comment on column flowgres.workflow_steps.version_id is $$The version that it is a step of$$;
comment on column flowgres.workflow_steps.index is $$Number within the version, from 0: how edges and executions name it$$;
comment on column flowgres.workflow_steps.id is $$The author's id$$;
comment on column flowgres.workflow_steps.type is $$Step type, such as http or transform; outputs is the hidden step that makes the outputs$$;
comment on column flowgres.workflow_steps.description is $$The author's description$$;
comment on column flowgres.workflow_steps.dependencies is $$Steps that come before it$$;
comment on column flowgres.workflow_steps.children is $$Steps that come after it$$;
comment on column flowgres.workflow_steps.when_expression is $$Condition under which it runs$$;
comment on column flowgres.workflow_steps.config is $$What it does, in canonical form$$;
comment on column flowgres.workflow_steps.output_template is $$Reshaping of its output$$;
comment on column flowgres.workflow_steps.secret_names is $$Secrets that its configuration names$$;
comment on column flowgres.workflow_steps.timeout_seconds is $$Time of one attempt; null is the default of its type$$;
comment on column flowgres.workflow_steps.max_attempts is $$Attempts in all, the first included$$;
comment on column flowgres.workflow_steps.retry_delay_seconds is $$Pause before the second attempt$$;
comment on column flowgres.workflow_steps.retry_factor is $$By what the pause grows with each attempt$$;
comment on column flowgres.workflow_steps.retry_max_delay_seconds is $$What the pause never exceeds$$;
comment on column flowgres.workflow_steps.retry_jitter is $$Whether the pause is shortened by chance, so that many do not return at once$$;
comment on column flowgres.workflow_steps.retry_errors is $$Classes of errors that are tried again$$;
comment on column flowgres.workflow_steps.on_error is $$What a failure means: fail, continue or skip$$;

comment on column flowgres.step_types.tenant_id is $$The system tenant, all zeros$$;
comment on column flowgres.step_types.type is $$Name of the type, as steps give it$$;
comment on column flowgres.step_types.config_schema is $$JSON Schema of its configuration$$;
comment on column flowgres.step_types.secret_places is $$Keys of its configuration that secrets may be named below$$;
comment on column flowgres.step_types.is_core is $$Whether every runner serves it$$;
comment on column flowgres.step_types.updated_at is $$When a runner last said so$$;
comment on column flowgres.workflow_steps.branches is $$Of a condition (true, false) or a switch (case 1, ..., default): the indexes of the steps by branch; other children are always taken$$;
