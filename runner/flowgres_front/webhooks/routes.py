"""POST /webhooks/wh_<token> and /webhooks/{tenant}/{path}: 202 with the execution that was started."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flowgres_front.context import front_of
from flowgres_front.webhooks.endpoints import address_of_path, address_of_token


async def receive_by_token(request: Request) -> Response:
    """Take a delivery at an address that only those know who were told."""
    return await front_of(request).webhooks.receive(request, address_of_token(request.path_params["token"]))


async def receive_by_path(request: Request) -> Response:
    """Take a delivery at the address that the author has chosen."""
    address = address_of_path(request.path_params["tenant"], request.path_params["path"])
    return await front_of(request).webhooks.receive(request, address)


ROUTES = [
    Route("/webhooks/{token}", receive_by_token, methods=["POST"]),
    Route("/webhooks/{tenant}/{path}", receive_by_path, methods=["POST"]),
]
