"""The step type `http`: one guarded request.

Every attempt carries the same `Idempotency-Key` and the `traceparent` of its own span, unless the author set them. The
output is `{status, headers, header_values, links, body, duration_ms}`, with `body_encoding: base64` when the body is no
text.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from flowgres_definitions.description import config_schema
from flowgres_runner.http import (
    Client,
    Failure,
    HttpError,
    Identity,
    Request,
    Response,
    basic_authorization,
    is_success,
)
from flowgres_runner.http.links import parse_links
from flowgres_runner.http.signing import sign
from flowgres_runner.http.tokens import Credentials, TokenStore
from flowgres_runner.json_values import canonical_json, encode_json
from flowgres_runner.payloads.texts import JsonText
from flowgres_runner.steps import callbacks
from flowgres_runner.steps.base import Completed, Failed, Handler, Json, Outcome, StepError, StepTask
from flowgres_runner.steps.multipart import encode_multipart
from flowgres_runner.trace_context import TRACE_HEADERS

_ENCODE_JSON = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_HIDDEN = frozenset(("password", "token", "value"))
"""Members of `auth` that no record shows, wherever they come from."""
_MEMBERS = config_schema("http")["properties"]


class HttpStep(Handler):
    """Handler of `http` steps; all of them share one client and its connections."""

    type = "http"
    waits = True
    is_bounded = True  # the client has one deadline over everything
    secret_places = tuple(key for key, of in _MEMBERS.items() if "x-secrets" in of)
    text_members = frozenset(("json", "body"))
    judged_members = frozenset(("url",))
    config_codes: Mapping[str, str] = {"header_invalid": "validation"}
    output_name = "response"

    def __init__(self, client: Client, *, has_callbacks: bool = False) -> None:
        """`has_callbacks`: there are addresses at which steps can be called."""
        self._has_callbacks = has_callbacks
        self._client = client
        self._tokens = TokenStore(client)

    def calls_back(self, config: Json) -> bool:
        """Whether it has `callback`."""
        return isinstance(config, dict) and "callback" in config

    async def _run(self, task: StepTask) -> Outcome:
        """Send the request, and wait to be called where `callback` says so."""
        config: Any = task.config
        if isinstance(task.resume, dict) and "status" in task.resume:
            return callbacks.resumed(task, task.resume)
        if "callback" not in config:
            return await self._request(task)
        if not self._has_callbacks:
            return callbacks.UNAVAILABLE
        outcome = await self._request(task)
        return callbacks.parked(outcome, config["callback"]) if isinstance(outcome, Completed) else outcome

    async def _request(self, task: StepTask) -> Outcome:
        """Send the request of a task; any status that is not expected is a failure."""
        try:
            request, timeout_seconds = build_request(task)
        except HttpError as error:
            return Failed(StepError(error.code, error.message, error.error_class))
        result = await self._send(task, request, timeout_seconds)
        detail: dict[str, Json] = {
            "method": request.method,
            "url": result.url,
            "status": result.status,
            "duration_ms": result.duration_ms,
        }
        if isinstance(result, Failure):
            error_details: Json = None if result.details is None else dict(result.details)
            return Failed(
                StepError(result.code, result.message, result.error_class, result.retry_after_seconds, error_details),
                detail,
            )
        output: dict[str, Json] = {
            "status": result.status,
            "headers": dict(result.headers),
            "header_values": {name: [*values] for name, values in result.header_values.items()},
            "links": dict(parse_links(result.headers["link"], result.url)) if "link" in result.headers else {},
            "duration_ms": result.duration_ms,
        }
        if result.body.is_binary:
            output["body_encoding"] = "base64"
        body = result.body.value
        if isinstance(body, JsonText):
            return Completed(_with_body(output, body), detail=detail)
        output["body"] = body
        return Completed(output, detail=detail)

    async def _send(self, task: StepTask, request: Request, timeout_seconds: float) -> Response | Failure:
        config: Any = task.config
        auth = config.get("auth")
        if auth is not None and auth["type"] == "oauth2":
            return await self._tokens.send(
                request,
                Credentials.of(auth, ca=None if request.identity is None else request.identity.ca),
                tenant_id=task.tenant_id,
                timeout_seconds=timeout_seconds,
                redact=task.secret_values,
            )
        return await self._client.request(request, timeout_seconds=timeout_seconds, redact=task.secret_values)


def _with_body(output: dict[str, Json], body: JsonText) -> JsonText:
    """The output as a text, around the text of its body; in jsonb's order the shortest key comes first."""
    text = bytearray(b'{"body":')
    text += body.data
    text += b","
    text += encode_json(canonical_json(output))[1:].encode()
    return JsonText(text, max(body.depth, 1) + 1)


def _invalid(why: str) -> HttpError:
    return HttpError("config_invalid", f"http: {why}")


def build_request(task: StepTask) -> tuple[Request, float]:
    """Build the request of a task and its timeout in seconds.

    The configuration is what its schema says, in the canonical form. Raises HttpError for what no schema says
    (`config_invalid`, `header_invalid`).
    """
    config: Any = task.config
    url = config["url"]
    headers = _headers(config.get("headers", {}))
    names = {name.lower() for name in headers}
    body, content_type = _body(config)
    if content_type is not None and "content-type" not in names:
        headers["Content-Type"] = content_type
    if "idempotency-key" not in names:
        headers["Idempotency-Key"] = task.idempotency_key
    if task.trace is not None and names.isdisjoint(TRACE_HEADERS):
        headers |= task.trace.headers
    query = _pairs(config.get("query", {}))
    credentials = _authenticate(config.get("auth"), names, headers, query)
    if "sign" in config:
        credentials |= _sign(config["sign"], task.idempotency_key, body, names, headers)
    request = Request(
        method=config.get("method", "GET"),
        url=_with_query(url, query) if query else url,
        headers=headers,
        body=body,
        follow_redirects=config.get("follow_redirects", True),
        is_expected=_expected(config.get("expected_status")),
        credentials=credentials,
        reads_as=config.get("response", "auto"),
        identity=_identity(config),
        hidden=tuple(text for key, text in config.get("auth", {}).items() if key in _HIDDEN),
    )
    return request, min(config.get("timeout", math.inf), task.timeout_seconds)


def _headers(value: Mapping[str, Any]) -> dict[str, str]:
    headers: dict[str, str] = {}
    seen: set[str] = set()
    for name, item in value.items():
        if item is None:
            continue
        if name.lower() in seen:
            raise HttpError("header_invalid", f"the header {name[:40]!r} is given twice")
        seen.add(name.lower())
        headers[name] = _plain(item)
    return headers


def _plain(value: str | int | float | bool) -> str:
    """A scalar as headers, queries and forms carry it: true, not True."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else str(value)


def _body(config: Mapping[str, Any]) -> tuple[bytes | None, str | None]:
    """The bytes to send and their content type."""
    given = [key for key in ("json", "body", "form", "multipart") if key in config]
    if not given:
        return None, None
    if given[0] == "multipart":
        return encode_multipart(config["multipart"])
    value: Json | JsonText = config[given[0]]
    try:
        if given[0] == "form":
            return urlencode(_pairs(config["form"])).encode(), "application/x-www-form-urlencoded"
        if isinstance(value, JsonText):
            return bytes(value.data), "application/json"
        if given[0] == "json" or isinstance(value, dict | list):
            return _ENCODE_JSON(value).encode(), "application/json"
        if value is None:
            return None, None
        return _plain(value).encode(), "text/plain; charset=utf-8"
    except (ValueError, RecursionError):
        raise _invalid(f"{given[0]} holds something that cannot be sent") from None


def _pairs(value: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values of a query or form; a list repeats its name, null leaves it out."""
    return [
        (name, _plain(scalar))
        for name, item in value.items()
        for scalar in (item if isinstance(item, list) else [item])
        if scalar is not None
    ]


def _with_query(url: str, pairs: Sequence[tuple[str, str]]) -> str:
    base, hash_mark, fragment = url.partition("#")
    joint = "" if base.endswith(("?", "&")) else "&" if "?" in base else "?"
    try:
        return f"{base}{joint}{urlencode(pairs)}{hash_mark}{fragment}"
    except UnicodeError:
        raise _invalid("query holds something that cannot be sent") from None


def _authenticate(
    auth: Mapping[str, str] | None, names: set[str], headers: dict[str, str], query: list[tuple[str, str]]
) -> frozenset[str]:
    """Put the credentials in; give the header that carries them, which no other origin may see."""
    if auth is None:
        return frozenset()
    for key, text in auth.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _invalid(f"auth.{key} is not valid text") from None
    if auth["type"] == "basic":
        name, value = "Authorization", basic_authorization(auth["username"], auth["password"])
    elif auth["type"] == "bearer":
        name, value = "Authorization", f"Bearer {auth['token']}"
    elif auth["type"] == "client_certificate":
        return frozenset()
    elif auth["type"] == "oauth2":
        name, value = "Authorization", ""  # the token is put in as it is there
    else:
        name, value = auth.get("name", "X-API-Key"), auth["value"]
        if auth.get("in") == "query":
            query.append((name, value))
            return frozenset()
    if name.lower() in names:
        raise _invalid(f"both auth and headers give {name}")
    headers[name] = value
    return frozenset({name.lower()})


def _identity(config: Mapping[str, Any]) -> Identity | None:
    """Which certificates the request shows and trusts; None for those of the system."""
    auth, tls = config.get("auth"), config.get("tls")
    if tls is None and (auth is None or auth["type"] != "client_certificate"):
        return None
    shown = auth if auth is not None and auth["type"] == "client_certificate" else {}
    return Identity(
        certificate=shown.get("certificate"),
        key=shown.get("key"),
        key_password=shown.get("key_password"),
        ca=None if tls is None else tls["ca"],
    )


def _sign(
    how: Mapping[str, str], default_id: str, body: bytes | None, names: set[str], headers: dict[str, str]
) -> frozenset[str]:
    """Put the signature of the body in; give the headers that carry it, which no other origin may see."""
    try:
        # Dots part what is signed.
        message_id = how.get("id", default_id.replace(".", "/"))
        signed = sign(how["secret"], message_id=message_id, at=int(time.time()), body=body or b"")
    except ValueError as error:
        raise _invalid(f"sign: {error}") from None
    for name in signed:
        if name in names:
            raise _invalid(f"both sign and headers give {name}")
    headers.update(signed)
    return frozenset(signed)


def _expected(value: list[int | float | str] | None) -> Callable[[int], bool]:
    """The test for expected statuses: numbers, or patterns such as 2xx."""
    if value is None:
        return is_success
    allowed: set[int] = set()
    for item in value:
        if isinstance(item, str) and item[1:].lower() == "xx":
            allowed.update(range(int(item[0]) * 100, int(item[0]) * 100 + 100))
        else:
            allowed.add(int(item))
    return frozenset(allowed).__contains__
