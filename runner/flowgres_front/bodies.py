"""Reading what callers send: bounded in bytes, time, depth and kind before anything else looks at it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from flowgres_definitions.strict_json import JsonError, read_json
from flowgres_front.budget import Budget, Party
from flowgres_front.problems import Problem

JSON_TYPES = frozenset({"application/json"})
YAML_TYPES = frozenset({"application/yaml", "text/yaml", "application/x-yaml", "text/x-yaml"})
_CHARGED_BYTES = 64 << 10
_CODES = {
    "duplicate_key": "duplicate_key",
    "json_too_deep": "json_too_deep",
    "invalid_character": "invalid_text",
}
# Possessive, and an open quote matches to the end: no text makes it go over a part of itself twice.
_QUOTED = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def content_type(request: Request, allowed: Collection[str]) -> str:
    """The media type of the body, one of `allowed`; anything else is 415.

    A body without a type is taken as JSON, as PostgREST takes it.
    """
    given = request.headers.get("content-type", "").split(";", 1)[0].strip().lower() or "application/json"
    if given not in allowed:
        raise Problem(
            415,
            "unsupported_media_type",
            "this kind of body is not accepted here",
            hint=f"Content-Type: one of {', '.join(sorted(allowed))}.",
            headers={"Accept": ", ".join(sorted(allowed))},
        )
    if request.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise Problem(415, "unsupported_encoding", "compressed bodies are not accepted", hint="Send it uncompressed.")
    return given


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What one route takes: so many bytes in so many seconds; of JSON, so many levels and values.

    With `is_optional`, no body at all is an empty object.
    """

    bytes: int
    depth: int = 1
    values: int = 64
    seconds: float = 30.0
    is_optional: bool = False


def check_declared_size(request: Request, limits: BodyLimits) -> None:
    """Refuse a body that says itself that it is too large, before anything of it is read."""
    if _declared(request) > limits.bytes:
        raise _too_large(limits)


def _declared(request: Request) -> int:
    text = request.headers.get("content-length", "")
    return int(text[:19]) if text.isascii() and text.isdigit() else 0


async def read_body(
    request: Request, limits: BodyLimits, *, budget: Budget, party: Party, holding: AsyncExitStack
) -> bytes:
    """All bytes of the body, charged to `party` until `holding` closes.

    413 as soon as they are too many, 408 when they come too slowly, 429 or 503 when too many others are under way.
    """
    check_declared_size(request, limits)
    charged = _declared(request)
    await holding.enter_async_context(budget.take(party, charged))
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(limits.seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limits.bytes:
                    raise _too_large(limits)
                if size > charged:
                    # Sent in pieces, without a word of how much it will be.
                    piece = max(len(chunk), min(_CHARGED_BYTES, limits.bytes))
                    await holding.enter_async_context(budget.take(party, piece))
                    charged += piece
                chunks.append(chunk)
    except TimeoutError as error:
        raise Problem(
            408,
            "body_timeout",
            "the body did not arrive in time",
            hint=f"All of it has to be here within {limits.seconds:g} s.",
            headers={"Connection": "close"},
        ) from error
    except ClientDisconnect as error:
        raise Problem(400, "body_incomplete", "the connection ended before the body did") from error
    return b"".join(chunks)


def _too_large(limits: BodyLimits) -> Problem:
    return Problem(
        413,
        "body_too_large",
        f"the body has more than {limits.bytes} bytes, which is all that is taken here",
        hint="Send less. Imports may be larger: the operator says how large, with MAX_PAYLOAD_BYTES.",
    )


def read_object(request: Request, raw: bytes, limits: BodyLimits) -> dict[str, Any]:
    """A body as a JSON object."""
    if limits.is_optional and not raw.strip():
        return {}
    content_type(request, JSON_TYPES)
    value = parse_json(raw, limits)
    if not isinstance(value, dict):
        raise Problem(400, "object_expected", "the body must be a JSON object", hint='Send {"name": value}.')
    return value


def parse_json(raw: bytes, limits: BodyLimits) -> Any:
    """JSON as the engine takes it, in UTF-8.

    Its values are counted before they are made, so that no body becomes more than `limits.values` objects of Python.
    """
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_json", "the body is not UTF-8") from error
    if count_values(text) > limits.values:
        raise Problem(
            400,
            "too_many_values",
            f"the JSON has more than {limits.values} values, which is all that is taken here",
            hint="Look up what this address takes: a few names with their values.",
        )
    try:
        return read_json(text, max_depth=limits.depth)
    except JsonError as error:
        at = f" at line {error.line}, column {error.column}" if error.line else ""
        raise Problem(
            400, _CODES.get(error.code, "invalid_json"), f"the body is not accepted: {error.message}{at}"
        ) from None


def count_values(text: str) -> int:
    """How many values and brackets a JSON text has at most, counted by its punctuation outside of texts."""
    bare = _QUOTED.sub("", text)
    return 1 + sum(map(bare.count, ",:[{"))
