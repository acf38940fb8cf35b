"""OAuth2 client credentials (RFC 6749, 4.4): tokens, kept until shortly before they expire, fetched once for all.

A token belongs to a tenant and to all that it depends on, the client's secret included: who has another secret gets
another token. Nothing of it is told: neither tokens nor what they were asked with appear in an error.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import math
import re
import secrets as random_tokens
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote_plus, urlencode

from flowgres_runner.http.budget import current_room
from flowgres_runner.http.exchange import Request, Response
from flowgres_runner.http.failures import Failure, HttpError
from flowgres_runner.http.headers import retry_after_seconds
from flowgres_runner.http.recording import current_recorder
from flowgres_runner.payloads.masks import masker

if TYPE_CHECKING:
    from flowgres_runner.http.client import Client

MAX_TOKENS = 1_000
MAX_TENANT_TOKENS = 50
MAX_ANSWER_BYTES = 65_536
FETCH_SECONDS = 30.0
"""At most; whoever waits for a token has a deadline of its own."""
MARGIN_SECONDS = 30.0
"""So long before it expires a token is not used any more, or after half of its time where that is less."""
UNKNOWN_SECONDS = 300.0
"""How long a token is used whose server does not say when it expires."""
MAX_SECONDS = 86_400.0
_TOKEN = re.compile(r"[\x21-\x7e]{1,8000}\Z")
_WORD = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")
_MAX_DESCRIPTION_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a token is asked for with."""

    token_url: str
    client_id: str
    client_secret: str
    scope: str | None = None
    audience: str | None = None
    in_body: bool = False

    @classmethod
    def of(cls, auth: Mapping[str, str]) -> Credentials:
        """Those of the `auth` of a step."""
        return cls(
            token_url=auth["token_url"],
            client_id=auth["client_id"],
            client_secret=auth["client_secret"],
            scope=auth.get("scope"),
            audience=auth.get("audience"),
            in_body=auth.get("client_authentication") == "body",
        )

    @property
    def request(self) -> Request:
        """The request for a token. It follows no redirect, which would take the secret elsewhere."""
        form = {"grant_type": "client_credentials"}
        if self.scope is not None:
            form["scope"] = self.scope
        if self.audience is not None:
            form["audience"] = self.audience
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        if self.in_body:
            form |= {"client_id": self.client_id, "client_secret": self.client_secret}
        else:
            headers["Authorization"] = f"Basic {self._basic}"
        return Request(
            method="POST",
            url=self.token_url,
            headers=headers,
            body=urlencode(form).encode(),
            follow_redirects=False,
            is_expected=lambda status: True,
            # An error's status says more than that its body is not what it claims to be.
            reads_as="bytes",
            max_response_bytes=MAX_ANSWER_BYTES,
        )

    @property
    def _basic(self) -> str:
        # Both are encoded as in a form before they are put together (RFC 6749, 2.3.1).
        pair = f"{quote_plus(self.client_id)}:{quote_plus(self.client_secret)}"
        return base64.b64encode(pair.encode()).decode("ascii")

    def mask(self, text: str, redact: tuple[str, ...]) -> str:
        """A text without anything that the token was asked with, or is masked anyway."""
        return masker((*redact, self.client_secret, self._basic)).text(text)


@dataclass(frozen=True, slots=True)
class Token:
    """A token; `until` by the time that attempts are measured by."""

    value: str
    until: float


class _Fetch:
    """A request for a token that is under way, and how many wait for it."""

    def __init__(self, task: asyncio.Task[Token]) -> None:
        self.task = task
        self.waiting = 0


class TokenStore:
    """The tokens of a runner. For one event loop."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._timing = client.timing
        self._salt = random_tokens.token_bytes(32)
        self._tokens: OrderedDict[tuple[str, bytes], Token] = OrderedDict()
        self._coming: dict[tuple[str, bytes], _Fetch] = {}

    async def send(
        self,
        request: Request,
        credentials: Credentials,
        *,
        tenant_id: str,
        timeout_seconds: float,
        redact: tuple[str, ...],
    ) -> Response | Failure:
        """Send a request with a token; once more with a new one when one that was kept is refused (401)."""
        began = self._timing.monotonic()

        def remaining() -> float:
            return max(0.001, timeout_seconds - (self._timing.monotonic() - began))

        key = self._key(tenant_id, credentials)
        token = self._kept(key)
        may_be_stale = token is not None
        while True:
            try:
                if token is None:
                    async with self._timing.timeout(remaining()):
                        token = await self._fetched(key, credentials)
            except TimeoutError:
                return _failure(_late(timeout_seconds), credentials, redact, self._timing.monotonic() - began)
            except HttpError as error:
                return _failure(error, credentials, redact, self._timing.monotonic() - began)
            request.headers = {**request.headers, "Authorization": f"Bearer {token.value}"}
            result = await self._client.request(request, timeout_seconds=remaining(), redact=(*redact, token.value))
            if not may_be_stale or not isinstance(result, Failure) or result.status != 401:
                return result
            self._forget(key, token)
            token, may_be_stale = self._kept(key), False

    def _key(self, tenant_id: str, credentials: Credentials) -> tuple[str, bytes]:
        digest = hashlib.blake2b(key=self._salt, digest_size=32)
        for part in (
            credentials.token_url,
            credentials.client_id,
            credentials.client_secret,
            credentials.scope,
            credentials.audience,
            str(credentials.in_body),
        ):
            data = b"" if part is None else part.encode()
            digest.update(b"%d:" % (-1 if part is None else len(data)) + data)
        return tenant_id, digest.digest()

    def _kept(self, key: tuple[str, bytes]) -> Token | None:
        token = self._tokens.get(key)
        if token is None:
            return None
        if token.until <= self._timing.monotonic():
            del self._tokens[key]
            return None
        self._tokens.move_to_end(key)
        return token

    def _forget(self, key: tuple[str, bytes], token: Token) -> None:
        """Forget a token that was refused, unless there is a newer one already."""
        if self._tokens.get(key) is token:
            del self._tokens[key]

    def _keep(self, key: tuple[str, bytes], token: Token) -> None:
        if token.until <= self._timing.monotonic():
            return
        self._tokens[key] = token
        self._tokens.move_to_end(key)
        own = [other for other in self._tokens if other[0] == key[0]]
        if len(own) > MAX_TENANT_TOKENS:
            del self._tokens[own[0]]
        if len(self._tokens) > MAX_TOKENS:
            self._tokens.popitem(last=False)

    async def _fetched(self, key: tuple[str, bytes], credentials: Credentials) -> Token:
        """A new token; those who want the same one at the same time wait for one request."""
        fetch = self._coming.get(key)
        if fetch is None:
            fetch = self._coming[key] = _Fetch(asyncio.create_task(self._fetch(key, credentials)))
            fetch.task.add_done_callback(lambda task: self._end(key, task))
        fetch.waiting += 1
        try:
            # One of those who wait may be cancelled; the others still want it.
            return await asyncio.shield(fetch.task)
        finally:
            fetch.waiting -= 1
            if not fetch.waiting and not fetch.task.done():
                # Nobody wants it any more, and nobody may join what is about to end.
                self._end(key, fetch.task)
                fetch.task.cancel()

    def _end(self, key: tuple[str, bytes], task: asyncio.Task[Token]) -> None:
        fetch = self._coming.get(key)
        if fetch is not None and fetch.task is task:
            del self._coming[key]
        if task.done() and not task.cancelled():
            task.exception()  # seen, also when all who waited have gone

    async def _fetch(self, key: tuple[str, bytes], credentials: Credentials) -> Token:
        # Of no attempt: who asked first may have gone before the answer is here.
        current_room.set(None)
        current_recorder.set(None)
        asked_at = self._timing.monotonic()
        # Nothing is masked: a token may hold what is a secret elsewhere, as the name of the client.
        result = await self._client.request(credentials.request, timeout_seconds=FETCH_SECONDS)
        if isinstance(result, Failure):
            raise HttpError("", result.message, result.error_class, result.retry_after_seconds, status=result.status)
        token = _read_token(result, asked_at)
        self._keep(key, token)
        return token


def _read_token(answer: Response, asked_at: float) -> Token:
    """The token of an answer. Raises HttpError with a message that has nothing of it."""
    told = _read_object(answer.body.value)
    if not 200 <= answer.status < 300:
        status = answer.status
        error_class = "429" if status in (425, 429) else "5xx" if status >= 500 else "http_status"
        word, why = told.get("error"), told.get("error_description")
        details: dict[str, str | int] = {"status": status}
        message = f"the token endpoint answered {status}"
        if isinstance(word, str) and _WORD.match(word):
            details["error"] = word
            message += f": {word}"
        if isinstance(why, str) and why:
            details["error_description"] = why
        raise HttpError(
            "",
            message,
            "timeout" if status == 408 else error_class,
            retry_after_seconds=retry_after_seconds(answer.headers),
            details=details,
            status=status,
        )
    value, kind = told.get("access_token"), told.get("token_type", "Bearer")
    if not isinstance(value, str) or not _TOKEN.match(value):
        raise HttpError("", "the answer of the token endpoint has no access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise HttpError("", "the token endpoint gave a token that is no bearer token")
    return Token(value, asked_at + _usable_seconds(told.get("expires_in")))


def _read_object(body: object) -> Mapping[str, object]:
    try:
        told = json.loads(base64.b64decode(body)) if isinstance(body, str) else None
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _usable_seconds(expires_in: object) -> float:
    try:
        lasts = float(expires_in) if isinstance(expires_in, int | float | str) else UNKNOWN_SECONDS
    except (ValueError, OverflowError):
        lasts = UNKNOWN_SECONDS
    if math.isnan(lasts):
        lasts = UNKNOWN_SECONDS
    lasts = min(max(lasts, 0.0), MAX_SECONDS)
    return lasts - min(MARGIN_SECONDS, lasts / 2)


def _late(timeout_seconds: float) -> HttpError:
    return HttpError("", f"no token within {timeout_seconds:g} s", "timeout")


def _failure(error: HttpError, credentials: Credentials, redact: tuple[str, ...], elapsed_seconds: float) -> Failure:
    """Why there is no token, as the result of the step's request, which was not sent."""
    details: dict[str, str | int] = {}
    for name, value in (error.details or {}).items():
        # Masked before it is cut.
        details[name] = (
            credentials.mask(value, redact)[:_MAX_DESCRIPTION_CHARACTERS] if isinstance(value, str) else value
        )
    return Failure(
        code="oauth2_failed",
        message=credentials.mask(f"no token: {error.message}", redact),
        error_class=error.error_class,
        retry_after_seconds=error.retry_after_seconds,
        details=details or None,
        duration_ms=round(elapsed_seconds * 1000, 3),
    )
