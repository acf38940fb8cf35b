"""An HTTP client for the API, that speaks as a key, as a token's owner, or as nobody."""

from __future__ import annotations

import time
from typing import Any

import httpx
import jwt

from tests.support.server import JWT_SECRET

REQUEST_TIMEOUT_SECONDS = 30


class Api:
    """Requests to one PostgREST (or front). `as_key` and `as_token` give the same API with credentials."""

    def __init__(self, url: str, headers: dict[str, str] | None = None) -> None:
        self.url = url
        self.headers = headers or {}

    def as_key(self, key: str) -> Api:
        """The same API, called with an API key."""
        return Api(self.url, {**self.headers, "X-API-Key": key})

    def as_token(self, token: str) -> Api:
        """The same API, called with a JWT (see `make_token`)."""
        return Api(self.url, {**self.headers, "Authorization": f"Bearer {token}"})

    def get(self, path: str, **options: Any) -> httpx.Response:
        """GET a view, with PostgREST's filters as `params=`."""
        return self.request("GET", path, **options)

    def rpc(self, function: str, *, prefer: str | None = None, **arguments: Any) -> httpx.Response:
        """POST /rpc/<function> with JSON arguments."""
        headers = {"Prefer": prefer} if prefer else {}
        return self.request("POST", f"/rpc/{function}", json=arguments, headers=headers)

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Any request; the connection is closed with the answer, so that no test has to."""
        with httpx.Client(base_url=self.url, headers=self.headers, timeout=REQUEST_TIMEOUT_SECONDS) as client:
            return client.request(method, path, **options)


def make_token(*, role: str, tenant_id: str, secret: str = JWT_SECRET, **claims: Any) -> str:
    """Sign a JWT as an identity provider would, for `viewer`, `member` or `admin`; it is good for a minute."""
    payload = {
        "role": f"flowgres_{role}",
        "tenant_id": tenant_id,
        "sub": "test",
        "exp": int(time.time()) + 60,
        **claims,
    }
    return jwt.encode(payload, secret, algorithm="HS256")
