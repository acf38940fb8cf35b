"""What a refusal of the server means at the command line: the kind of the error, and its hint as a command.

The server speaks to everybody: its hints name views, functions and arguments. Whoever sits at a terminal wants the
command. Which one it is hangs on the stable code of the refusal alone, never on its words.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

from flowgres_cli.errors import (
    AuthError,
    CliError,
    ConflictError,
    InvalidDefinitionError,
    NotFoundError,
    UsageProblemError,
)

Json = Any
DEFINITION_CODES = frozenset(
    {"invalid_definition", "definition_invalid", "invalid_yaml", "inline_secret", "definition_too_large"}
)
# {name} is an argument of the call that was refused, or NAME where the call had none.
COMMANDS: Mapping[str, str] = {
    "ambiguous_credentials": "Give one of FLOWGRES_API_KEY and FLOWGRES_TOKEN, or name one --profile.",
    "api_key_not_active": "Make a new one: flowgres keys create NAME",
    "api_key_not_found": "List them with: flowgres keys list",
    "approval_not_found": "List them with: flowgres approvals list --status all --execution {execution_id}",
    "approval_ended": "See what became of it: flowgres executions show {execution_id}",
    "execution_ended": "See how: flowgres executions show {execution_id}",
    "execution_not_found": "List them with: flowgres executions list",
    "inline_secret": "Store it with `flowgres secrets set NAME` and write {{{{ secrets.NAME }}}}.",
    "form_invalid": "See what it asks for: flowgres approvals list --execution {execution_id} -o yaml",
    "input_invalid": "See what it takes: flowgres workflows show {workflow}",
    "inputs_invalid": "See what it takes: flowgres workflows show {workflow}",
    "instance_exists": "See it: flowgres instances list --entity-table {entity_table} --entity-id {entity_id}",
    "instance_not_found": "List them with: flowgres instances list",
    "last_admin_key": "Make another one first: flowgres keys create NAME --role admin; or say --force.",
    "schedule_ambiguous": "Name one by its id: flowgres schedules list --workflow {schedule}",
    "schedule_not_found": "List them with: flowgres schedules list",
    "notification_not_found": "List them with: flowgres notifications list",
    "notification_deleted": "List them with: flowgres notifications list",
    "secret_not_found": "List them with: flowgres secrets list",
    "secret_too_short": "Is it one? flowgres secrets set NAME --allow-short takes it, and it is masked nowhere.",
    "state_map_invalid": "Give it as --map OLD=NEW, once for each state that has another name.",
    "state_unmapped": "Say where its instances go with --map OLD=NEW; --dry-run lists all that is in the way.",
    "step_ended": "See what became of it: flowgres steps show {execution_id} {step}",
    "step_iterates": "Name an iteration: flowgres steps retry {execution_id} '{step}[0]'",
    "step_not_found": "See its steps: flowgres executions show {execution_id}",
    "step_not_ready": "See what it waits for: flowgres executions show {execution_id}",
    "task_not_found": "List them with: flowgres tasks list",
    "tenant_login_not_found": "List them with: flowgres tenants logins list",
    "tenant_not_found": "List them with: flowgres tenants list --dsn DSN",
    "tenant_required": "Set FLOWGRES_API_KEY (or FLOWGRES_TOKEN), name a profile, or name the tenant.",
    "tenant_slug_taken": "Name another one: flowgres tenants register {name} --slug SLUG",
    "transition_fields_missing": "Give them in --metadata; see what it needs: flowgres instances show {instance_id}",
    "transition_guard_refused": "See what it needs: flowgres instances show {instance_id}",
    "version_not_found": "List them with: flowgres workflows versions {workflow}",
    "delivery_not_found": "List them with: flowgres webhooks deliveries",
    "webhook_ambiguous": "Name one by its id: flowgres webhooks list --workflow {webhook}",
    "webhook_not_found": "List them with: flowgres webhooks list",
    "webhook_refused": "Its owner sees why: flowgres webhooks deliveries --outcome rejected",
    "workflow_in_use": "Wait for them. Executions can be cancelled: workflows delete {workflow} --cancel-running",
    "workflow_kind_mismatch": "See which they are, by their kind: flowgres workflows list",
    "workflow_not_found": "List them with: flowgres workflows list",
}

_GUESS = re.compile(r'Did you mean "[^"]*"\?')


def refusal(
    status: int, code: str, message: str, *, hint: str | None = None, arguments: Mapping[str, Json] | None = None
) -> CliError:
    """The error that the command ends with, for a refusal with this status and code."""
    return kind_of(status, code)(message, code=code, hint=advice(code, hint, arguments))


def kind_of(status: int, code: str) -> type[CliError]:
    """The kind of error, and so the exit code."""
    if code in DEFINITION_CODES:
        return InvalidDefinitionError
    if status in (401, 403):
        return AuthError
    if status == 404:
        return NotFoundError
    if status == 409 or code.startswith("idempotency"):
        return ConflictError
    # PostgREST's own 400s are about requests that we have made, not about what the user gave.
    if status in (400, 413, 422) and not code.startswith("PGRST"):
        return UsageProblemError
    return CliError


def advice(code: str, hint: str | None, arguments: Mapping[str, Json] | None = None) -> str | None:
    """The hint for a terminal: a command where the command line has one, else what the server said."""
    template = COMMANDS.get(code)
    if template is None:
        return hint
    # What it takes the word for, only the server knows.
    guess = _GUESS.match(hint or "")
    return (f"{guess[0]} " if guess else "") + template.format_map(_Arguments(arguments or {}))


def listed_errors(details: Json) -> list[Json]:
    """The errors of a definition, which the database writes as a JSON array into the details."""
    if not isinstance(details, str) or not details.startswith("[{"):
        return []
    try:
        found = json.loads(details)
    except (ValueError, RecursionError):
        return []
    return found if isinstance(found, list) else []


def details_text(details: Json) -> str:
    """Details in words. Of an object, which the database writes as JSON, what is one value: lists stand in the hint."""
    if not isinstance(details, str):
        return ""
    try:
        found = json.loads(details) if details.startswith("{") else None
    except (ValueError, RecursionError):
        return details
    if not isinstance(found, dict):
        return details
    return ", ".join(f"{name}: {value}" for name, value in found.items() if isinstance(value, str | int | float))


def error_line(error: Json) -> str:
    """One error of several in a line: where or of what, what, and the hint as a command."""
    if not isinstance(error, dict):
        return str(error)
    line, column = error.get("line"), error.get("column")
    place = ":".join(str(part) for part in (line, column) if part)
    # Of many entities, what is wrong with this one.
    told = error["error"] if isinstance(error.get("error"), dict) else error
    entity = "/".join(str(error[name]) for name in ("entity_table", "entity_id") if error.get(name))
    parts = (place, error.get("path") or entity, error.get("instance_id"), told.get("message") or told.get("code"))
    text = ": ".join(str(part) for part in parts if part)
    hint = advice(str(told.get("code")), told.get("hint"), error)
    return f"{text} ({hint})" if hint else text


class _Arguments(dict[str, Json]):
    """The arguments of a call as words of a command line; what was not said is a NAME to fill in."""

    def __getitem__(self, name: str) -> str:
        value = self.get(name)
        is_word = isinstance(value, str) and re.fullmatch(r"[^\x00-\x1f\x7f]{1,100}", value)
        return shlex.quote(str(value)) if is_word else "NAME"
