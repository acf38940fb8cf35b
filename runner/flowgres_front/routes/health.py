"""GET /health: what stands and what does not, for people, load balancers and containers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.context import front_of
from flowgres_front.describing import Schema, describe, json_answer, json_object
from flowgres_front.problems import RETRY_SECONDS

_STATE: Schema = json_object(
    {
        "status": {"enum": ["ok", "degraded", "unavailable"]},
        "database": {"type": "string"},
        "postgrest": {"enum": ["ok", "unreachable", "not_configured"]},
        "runners": {"type": ["integer", "null"]},
        "version": {"type": ["string", "null"]},
        "lag_seconds": {"type": ["number", "null"]},
        "is_copy": {"type": ["boolean", "null"]},
        "unserved_types": {"type": ["array", "null"], "items": {"type": "string"}},
        "components": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": ["status"],
                "properties": {"status": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    }
)


@describe(
    "Health of the installation",
    topic="Operation",
    answers={200: json_answer("It can be used", _STATE), 503: json_answer("It cannot", _STATE)},
    is_public=True,
)
async def show_health(request: Request) -> JSONResponse:
    """Answer 200 while the database and PostgREST (when its address is known) answer, else 503.

    Without a live runner the status is `degraded`, still 200: calls are accepted and wait for one. All who ask within a
    second get one answer.
    """
    body = await front_of(request).health.state()
    if body["status"] == "unavailable":
        return JSONResponse(body, status_code=503, headers={"Retry-After": RETRY_SECONDS})
    return JSONResponse(body)


ROUTES = [Route("/health", show_health, methods=["GET"])]
