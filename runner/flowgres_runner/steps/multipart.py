"""Bodies of several parts (multipart/form-data, RFC 7578)."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from flowgres_runner.http.exchange import MAX_REQUEST_BYTES
from flowgres_runner.http.failures import HttpError
from flowgres_runner.json_values import encode_json

_ESCAPES = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""As browsers do it."""


def encode_multipart(parts: Sequence[Mapping[str, Any]]) -> tuple[bytes, str]:
    """The body of these parts, and its content type.

    Raises HttpError (`config_invalid`, `request_too_large`).
    """
    boundary = f"flowgres-{secrets.token_hex(16)}"
    body = bytearray()
    for place, part in enumerate(parts):
        if "value" in part and part["value"] is None:
            continue  # as in a form
        try:
            content, content_type = _content(part)
            name, filename = part["name"], part.get("filename")
            disposition = f'form-data; name="{name.translate(_ESCAPES)}"'
            if filename is not None:
                disposition += f'; filename="{filename.translate(_ESCAPES)}"'
            head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n"
            if content_type is not None:
                head += f"Content-Type: {content_type}\r\n"
            body += head.encode() + b"\r\n" + content + b"\r\n"
        except binascii.Error:
            raise HttpError("config_invalid", f"http: multipart[{place}].base64 is no base64") from None
        except (ValueError, RecursionError):
            raise HttpError("config_invalid", f"http: multipart[{place}] holds something that cannot be sent") from None
        if len(body) > MAX_REQUEST_BYTES:
            raise HttpError("request_too_large", f"the body is larger than {MAX_REQUEST_BYTES} bytes")
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f"multipart/form-data; boundary={boundary}"


def _content(part: Mapping[str, Any]) -> tuple[bytes, str | None]:
    """The bytes of a part, and its type; a field without one has none."""
    given = part.get("content_type")
    if "base64" in part:
        return base64.b64decode(part["base64"], validate=True), given or "application/octet-stream"
    value = part["value"] if "value" in part else part["content"]
    if isinstance(value, dict | list):
        return encode_json(value).encode(), given or "application/json"
    text = value if isinstance(value, str) else encode_json(value)
    return text.encode(), given or ("text/plain; charset=utf-8" if "filename" in part else None)
