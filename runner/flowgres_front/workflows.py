"""POST /workflows: a definition as YAML or JSON, checked in full, stored as ready to run."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Literal

from psycopg import Error as DatabaseError
from psycopg.errors import InsufficientPrivilege
from psycopg.types.json import Jsonb
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_definitions.custom_types import CustomType
from flowgres_front.bodies import JSON_TYPES, YAML_TYPES, content_type, read_body
from flowgres_front.context import Front, front_of
from flowgres_front.credentials import read_credentials
from flowgres_front.database import Caller
from flowgres_front.definitions import Reading, join_problems, read_definition
from flowgres_front.problems import Problem, from_database
from flowgres_front.secrets import check_value, store_secret

INVALID = "definition_invalid"
_SHOWN_IN_DETAIL = 3


async def import_workflow(request: Request) -> JSONResponse:
    """Import a definition: 201 for a new version, 200 when the same content is there already, 422 with every error.

    `?activate=false` keeps it a draft. An inline `webhook_secret` is stored encrypted and replaced by a reference, in
    the same transaction as the import.
    """
    front = front_of(request)
    credentials = read_credentials(request, front.settings)
    is_json = content_type(request, JSON_TYPES | YAML_TYPES) in JSON_TYPES
    format: Literal["yaml", "json"] = "json" if is_json else "yaml"
    activate = _flag(request, "activate", default=True)
    raw = await read_body(request, front.settings)
    async with front.database.caller(credentials) as caller:
        custom_types, max_steps = await _limits(caller)
    # Not within the transaction: nothing stays open in the database while Python is busy.
    async with front.reading:
        reading = await asyncio.to_thread(
            read_definition, raw, format=format, custom_types=custom_types, max_steps=max_steps
        )
    async with front.database.caller(credentials) as caller:
        if reading.errors:
            raise await _refusal(caller, reading)
        imported = await _store(front, caller, reading, activate=activate)
    imported["warnings"] = join_problems(reading.warnings, imported.get("warnings") or [], reading.positions)
    return JSONResponse(imported, status_code=201 if imported.get("created") else 200)


async def _limits(caller: Caller) -> tuple[dict[str, CustomType], int]:
    """Step types that runners have announced beside the built-in ones, and the tenant's limit of steps."""
    row = await caller.row(
        "select coalesce((select jsonb_object_agg(t.type, to_jsonb(t)) from flowgres.step_types as t"
        " where not t.is_core), '{}') as types,"
        " (flowgres.setting(flowgres.require_tenant(), 'max_steps_per_workflow'))::integer as max_steps"
    )
    assert row is not None  # noqa: S101 - a select without a table has one row
    types: dict[str, Any] = row["types"]
    return {name: CustomType.from_json(name, value) for name, value in types.items()}, row["max_steps"]


async def _store(front: Front, caller: Caller, reading: Reading, *, activate: bool) -> dict[str, Any]:
    if reading.secret is not None:
        # It is compared, and sent nowhere.
        check_value(reading.secret.value, allow_short=True)
        try:
            await store_secret(front, caller, name=reading.secret.name, value=reading.secret.value, allow_short=True)
        except InsufficientPrivilege as error:
            raise Problem(
                403,
                "insufficient_role",
                "the definition holds a secret (webhook_secret), and only admins store secrets",
                hint="Import it with an admin's key, or have an admin store the secret first"
                f" (PUT /secrets/{reading.secret.name}) and name it instead of webhook_secret:"
                f' "triggers": [{{"type": "webhook", "secret": "{reading.secret.name}"}}].',
            ) from error
    try:
        imported: dict[str, Any] = await caller.call(
            "select flowgres.import_checked_workflow(p_definition => %(definition)s, p_activate => %(activate)s)",
            definition=Jsonb(reading.document),
            activate=activate,
        )
    except DatabaseError as error:
        problem = from_database(error)
        if problem.code != INVALID:
            raise
        raise _invalid(join_problems((), _listed(problem), reading.positions)) from error
    return imported


async def _refusal(caller: Caller, reading: Reading) -> Problem:
    """Every error at once: what parsing found, and what only the database knows."""
    if not reading.document:
        return _invalid(join_problems(reading.errors, (), reading.positions))
    checked = await caller.call("select flowgres.validate_workflow(p_definition => %(d)s)", d=Jsonb(reading.document))
    return _invalid(join_problems(reading.errors, checked.get("errors") or [], reading.positions))


def _listed(problem: Problem) -> list[dict[str, Any]]:
    """The errors that flowgres.fail_definition put into the details."""
    found = json.loads(problem.extra.get("details") or "[]")
    return [item for item in found if isinstance(item, dict)]


def _invalid(errors: list[dict[str, Any]]) -> Problem:
    sentences = "; ".join(
        ": ".join(filter(None, (item.get("path"), item["message"]))) for item in errors[:_SHOWN_IN_DETAIL]
    )
    count = "1 error" if len(errors) == 1 else f"{len(errors)} errors"
    return Problem(
        422,
        INVALID,
        f"the definition has {count}: {sentences}",
        hint="`errors` lists all of them with path, line and column.",
        extra={"errors": errors},
    )


def _flag(request: Request, name: str, *, default: bool) -> bool:
    text = request.query_params.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise Problem(400, "argument_invalid", f"{name} must be true or false")
    return text == "true"


ROUTES = [Route("/workflows", import_workflow, methods=["POST"])]
