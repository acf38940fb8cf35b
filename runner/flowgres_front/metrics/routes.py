"""GET /metrics, for a monitor that has the token, or is on this machine."""

from __future__ import annotations

import hmac
import ipaddress

from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowgres_front.context import front_of
from flowgres_front.describing import Answer, describe
from flowgres_front.metrics.families import Installation
from flowgres_front.problems import Problem

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FORWARDED = ("forwarded", "x-forwarded-for", "via")


@describe(
    "Figures for Prometheus",
    topic="Operation",
    answers={200: Answer("All of them", {MEDIA_TYPE.partition(";")[0]: {"type": "string"}})},
    errors={401: ["invalid_credentials"], 403: ["metrics_closed"]},
    is_public=True,
)
async def show_metrics(request: Request) -> Response:
    """Answer in the text format of Prometheus, 200 also while the database is away.

    With METRICS_TOKEN whoever sends it as a bearer may read them. Without, only who comes from this machine, through no
    proxy.
    """
    front = front_of(request)
    _check_caller(request, front.settings.metrics_token)
    registry = CollectorRegistry(auto_describe=False)
    registry.register(Installation(await front.scrapes.answer()))
    return Response(generate_latest(registry), media_type=MEDIA_TYPE)


def _check_caller(request: Request, token: str) -> None:
    if token:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token.encode()):
            return
        raise Problem(
            401, "invalid_credentials", "a valid token is required", hint="Send Authorization: Bearer METRICS_TOKEN."
        )
    if not _is_local(request):
        raise Problem(
            403,
            "metrics_closed",
            "metrics are for this machine alone, as long as there is no token",
            hint="Set METRICS_TOKEN of the front, and send it as a bearer token.",
        )


def _is_local(request: Request) -> bool:
    """Whether the caller is on this machine itself, and speaks for nobody else."""
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False


ROUTES = [Route("/metrics", show_metrics, methods=["GET"])]
