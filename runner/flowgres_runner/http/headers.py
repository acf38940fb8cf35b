"""Headers of requests and answers: what may be sent, what is kept."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from flowgres_runner.http.failures import HttpError

# Hop-by-hop, framing and routing: these belong to the connection, which is ours.
_DENIED = frozenset(
    {
        "connection", "content-length", "expect", "host", "http2-settings", "keep-alive", "proxy-authenticate",
        "proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}\Z")
_BAD_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_MAX_VALUE_BYTES = 8_190
_MAX_TOTAL_BYTES = 32_768
_MAX_COUNT = 100
_MAX_RETRY_AFTER_SECONDS = 7 * 86_400.0


def _invalid(why: str) -> HttpError:
    return HttpError("header_invalid", why)


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse headers that would change the framing, the route or other headers.

    Raises HttpError (`header_invalid`). Values may hold any printable text; it travels as UTF-8.
    """
    if len(headers) > _MAX_COUNT:
        raise _invalid(f"more than {_MAX_COUNT} headers")
    total = 0
    for name, value in headers.items():
        _check_name(name)
        if _BAD_VALUE.search(value):
            raise _invalid(f"the value of the header {name} contains a control character")
        try:
            size = len(value) if value.isascii() else len(value.encode())
        except UnicodeEncodeError:
            raise _invalid(f"the value of the header {name} is not valid text") from None
        if size > _MAX_VALUE_BYTES:
            raise _invalid(f"the value of the header {name} is longer than {_MAX_VALUE_BYTES} bytes")
        total += len(name) + size
    if total > _MAX_TOTAL_BYTES:
        raise _invalid(f"the headers are longer than {_MAX_TOTAL_BYTES} bytes")


@lru_cache(maxsize=512)
def _check_name(name: str) -> None:
    if not _TOKEN.match(name):
        raise _invalid(f"{name[:40]!r} is not a header name")
    if name.lower() in _DENIED:
        raise _invalid(f"the header {name} is set by the engine")


def received_headers(pairs: Iterable[tuple[bytes, bytes]]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Headers of an answer as JSON can hold them: lower-case names, repeated ones joined by a comma.

    With them the values one by one of those that came more than once, and of cookies, which hold commas themselves.
    """
    result: dict[str, str] = {}
    values: dict[str, list[str]] = {}
    for raw_name, raw_value in pairs:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        if "\0" in value:
            value = value.replace("\0", "")
        if name in result:
            values.setdefault(name, [result[name]]).append(value)
            result[name] = f"{result[name]}, {value}"
        else:
            result[name] = value
            if name == "set-cookie":
                values[name] = [value]
    return result, values


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After (seconds or an HTTP date) as seconds from now, between 0 and a week.

    A date is compared with the answer's own Date when it has one, so a wrong clock on either side does not matter.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if re.fullmatch(r"[0-9]{1,12}", text):
        return min(float(text), _MAX_RETRY_AFTER_SECONDS)
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return min(max((until - now).total_seconds(), 0.0), _MAX_RETRY_AFTER_SECONDS)


def _date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def basic_authorization(username: str, password: str) -> str:
    """The value of an Authorization header for a user and a password (RFC 7617, UTF-8)."""
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
