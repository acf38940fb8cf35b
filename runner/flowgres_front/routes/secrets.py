"""PUT and DELETE /secrets/{name}: the only place that sees a secret's text on its way in, and it goes no further."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from flowgres_front.context import Front, front_of
from flowgres_front.database import Caller
from flowgres_front.describing import JSON_TYPE, Answer, Body, Parameter, Schema, describe, json_answer, json_object
from flowgres_front.problems import Problem
from flowgres_process.errors import SecretError
from flowgres_process.limits import MIN_SECRET_CHARACTERS

MAX_SECRET_BYTES = 65_536
# JSON may write one byte of text as six, and something stands around it.
_MAX_BODY_BYTES = 6 * MAX_SECRET_BYTES + 1024

_TOPIC = "Secrets"
_NAME = Parameter("name", "path", "The name of the secret")
_STORED: Schema = json_object({"name": {"type": "string"}, "created": {"type": "boolean"}})


@describe(
    "Store a secret",
    topic=_TOPIC,
    answers={200: json_answer("Replaced", _STORED), 201: json_answer("New", _STORED)},
    errors={
        400: ["value_expected", "secret_empty", "argument_invalid", "invalid_value"],
        413: ["payload_too_large"],
        422: ["secret_too_short"],
    },
    parameters=[_NAME],
    body=Body(
        {
            JSON_TYPE: json_object(
                {"value": {"type": "string", "minLength": 1}, "allow_short": {"type": "boolean", "default": False}},
                optional=["allow_short"],
                is_closed=True,
            )
        }
    ),
)
async def put_secret(request: Request) -> JSONResponse:
    """Store or replace a secret from `{"value": "..."}`: 201 when it is new, else 200. The value is never returned."""
    front = front_of(request)
    name = request.path_params["name"]
    async with front.visitor(request) as visitor:
        value, allow_short = read_value(await visitor.object(front.limits(_MAX_BODY_BYTES)))
        async with visitor.caller() as caller:
            stored = await store_secret(front, caller, name=name, value=value, allow_short=allow_short)
    return JSONResponse(stored, status_code=201 if stored.get("created") else 200)


@describe(
    "Delete a secret",
    topic=_TOPIC,
    answers={204: Answer("It is gone")},
    errors={404: ["secret_not_found"]},
    parameters=[_NAME],
)
async def delete_secret(request: Request) -> Response:
    """Delete a secret: 204, or 404 when there is none."""
    async with front_of(request).visitor(request) as visitor, visitor.caller() as caller:
        await caller.call("select flowgres.delete_secret(p_name => %(name)s)", name=request.path_params["name"])
    return Response(status_code=204)


async def store_secret(
    front: Front, caller: Caller, *, name: str, value: str, allow_short: bool = False
) -> dict[str, Any]:
    """Encrypt a value for the caller's tenant and store it in the caller's transaction."""
    identity = await caller.identity()
    try:
        sealed = front.secret_keys.seal(value, tenant_id=identity.tenant_id, name=name)
    except SecretError as error:
        raise Problem(503, error.code, "this front has no key to encrypt secrets with", hint=error.hint) from error
    stored: dict[str, Any] = await caller.call(
        "select flowgres.put_secret(p_name => %(name)s, p_key_id => %(key_id)s, p_nonce => %(nonce)s,"
        " p_ciphertext => %(ciphertext)s, p_allow_short => %(allow_short)s)",
        name=name,
        key_id=sealed.key_id,
        nonce=sealed.nonce,
        ciphertext=sealed.ciphertext,
        allow_short=allow_short,
    )
    return stored


def read_value(body: dict[str, Any]) -> tuple[str, bool]:
    """The text under `value`, of a sensible size, and whether `allow_short` stands beside it; nothing else may."""
    value, allow_short = body.get("value"), body.get("allow_short", False)
    if not body.keys() <= {"value", "allow_short"} or not isinstance(value, str) or not isinstance(allow_short, bool):
        raise Problem(
            400,
            "value_expected",
            "the body must be an object with the text `value`, and true or false as `allow_short`",
            hint='{"value": "..."}',
        )
    check_value(value, allow_short=allow_short)
    return value, allow_short


def check_value(value: str, *, allow_short: bool) -> None:
    """Refuse an empty secret, and one that is too short or too long to be one."""
    if not value:
        raise Problem(400, "secret_empty", "a secret cannot be empty", hint="To remove it: DELETE /secrets/NAME.")
    if len(value) < MIN_SECRET_CHARACTERS and not allow_short:
        raise Problem(
            422,
            "secret_too_short",
            f"a secret has at least {MIN_SECRET_CHARACTERS} characters: a shorter one cannot be masked",
            hint='Is it one? {"value": "...", "allow_short": true} takes it, and masks it nowhere.',
        )
    if len(value.encode()) > MAX_SECRET_BYTES:
        raise Problem(413, "payload_too_large", f"a secret has at most {MAX_SECRET_BYTES} bytes")


ROUTES = [
    Route("/secrets/{name}", put_secret, methods=["PUT"]),
    Route("/secrets/{name}", delete_secret, methods=["DELETE"]),
]
