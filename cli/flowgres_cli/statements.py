"""The SQL of an upgrade beside its files: what holds for each, what is mended, how it ends; all of it as one script."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowgres_cli.bundle import Bundle, load_bundle
from flowgres_cli.ledger import Status, record_statement

ADVISORY_LOCK = 0x666C6F77  # "flow"
LOCK_TIMEOUT_SECONDS = 3
_NOTIFY = "notify pgrst, 'reload schema';\nnotify pgrst, 'reload config';"


def script(*, bundle: Bundle | None = None, pending_only: Status | None = None) -> str:
    """Write what `upgrade` does as one script for psql: for an empty database, or for one with the given status."""
    bundle = bundle or load_bundle()
    migrations = bundle.migrations if pending_only is None else pending_only.pending
    schema_files = bundle.schema_files if pending_only is None else pending_only.changed
    head = f"begin;\n{preparation(LOCK_TIMEOUT_SECONDS)}\nselect pg_advisory_xact_lock({ADVISORY_LOCK});"
    parts = ["\\set ON_ERROR_STOP on", head]
    for file in (*migrations, *schema_files):
        body = f"-- {'-' * 20} {file.name}\n{file.text.strip()}"
        if file.is_transactional:
            parts += [preparation(LOCK_TIMEOUT_SECONDS), body, record_statement(file)]
        else:
            parts += ["commit;", body, head, record_statement(file)]
    parts += [preparation(LOCK_TIMEOUT_SECONDS)]
    parts += [mending(name, query, is_strict=True) for name, query in bundle.difference_queries.items()]
    parts += [finish(bundle, {}), "commit;", ""]
    return "\n\n".join(parts)


def preparation(lock_timeout_seconds: float) -> str:
    """What holds at the start of every file: the installing user's own role, no search path, limits on locks alone."""
    return (
        "reset role;\n"
        "set local search_path to pg_catalog, pg_temp;\n"
        "set local client_min_messages to warning;\n"
        "set local check_function_bodies to on;\n"
        "set local statement_timeout to 0;\n"
        f"set local lock_timeout to '{round(lock_timeout_seconds * 1000)}ms';"
    )


def mending(name: str, query: str, *, is_strict: bool) -> str:
    """Mend what a query of differences names, until it names nothing; when strict, what remains is an error."""
    return f"""do $mending$
declare
  v_found jsonb;
  v_difference jsonb;
begin
  -- An owner who changes takes rights along, so what is left is asked for again.
  for v_round in 1..4 loop
    v_found := (select jsonb_agg(to_jsonb(d)) from (
{query}
) as d);
    exit when v_found is null;
    if v_round = 4 and {str(is_strict).lower()} then
      raise exception '% of {name} cannot be mended: %', jsonb_array_length(v_found), (
        select string_agg(format('%s %s', e.value ->> 'object', e.value ->> 'problem'), '; ')
        from jsonb_array_elements(v_found) with ordinality as e where e.ordinality <= 5);
    end if;
    for v_difference in
      select e.value from jsonb_array_elements(v_found) as e where e.value ->> 'repair' is not null
    loop
      begin
        perform set_config('role', coalesce(v_difference ->> 'actor', 'none'), true);
        execute v_difference ->> 'repair';
      exception
        when lock_not_available or deadlock_detected then raise;
        when others then
          if {str(is_strict).lower()} then raise; end if;
      end;
      perform set_config('role', 'none', true);
    end loop;
  end loop;
end
$mending$;"""  # noqa: S608


def finish(bundle: Bundle, settings: Mapping[str, Any]) -> str:
    """Forget files that are gone, publish settings and protocol, and tell PostgREST to read the schema again."""
    names = ", ".join(f"'{file.name}'" for file in bundle.schema_files) or "''"
    seeds = json.dumps({**settings, "protocol": bundle.protocol}).replace("'", "''").replace("$", "\\u0024")
    return (
        "set local role flowgres_owner;\n"
        f"delete from flowgres.schema_files where name not in ({names});\n"
        "do $seed$ begin\n"
        "  if to_regprocedure('flowgres.seed_settings(jsonb)') is not null then\n"
        f"    perform flowgres.seed_settings(p_settings => '{seeds}'::jsonb);\n"
        "  end if;\n"
        "end $seed$;\n"
        f"reset role;\n{_NOTIFY}"
    )
