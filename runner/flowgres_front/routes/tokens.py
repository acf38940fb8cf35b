"""POST /token: an API key becomes a short-lived JWT, for callers that should not hold the key itself."""

from __future__ import annotations

import time

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from flowgres_front.bodies import BodyLimits
from flowgres_front.context import front_of
from flowgres_front.credentials import ALGORITHM, Credentials, read_credentials
from flowgres_front.describing import JSON_TYPE, Body, describe, json_answer, json_object
from flowgres_front.problems import Problem
from flowgres_front.settings import TOKEN_LIFETIME_SECONDS

LIMITS = BodyLimits(bytes=4096, values=16, seconds=10, is_optional=True)
"""A key and a number. Anybody may send this, so it is small."""


@describe(
    "Exchange an API key for a token",
    topic="Access",
    answers={
        200: json_answer(
            "A token",
            json_object(
                {
                    "access_token": {"type": "string"},
                    "token_type": {"const": "Bearer"},
                    "expires_in": {"type": "integer"},
                    "role": {"type": "string"},
                    "tenant_id": {"type": "string", "format": "uuid"},
                }
            ),
        )
    },
    errors={400: ["api_key_required", "argument_invalid"]},
    body=Body(
        {
            JSON_TYPE: json_object(
                {
                    "api_key": {"type": "string", "description": "Where X-API-Key cannot be sent"},
                    "expires_in": {"type": "integer", "minimum": 1, "maximum": TOKEN_LIFETIME_SECONDS},
                },
                optional=["api_key", "expires_in"],
            )
        },
        is_required=False,
    ),
)
async def issue_token(request: Request) -> JSONResponse:
    """Answer a JWT of the key's tenant, role and business roles, good for 15 minutes or the shorter `expires_in`.

    The key comes as X-API-Key or as `api_key` in the body. A token buys no token: it could be renewed for ever.
    """
    front = front_of(request)
    credentials = read_credentials(request, front.settings)
    if credentials.claims is not None:
        raise Problem(
            400,
            "api_key_required",
            "a token cannot be exchanged for another",
            hint="Send X-API-Key and no Authorization.",
        )
    if credentials.api_key is None:
        body = await front.stranger_object(request, LIMITS)
        credentials = Credentials(api_key=_api_key(body.get("api_key")))
        async with front.visitor(request, credentials) as visitor:
            identity = await visitor.identity()
    else:
        async with front.visitor(request) as visitor:
            identity = await visitor.identity()
            body = await visitor.object(LIMITS)
        if body.get("api_key") is not None:
            raise Problem(400, "ambiguous_credentials", "send the key once, as X-API-Key or as the text `api_key`")
    lifetime = _lifetime(body.get("expires_in", TOKEN_LIFETIME_SECONDS))
    now = int(time.time())
    claims = {
        "role": identity.role,
        "tenant_id": identity.tenant_id,
        "sub": identity.actor,
        "roles": identity.roles,
        "iat": now,
        "exp": now + lifetime,
    }
    return JSONResponse(
        {
            "access_token": jwt.encode(claims, front.settings.jwt_secret, algorithm=ALGORITHM),
            "token_type": "Bearer",
            "expires_in": lifetime,
            "role": identity.role.removeprefix("flowgres_"),
            "tenant_id": identity.tenant_id,
        }
    )


def _api_key(value: object) -> str | None:
    """The key that stood in the body, or None for the refusal that everybody gets."""
    if value is not None and not isinstance(value, str):
        raise Problem(400, "argument_invalid", "api_key must be a text")
    return value


def _lifetime(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= TOKEN_LIFETIME_SECONDS:
        raise Problem(
            400, "argument_invalid", f"expires_in must be a whole number of seconds from 1 to {TOKEN_LIFETIME_SECONDS}"
        )
    return value


ROUTES = [Route("/token", issue_token, methods=["POST"])]
