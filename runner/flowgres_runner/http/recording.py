"""What an attempt sent and got, kept with it: masked, and bounded.

Whatever sends through the client inside of an attempt is noted here, so no step type does anything for it. A note is a
reference; only what is kept is made into text.
"""

from __future__ import annotations

import base64
import codecs
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flowgres_runner.http.failures import Failure
from flowgres_runner.http.urls import Target
from flowgres_runner.json_values import Json, encode_json
from flowgres_runner.payloads.masks import BEGINNING_SIZE, MASK, Masker, masker
from flowgres_runner.payloads.texts import JsonText

if TYPE_CHECKING:
    from flowgres_runner.http.exchange import Exchange, Response

PART_BYTES = 4_096
"""Of a request, and of a response, as JSON."""
_KEPT_BYTES = BEGINNING_SIZE + 4
"""Enough to see that there is more, and to end with a whole character."""
_URL_BYTES = 1_024
_HEADERS_BYTES = 1_536
_VALUE_CHARACTERS = 256
_MEMBERS_BYTES = 128
"""Names, braces and numbers of a part."""
_HIDDEN_HEADERS = frozenset(
    ("authorization", "cookie", "set-cookie", "x-api-key", "x-auth-token", "api-key", "proxy-authorization")
)


@dataclass(slots=True)
class _Noted:
    """A request that has ended. Of large bodies there is no more than what is looked at."""

    method: str
    target: Target
    headers: Mapping[str, str]
    body: bytes | None
    secrets: tuple[str, ...]
    hidden: tuple[str, ...]
    credentials: frozenset[str]
    status: int | None
    answered: Mapping[str, str]
    received: Json | bytes
    is_binary: bool
    number: int
    is_failed: bool

    def told(self, secrets: tuple[str, ...]) -> dict[str, Json]:
        """`request` {method, url, headers, body}, and `response` {status, headers, body} if there was any."""
        mask = masker(tuple(dict.fromkeys((*secrets, *self.secrets, *self.hidden))))
        url = _beginning(str(self.target.url.with_fragment(None)), mask, _URL_BYTES)[0]
        hidden = _HIDDEN_HEADERS | self.credentials
        about: dict[str, Json] = {"method": self.method, "url": url}
        told: dict[str, Json] = {"request": _part(about, self.headers, hidden, self.body, mask)}
        if self.status is not None:
            received = self.received
            if received is not None and not isinstance(received, str | bytes):
                # It was masked as it was read, but for keys and numbers.
                received = encode_json(received)
            response = _part({"status": self.status}, self.answered, hidden, received, mask)
            if self.is_binary and "body" in response:
                response["body_encoding"] = "base64"
            told["response"] = response
        return told


@dataclass(slots=True)
class _Letter:
    """An e-mail that was handed in."""

    url: str
    headers: Mapping[str, str]
    body: str
    answer: tuple[int, str] | None
    secrets: tuple[str, ...]

    def told(self, secrets: tuple[str, ...]) -> dict[str, Json]:
        """The same as of a request: `request` and `response`."""
        mask = masker(tuple(dict.fromkeys((*secrets, *self.secrets))))
        about: dict[str, Json] = {"method": "SMTP", "url": mask.text(self.url)}
        told: dict[str, Json] = {"request": _part(about, self.headers, frozenset(), self.body, mask)}
        if self.answer is not None:
            told["response"] = _part({"status": self.answer[0]}, {}, frozenset(), self.answer[1], mask)
        return told


class Recorder:
    """The last request of an attempt, with what came back, and one before it; `secrets` are those of the attempt.

    A token that an attempt had fetched for all is none of its requests.
    """

    __slots__ = ("_count", "_failed", "_first", "_letter", "_noted", "_secrets")

    def __init__(self, secrets: tuple[str, ...] = ()) -> None:
        self._secrets = secrets
        self._noted: _Noted | None = None
        self._first: _Noted | None = None
        self._failed: _Noted | None = None
        self._letter: _Letter | None = None
        self._count = 0

    def note(self, exchange: Exchange, result: Response | Failure) -> None:
        """Keep a request that has ended, in place of the last one; one that was aimed nowhere was none."""
        if exchange.target is None:
            return
        request, body = exchange.request, exchange.body
        received: Json | JsonText | bytes = exchange.received if isinstance(result, Failure) else result.body.value
        if isinstance(received, JsonText):
            received = bytes(received.data[:_KEPT_BYTES])
        self._count += 1
        self._noted = _Noted(
            exchange.method,
            exchange.target,
            exchange.headers,
            body if body is None or len(body) <= _KEPT_BYTES else body[:_KEPT_BYTES],
            exchange.secrets,
            request.hidden,
            request.credentials,
            exchange.status,
            exchange.answered,
            received,
            not isinstance(result, Failure) and result.body.is_binary,
            self._count,
            isinstance(result, Failure) or (exchange.status or 0) >= 400,
        )
        if self._first is None:
            self._first = self._noted
        if self._failed is None and self._noted.is_failed:
            self._failed = self._noted

    def note_letter(
        self,
        *,
        url: str,
        headers: Mapping[str, str],
        body: str,
        answer: tuple[int, str] | None,
        secrets: tuple[str, ...],
    ) -> None:
        """Keep an e-mail that was handed in at an address, and the code and words of the server, if it had any."""
        self._letter = _Letter(url, headers, body[:_KEPT_BYTES], answer, secrets)

    def told(self) -> dict[str, Json]:
        """`request` {method, url, headers, body}, and `response` {status, headers, body} if there was any.

        A body that is no text is base64, as `body_encoding` says; of a part that is `cut` there is the beginning.
        `requests` counts them where the attempt sent more than this one, and `earlier` is the first of the others that
        failed, or the first of all: {number, request, response}. Nothing when nothing was sent.
        """
        noted = self._noted
        if noted is None:
            return {} if self._letter is None else self._letter.told(self._secrets)
        told = noted.told(self._secrets)
        if self._count > 1:
            told["requests"] = self._count
            earlier = self._failed if self._failed is not None and self._failed is not noted else self._first
            if earlier is not None:
                told["earlier"] = {"number": earlier.number, **earlier.told(self._secrets)}
        return told


current_recorder: ContextVar[Recorder | None] = ContextVar("current_recorder", default=None)
"""Of the attempt that this task runs."""


def _part(
    about: dict[str, Json],
    headers: Mapping[str, str],
    hidden: frozenset[str],
    body: str | bytes | None,
    mask: Masker,
) -> dict[str, Json]:
    """A request or a response, of at most PART_BYTES."""
    shown, is_cut = _shown_headers(headers, hidden, mask)
    part = {**about, "headers": shown}
    room = PART_BYTES - _MEMBERS_BYTES - _size(part)
    if body:
        if isinstance(body, str):
            part["body"], is_body_cut = _beginning(body, mask, room)
        else:
            is_body_cut = _put_bytes(part, body, mask, room)
        is_cut = is_cut or is_body_cut
    if is_cut:
        part["cut"] = True
    return part


def _put_bytes(part: dict[str, Json], body: bytes, mask: Masker, room: int) -> bool:
    """Put a body in, as text if it is any; whether there is more of it."""
    window = body[:BEGINNING_SIZE]
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(window, final=len(window) == len(body))
    except UnicodeDecodeError:
        data = mask.beginning(body, room * 3 // 4)
        part["body"], part["body_encoding"] = base64.b64encode(data).decode(), "base64"
        return len(mask.beginning(body, BEGINNING_SIZE)) > len(data) or len(body) > BEGINNING_SIZE
    # What stands behind the window decides whether its end is the end of a secret.
    part["body"], is_cut = _beginning(text, mask, room, has_more=len(window) < len(body))
    return is_cut


def _beginning(text: str, mask: Masker, room: int, *, has_more: bool = False) -> tuple[str, bool]:
    """The beginning of a masked text that takes so many bytes as JSON, and whether there is more of it.

    It is masked before it is cut: half a secret must not remain at the end.
    """
    masked = mask.beginning(text, max(room, 0) + 1, has_more=has_more)
    kept = masked.replace("\0", "\ufffd").encode(errors="replace").decode()[: max(room, 0)]
    while kept and (size := _size(kept)) > room:
        kept = kept[: min(len(kept) - 1, len(kept) * room // size)]
    return kept, has_more or len(text) > BEGINNING_SIZE or len(kept) < len(masked)


def _shown_headers(headers: Mapping[str, str], hidden: frozenset[str], mask: Masker) -> tuple[dict[str, Json], bool]:
    """Headers as far as there is room, without what credentials are made of; whether all of them are there whole."""
    shown: dict[str, Json] = {}
    room, is_cut = _HEADERS_BYTES, False
    for name, value in headers.items():
        if name.lower() in hidden:
            # How somebody shows who it is tells more than that it does, and gives nothing away.
            scheme, _, rest = value.partition(" ")
            text = f"{scheme} {MASK}" if rest and name.lower() == "authorization" and scheme.isalpha() else MASK
        else:
            text = mask.text(value)
        key = mask.text(name)
        is_cut = is_cut or len(text) > _VALUE_CHARACTERS
        text = text[:_VALUE_CHARACTERS].replace("\0", "\ufffd").encode(errors="replace").decode()
        room -= _size(key) + _size(text) + 2
        if room < 0:
            return shown, True
        shown[key] = text
    return shown, is_cut


def _size(value: Json) -> int:
    return len(encode_json(value).encode())
