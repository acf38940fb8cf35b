"""Reading what callers send: bounded in bytes, time, depth and kind before anything else looks at it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection
from typing import Any, NoReturn

from starlette.requests import ClientDisconnect, Request

from flowgres_front.problems import Problem
from flowgres_front.settings import FrontSettings

JSON_TYPES = frozenset({"application/json"})
YAML_TYPES = frozenset({"application/yaml", "text/yaml", "application/x-yaml", "text/x-yaml"})


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


async def read_body(request: Request, settings: FrontSettings) -> bytes:
    """All bytes of the body; 413 as soon as they are too many, 408 when they come too slowly."""
    limit = settings.max_body_bytes
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:19]) > limit:
        _refuse_size(limit)
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    _refuse_size(limit)
                chunks.append(chunk)
    except TimeoutError as error:
        raise Problem(
            408, "body_timeout", "the body did not arrive in time", headers={"Connection": "close"}
        ) from error
    except ClientDisconnect as error:
        raise Problem(400, "body_incomplete", "the connection ended before the body did") from error
    return b"".join(chunks)


def _refuse_size(limit: int) -> NoReturn:
    raise Problem(
        413,
        "body_too_large",
        f"the body has more than {limit} bytes",
        hint="Send less, or have the operator raise MAX_PAYLOAD_BYTES.",
        headers={"Connection": "close"},
    )


async def read_json_object(request: Request, settings: FrontSettings, *, optional: bool = False) -> dict[str, Any]:
    """The body as a JSON object; with `optional`, no body at all is an empty object."""
    raw = await read_body(request, settings)
    if optional and not raw.strip():
        return {}
    content_type(request, JSON_TYPES)
    value = parse_json(raw, max_depth=settings.max_json_depth)
    if not isinstance(value, dict):
        raise Problem(400, "object_expected", "the body must be a JSON object", hint='Send {"name": value}.')
    return value


def parse_json(raw: bytes, *, max_depth: int) -> Any:
    """Strict JSON: UTF-8, no duplicate keys, no NaN, finite numbers, and only text that PostgreSQL can store."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Problem(400, "invalid_json", "the body is not UTF-8") from error
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise Problem(
            400, "invalid_json", f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}"
        ) from error
    except RecursionError as error:
        raise _too_deep(max_depth) from error
    except ValueError as error:
        # An integer of more digits than Python reads; nobody means one.
        raise Problem(400, "invalid_json", "a number has too many digits") from error
    check_json(value, max_depth=max_depth)
    return value


def check_json(value: Any, *, max_depth: int) -> None:
    """Refuse nesting beyond `max_depth`, and text that PostgreSQL cannot store (NUL, lone surrogates)."""
    pending = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if depth > max_depth:
            raise _too_deep(max_depth)
        if isinstance(item, str):
            _check_text(item)
        elif isinstance(item, dict):
            for key in item:
                _check_text(key)
            pending.extend((member, depth + 1) for member in item.values())
        elif isinstance(item, list):
            pending.extend((member, depth + 1) for member in item)


def _too_deep(max_depth: int) -> Problem:
    return Problem(400, "json_too_deep", f"the JSON is nested more than {max_depth} deep")


def _check_text(text: str) -> None:
    if "\x00" in text or not _is_unicode(text):
        raise Problem(
            400,
            "invalid_text",
            "a text holds a character that cannot be stored",
            hint="No \\u0000, no lone surrogates.",
        )


def _is_unicode(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise Problem(400, "duplicate_key", "an object names the same key twice")
    return result


def _no_constant(name: str) -> NoReturn:
    raise Problem(400, "invalid_json", f"{name} is not JSON")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise Problem(400, "invalid_json", "a number is too large")
    return value
