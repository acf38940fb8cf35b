-- The description of the API answers whatever media type its reader asks for; PostgREST learns that from the type that it returns.

set local role flowgres_owner;

create domain flowgres."*/*" as text;
comment on domain flowgres."*/*" is $$The body of an answer that says its own media type$$;
