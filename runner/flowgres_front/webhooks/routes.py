"""POST /webhooks/wh_<token> and /webhooks/{tenant}/{path}: 202 with the execution that was started."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowgres_front.context import front_of
from flowgres_front.describing import Body, Parameter, describe, json_answer, json_object
from flowgres_front.webhooks.endpoints import address_of_path, address_of_token

_ID = {"type": "string", "format": "uuid"}
_TAKEN = json_object({"execution_id": _ID})
_ANSWERS = {
    200: json_answer("It came before and started this then; Slack gets 200 for what is new, too", {}),
    202: json_answer("It has started an execution", _TAKEN),
}
_ERRORS = {
    400: ["invalid_json", "duplicate_key", "json_too_deep", "invalid_text", "invalid_cloud_event", "invalid_form"],
    401: ["webhook_refused"],
    403: ["tenant_suspended"],
    413: ["payload_too_large"],
    415: ["unsupported_charset"],
    422: ["input_invalid"],
    503: ["webhook_changing", "workflow_not_active", "front_busy"],
}
_BODY = Body(
    {
        "application/json": {},
        "application/cloudevents+json": {"type": "object"},
        "application/x-www-form-urlencoded": {"type": "object"},
        "text/plain": {"type": "string"},
    },
    is_required=False,
)


@describe(
    "Deliver to a webhook",
    topic="Webhooks",
    answers=_ANSWERS,
    errors=_ERRORS,
    parameters=[Parameter("token", "path", "wh_ and the rest of the address")],
    body=_BODY,
    is_public=True,
)
async def receive_by_token(request: Request) -> Response:
    """Take a delivery at an address that only those know who were told."""
    return await front_of(request).webhooks.receive(request, address_of_token(request.path_params["token"]))


@describe(
    "Deliver to a webhook by its path",
    topic="Webhooks",
    answers=_ANSWERS,
    errors=_ERRORS,
    parameters=[
        Parameter("tenant", "path", "Short name of the tenant"),
        Parameter("path", "path", "The path that the definition says"),
    ],
    body=_BODY,
    is_public=True,
)
async def receive_by_path(request: Request) -> Response:
    """Take a delivery at the address that the author has chosen."""
    address = address_of_path(request.path_params["tenant"], request.path_params["path"])
    return await front_of(request).webhooks.receive(request, address)


ROUTES = [
    Route("/webhooks/{token}", receive_by_token, methods=["POST"]),
    Route("/webhooks/{tenant}/{path}", receive_by_path, methods=["POST"]),
]
