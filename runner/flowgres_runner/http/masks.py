"""Keeping secret values out of whatever leaves a request: errors, details, outputs.

A server that echoes a request returns its secrets; the answer is stored and shown, so every occurrence is replaced,
plain or in the encodings that a request itself puts them into.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from urllib.parse import quote, quote_plus

MASK = "***"


class Masker:
    """Replaces secret values by `***`. Without secrets every method returns its argument."""

    __slots__ = ("_bytes", "_exact", "_text")

    def __init__(self, secrets: Sequence[str]) -> None:
        values = [value for value in dict.fromkeys(secrets) if value]
        forms = sorted({form for value in values for form in _forms(value)}, key=len, reverse=True)
        self._exact = frozenset(values)
        self._text = re.compile("|".join(map(re.escape, forms))) if forms else None
        self._bytes = (
            re.compile(b"|".join(re.escape(form.encode(errors="replace")) for form in forms)) if forms else None
        )

    def __bool__(self) -> bool:
        return self._text is not None

    def text(self, text: str) -> str:
        """Mask a text."""
        return text if self._text is None else self._text.sub(MASK, text)

    def raw(self, data: bytes) -> bytes:
        """Mask bytes that are going to be kept as they are."""
        return data if self._bytes is None else self._bytes.sub(MASK.encode(), data)

    def found_in(self, data: str | bytes | None) -> bool:
        """Whether a secret occurs in it."""
        if data is None or self._text is None or self._bytes is None:
            return False
        return bool(self._text.search(data) if isinstance(data, str) else self._bytes.search(data))

    def json(self, value: object) -> object:
        """Mask all strings and keys of a JSON value, and numbers that are a secret as a whole."""
        if self._text is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.json(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.json(item) for item in value]
        if isinstance(value, int | float) and not isinstance(value, bool) and str(value) in self._exact:
            return MASK
        return value


def _forms(value: str) -> set[str]:
    """A secret as it is, and as headers, queries, forms and JSON carry it."""
    data = value.encode(errors="replace")
    # Two letters of base64 would hit innocent text.
    encoded = {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()} if len(data) > 3 else set()
    return {
        value,
        quote(value, safe="", errors="replace"),
        quote(value, errors="replace"),
        quote_plus(value, errors="replace"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        *encoded,
        *(text.rstrip("=") for text in encoded),
    }


@lru_cache(maxsize=256)
def masker(secrets: tuple[str, ...]) -> Masker:
    """The masker of these secrets; steps of one workflow share it."""
    return Masker(secrets)
