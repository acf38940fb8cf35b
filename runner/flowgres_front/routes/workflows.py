"""POST /workflows: a definition as YAML or JSON, in our words or those of other systems, checked and ready to run."""

from __future__ import annotations

import json
from typing import Any

from psycopg import Error as DatabaseError
from psycopg.errors import InsufficientPrivilege
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.bodies import JSON_TYPES, YAML_TYPES, content_type
from flowgres_front.context import Front, Visitor, front_of
from flowgres_front.database import Caller
from flowgres_front.definitions import unknown_problems
from flowgres_front.describing import Body, Parameter, Schema, describe, json_answer, json_object
from flowgres_front.problems import Problem, from_database
from flowgres_front.routes.secrets import check_value, store_secret

INVALID = "definition_invalid"
INLINE_SECRET = "inline_secret"  # noqa: S105 - a code
_SHOWN_IN_DETAIL = 3


class _RefusedError(Exception):
    """SQL refused a definition for errors that only it knows."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(INVALID)
        self.errors = errors


_IMPORTED: Schema = json_object(
    {
        "workflow_id": {"type": "string", "format": "uuid"},
        "name": {"type": "string"},
        "version": {"type": "integer"},
        "created": {"type": "boolean"},
        **{
            name: {"type": "array", "items": {"type": "object"}}
            for name in ("schedules", "subscriptions", "webhooks", "notifications", "warnings")
        },
    }
)

# Its own schema is too much for most tools that read this.
_DEFINITION: Schema = {
    "type": "object",
    "externalDocs": {"description": "JSON Schema of definitions", "url": "/llms/definition.schema.json"},
}


@describe(
    "Import a definition",
    topic="Workflows",
    answers={200: json_answer("It was there already", _IMPORTED), 201: json_answer("A new version", _IMPORTED)},
    errors={
        400: ["argument_invalid", "secret_empty", "invalid_value"],
        422: [INVALID, "secret_too_short"],
    },
    calls=["import_workflow", "validate_workflow"],
    parameters=[Parameter("activate", "query", "false keeps it a draft", {"type": "boolean", "default": True})],
    body=Body(
        {
            **{one: _DEFINITION for one in sorted(JSON_TYPES)},
            **{one: {"type": "string"} for one in sorted(YAML_TYPES)},
        }
    ),
)
async def import_workflow(request: Request) -> JSONResponse:
    """Import a definition: 201 for a new version, 200 when the same content is there already, 422 with every error.

    `?activate=false` keeps it a draft. An inline `webhook_secret` is stored encrypted and replaced by a reference, in
    the same transaction as the import.
    """
    front = front_of(request)
    activate = _flag(request, "activate", default=True)
    async with front.visitor(request) as visitor:
        format = "json" if content_type(request, JSON_TYPES | YAML_TYPES) in JSON_TYPES else "yaml"
        async with visitor.caller() as caller:
            custom_types, max_steps = await _limits(caller)
        raw = await visitor.body(front.limits(front.settings.max_body_bytes))

        # Nothing stays open in the database while it is read.
        reading, document = await visitor.read(
            "definition", raw, format=format, custom_types=custom_types, max_steps=max_steps
        )
        text = document.decode()
        from_sql: list[dict[str, Any]] = []
        imported: dict[str, Any] = {}
        if not reading["errors"]:
            try:
                async with visitor.caller() as caller:
                    imported = await _store(front, caller, reading, text, activate=activate)
            except _RefusedError as refusal:
                from_sql = refusal.errors
        elif reading["is_readable"]:
            async with visitor.caller() as caller:
                from_sql = await _errors(caller, text)
        found, more = ("warnings", imported.get("warnings") or []) if imported else ("errors", from_sql)
        problems = await _joined(visitor, raw, format, reading[found], more)
        if not imported:
            raise _invalid(problems)
        imported["warnings"] = problems
    return JSONResponse(imported, status_code=201 if imported.get("created") else 200)


async def _joined(
    visitor: Visitor, raw: bytes, format: str, ours: list[dict[str, Any]], from_sql: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """All problems of both checks once, in the order of the text."""
    if not from_sql:
        return ours
    placed, _ = await visitor.read("places", raw, format=format, found=from_sql)
    both = [*ours, *unknown_problems(ours, placed)]
    return sorted(both, key=lambda problem: (problem.get("line", 0), problem.get("column", 0)))


async def _limits(caller: Caller) -> tuple[dict[str, Any], int]:
    """Step types that runners have announced beside the built-in ones, and the tenant's limit of steps."""
    row = await caller.row(
        "select coalesce((select jsonb_object_agg(t.type, to_jsonb(t)) from flowgres.step_types as t"
        " where not t.is_core), '{}') as types,"
        " (flowgres.setting(flowgres.require_tenant(), 'max_steps_per_workflow'))::integer as max_steps"
    )
    assert row is not None  # noqa: S101 - a select without a table has one row
    return row["types"], row["max_steps"]


async def _store(
    front: Front, caller: Caller, reading: dict[str, Any], document: str, *, activate: bool
) -> dict[str, Any]:
    """Import it, and its secret. Raises _RefusedError, for the transaction to end without either."""
    if reading["secret"] is not None:
        name, value = reading["secret"]
        # It is compared, and sent nowhere.
        check_value(value, allow_short=True)
        try:
            await store_secret(front, caller, name=name, value=value, allow_short=True)
        except InsufficientPrivilege as error:
            raise Problem(
                403,
                "insufficient_role",
                "the definition holds a secret (webhook_secret), and only admins store secrets",
                hint="Import it with an admin's key, or have an admin store the secret first"
                f" (PUT /secrets/{name}) and name it instead of webhook_secret:"
                f' "triggers": [{{"type": "webhook", "secret": "{name}"}}].',
            ) from error
    try:
        imported: dict[str, Any] = await caller.call(
            "select flowgres.import_checked_workflow(p_definition => d -> 'definition', p_activate => %(activate)s,"
            " p_source => d -> 'source') from (values (%(d)s::jsonb)) as given (d)",
            d=document,
            activate=activate,
        )
    except DatabaseError as error:
        problem = from_database(error)
        if problem.code not in (INVALID, INLINE_SECRET):
            raise
        raise _RefusedError(_listed(problem)) from error
    return imported


async def _errors(caller: Caller, document: str) -> list[dict[str, Any]]:
    """What only the database knows against a definition that has errors already."""
    checked = await caller.call(
        "select flowgres.validate_workflow(p_definition => %(d)s::jsonb -> 'definition')", d=document
    )
    return checked.get("errors") or []


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
