"""GET /health: what stands and what does not, for people, load balancers and containers."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.context import front_of
from flowgres_front.problems import RETRY_SECONDS


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
