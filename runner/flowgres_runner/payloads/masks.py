"""Keeping secret values out of whatever leaves a request: errors, details, outputs.

A server that echoes a request returns its secrets; the answer is stored and shown, so every occurrence is replaced:
plain, and in all spellings that a request or its echo gives them. What is no secret stays as it came: keys, numbers,
and whatever a secret shorter than MIN_SECRET_CHARACTERS happens to occur in.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import AnyStr
from urllib.parse import quote, quote_plus

from flowgres_process.limits import MIN_SECRET_CHARACTERS

MASK = "***"
_MAX_MIXED_CHARACTERS = 256
"""A longer one is found in each spelling as a whole, in no mixture: its expression would take a second to compile."""

BEGINNING_SIZE = 32_768
"""How much of a value is looked at for its beginning."""
_MAX_SPELLING = 48
"""Characters that one of a secret may become: four octets, percent-encoded up to five times."""

_JSON_ESCAPES = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_BASE64_LETTERS = {"+": "[+-]", "/": "[/_]", "-": "[+-]", "_": "[/_]"}


class Masker:
    """Replaces secret values by `***`. Without secrets every method returns its argument."""

    __slots__ = ("_bytes", "_longest", "_short", "_text")

    def __init__(self, secrets: Sequence[str]) -> None:
        values = sorted({form for value in secrets for form in _worth_masking(value)}, key=len, reverse=True)
        patterns = [pattern for value in values for pattern in _patterns(value)]
        self._text = re.compile("|".join(patterns)) if patterns else None
        self._bytes = re.compile("|".join(patterns).encode()) if patterns else None
        self._longest = max(map(_longest_form, values), default=0)
        short = {value for value in secrets if 0 < len(value) < MIN_SECRET_CHARACTERS}
        self._short = re.compile("|".join(pattern for value in sorted(short) for pattern in _patterns(value)))

    def __bool__(self) -> bool:
        return self._text is not None

    def text(self, text: str) -> str:
        """Mask a text."""
        return text if self._text is None else self._text.sub(MASK, text)

    def raw(self, data: bytes | bytearray) -> bytes | bytearray:
        """Mask bytes that are going to be kept as they are."""
        return data if self._bytes is None else self._bytes.sub(MASK.encode(), data)

    def beginning(self, data: AnyStr, most: int, *, has_more: bool = False) -> AnyStr:
        """The first `most` characters or bytes of what is masked; only BEGINNING_SIZE of it is looked at.

        Where data goes on behind that (or `has_more`), its end may be the beginning of a secret, and is left out.
        """
        pattern = self._text if isinstance(data, str) else self._bytes
        if pattern is None:
            return data[:most]
        looked_at = data[:BEGINNING_SIZE]
        whole = len(looked_at) - self._longest if has_more or len(data) > BEGINNING_SIZE else len(looked_at)
        pieces: list[AnyStr] = []
        at = 0
        for match in pattern.finditer(looked_at):
            if match.start() >= whole:
                break
            pieces.append(looked_at[at : match.start()])
            at = match.end()
        pieces.append(looked_at[at : max(at, whole)])
        mask = MASK if isinstance(data, str) else MASK.encode()
        return mask.join(pieces)[:most]

    def found_in(self, data: str | bytes | None) -> bool:
        """Whether a secret occurs in it, also a short one: this decides what is sent elsewhere, and changes nothing."""
        if not data:
            return False
        text = data if isinstance(data, str) else data.decode("latin-1")
        if self._short.pattern and self._short.search(text):
            return True
        if self._text is None or self._bytes is None:
            return False
        return bool(self._text.search(data) if isinstance(data, str) else self._bytes.search(data))

    def json(self, value: object) -> object:
        """Mask the texts of a JSON value. Keys and numbers are the data's own."""
        if self._text is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {key: self.json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.json(item) for item in value]
        return value


def _worth_masking(value: str) -> Iterator[str]:
    """A secret, and what is left of it where the space around it was cut off."""
    yield from (form for form in (value, value.strip()) if len(form) >= MIN_SECRET_CHARACTERS)


def _longest_form(value: str) -> int:
    """About as many characters as a spelling of a secret may have."""
    if len(value) <= _MAX_MIXED_CHARACTERS:
        return len(value) * _MAX_SPELLING
    return max(map(len, _whole_forms(value)))


def _patterns(value: str) -> Iterator[str]:
    """Regular expressions of a secret: its characters in mixed spellings, its octets, base64 of it within anything."""
    if len(value) <= _MAX_MIXED_CHARACTERS:
        yield "".join(map(_spellings, value))
    else:
        yield from (re.escape(form) for form in sorted(_whole_forms(value), key=len, reverse=True))
    data = value.encode(errors="replace")
    yield "".join(_hexadecimal(octet, 2) for octet in data)
    for offset in range(3):
        # What stands before and after it changes the letters at its ends: those in between are its own.
        encoded = base64.b64encode(bytes(offset) + data).decode().rstrip("=")
        inner = encoded[-(-offset * 8 // 6) : (offset + len(data)) * 8 // 6]
        yield "".join(_BASE64_LETTERS.get(letter, letter) for letter in inner)


def _whole_forms(value: str) -> set[str]:
    return {
        value,
        quote(value, safe="", errors="replace"),
        quote(value, errors="replace"),
        quote_plus(value, errors="replace"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
    }


def _spellings(character: str) -> str:
    """A character as it is, percent-encoded (also more than once), as a form's space, or escaped as in JSON."""
    # The longest first: a backslash alone would match the beginning of its own escape.
    units = character.encode("utf-16-be", errors="surrogatepass")
    escaped = (f"\\\\u{_hexadecimal(int.from_bytes(units[at : at + 2]), 4)}" for at in range(0, len(units), 2))
    octets = character.encode(errors="replace")
    forms = ["".join(escaped), "".join(f"%(?:25)*{_hexadecimal(octet, 2)}" for octet in octets)]
    if character in _JSON_ESCAPES:
        forms.append(re.escape(_JSON_ESCAPES[character]))
    if character == " ":
        forms.append(r"\+")
    forms.append(re.escape(character))
    return f"(?:{'|'.join(forms)})"


def _hexadecimal(number: int, digits: int) -> str:
    """A number in hexadecimal, in letters of either case."""
    return "".join(f"[{digit}{digit.upper()}]" if digit.isalpha() else digit for digit in f"{number:0{digits}x}")


@lru_cache(maxsize=256)
def masker(secrets: tuple[str, ...]) -> Masker:
    """The masker of these secrets; steps of one workflow share it."""
    return Masker(secrets)
