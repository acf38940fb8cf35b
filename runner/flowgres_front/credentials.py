"""Who is calling: the API key, or the claims of a verified token. Whether they are worth anything is SQL's to say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from starlette.requests import Request

from flowgres_definitions.strict_json import check_json
from flowgres_front.problems import Problem
from flowgres_front.settings import FrontSettings

ALGORITHM = "HS256"
# PostgREST allows the same difference of clocks.
LEEWAY_SECONDS = 30
_MAX_CREDENTIAL_LENGTH = 8192
_MAX_CLAIMS_DEPTH = 16
# What no token stands for: SQL refuses it as it refuses a wrong key, with the same words after the same time.
_WORTHLESS: Mapping[str, Any] = {}


_KEY = re.compile(r"fg_live_[0-9a-f]{32}_[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brought. Whether it is too much or no good is for SQL to say."""

    api_key: str | None = field(default=None, repr=False)
    claims: Mapping[str, Any] | None = field(default=None, repr=False)


def read_credentials(request: Request, settings: FrontSettings) -> Credentials:
    """Take X-API-Key and Authorization from the headers, and verify a token's signature and times.

    Any Authorization header is a credential, so one that cannot be verified becomes claims that are worth nothing.
    Raises Problem 400 for a header that is repeated.
    """
    api_key = _single_header(request, "x-api-key")
    authorization = _single_header(request, "authorization")
    if authorization is None:
        return Credentials(api_key=api_key)
    scheme, _, token = authorization.strip().partition(" ")
    claims = verify_token(token.strip(), settings.jwt_secret) if scheme.lower() == "bearer" else None
    return Credentials(api_key=api_key, claims=_WORTHLESS if claims is None else claims)


def require_credentials(credentials: Credentials) -> Credentials:
    """The same, when they can be worth something.

    Nothing at all, a key that has not the form of one and a token that nobody signed are refused here, in SQL's own
    words: they cost the database nothing, however many there are. Raises Problem 401.
    """
    if is_worthless(credentials):
        raise refused()
    return credentials


def is_worthless(credentials: Credentials) -> bool:
    """SQL would refuse these, whatever is stored."""
    if credentials.api_key is not None and credentials.claims is not None:
        return False  # which SQL refuses in other words
    if credentials.api_key is not None:
        return _KEY.fullmatch(credentials.api_key) is None
    return not credentials.claims


def refused() -> Problem:
    """What flowgres.refuse_caller() says."""
    return Problem(
        401,
        "invalid_credentials",
        "a valid API key or token is required",
        hint="Send X-API-Key: fg_live_... or Authorization: Bearer <JWT with exp, tenant_id, role>.",
    )


def verify_token(token: str, secret: str) -> dict[str, Any] | None:
    """The claims of a token signed with the shared secret, or None; HS256 alone, and never without `exp`."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            secret,
            algorithms=[ALGORITHM],
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp"], "verify_aud": False, "verify_sub": False, "verify_iat": False},
        )
        check_json(claims, max_depth=_MAX_CLAIMS_DEPTH)
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return claims


def _single_header(request: Request, name: str) -> str | None:
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Problem(400, "header_repeated", f"the header {name} is there more than once")
    if not values:
        return None
    # No credential is as long; a part of it is no good either, and cheaper to refuse.
    return values[0][:_MAX_CREDENTIAL_LENGTH]
