-- Inputs that nobody declared are refused: a typing error in one is told, and does not pass.
--
-- Versions that exist keep what they took, as nobody who starts them was told otherwise; importing such a definition again makes a
-- new version.
-- squawk-ignore-file adding-field-with-default, adding-required-field, adding-not-nullable-field

set local role flowgres_owner;

alter table flowgres.workflow_versions add column takes_additional_inputs boolean not null default true;
comment on column flowgres.workflow_versions.takes_additional_inputs is $$Whether a start may send inputs that are not declared$$;
