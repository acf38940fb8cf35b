"""Bodies of answers, turned into what a jsonb column can hold.

JSON is checked for everything that PostgreSQL would refuse later, when the step could only fail without a hint.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from flowgres_definitions.strict_json import JsonError, read_json
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.masks import Masker

READINGS = ("auto", "json", "text", "bytes")
"""What the key `response` of a step may say."""
MAX_JSON_DEPTH = 63  # stored JSON may have 64 levels; the step's output object is one of them
_CHARSET = re.compile(r"charset\s*=\s*\"?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
# Python has more codecs than charsets, some quadratic (punycode): only what servers declare.
_CHARSETS = re.compile(
    r"(utf-?(8|16|32)(-?[lb]e)?|us-ascii|ascii|latin-?1|iso-?8859-?\d{1,2}|(windows|cp)-?\d{3,4}|koi8-[ru]|"
    r"shift[_-]jis|euc-(jp|kr)|gb2312|gbk|gb18030|big5)\Z",
    re.IGNORECASE,
)
_TEXT_TYPES = re.compile(
    r"(text/.*|application/(xml|javascript|ecmascript|x-www-form-urlencoded|yaml|x-yaml|toml|sql|graphql|x-ndjson|"
    r"jsonl?|ld\+json)|.*\+(xml|yaml))\Z"
)
# The longer ones first: that of UTF-32 begins like that of UTF-16.
_MARKS = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def _not_storable(why: str) -> BodyError:
    return BodyError("response_not_storable", f"the response cannot be stored: {why}")


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body. `is_binary`: `value` is base64 because the bytes are no text."""

    value: Any
    is_binary: bool = False


def parse_body(data: bytes | bytearray, content_type: str, masker: Masker, reads_as: str = "auto") -> Body:
    """Turn a body into a JSON value.

    `auto` goes by the content type: JSON is parsed, text decoded, the rest (and text that jsonb cannot hold) given as
    base64. `json`, `text` and `bytes` go by nothing but that word. Raises BodyError: `response_not_json` for what ought
    to be JSON and is none, `response_not_text` likewise, `response_not_storable` for what jsonb refuses.
    """
    return take_body([data], content_type, masker, reads_as)


def take_body(
    given: list[bytes | bytearray], content_type: str, masker: Masker, reads_as: str, *, masks_json: bool = True
) -> Body:
    """The same of bytes that are taken out of a list, and so can go while JSON is parsed.

    Without `masks_json` the caller masks the texts within JSON.
    """
    data = given[0]
    media_type, is_json = _media_type(content_type)
    if reads_as == "json" or (reads_as == "auto" and is_json):
        is_blank = not data[:1024].strip() and not data.strip()
        del data
        value = None if is_blank else _parse_json(given, content_type, is_declared=is_json)
        return Body(masker.json(value) if masks_json else value)
    if not data and reads_as == "auto":
        return Body("" if media_type.startswith("text/") else None)
    if reads_as == "text" or (reads_as == "auto" and (not media_type or _TEXT_TYPES.match(media_type))):
        text = _decoded(data, _charset_of(content_type) or "utf-8")
        if text is not None and "\0" not in text:
            return Body(masker.text(text))
        if reads_as == "text":
            raise BodyError("response_not_text", "the response is no text in the charset that it declares")
    return Body(base64.b64encode(masker.raw(data)).decode("ascii"), is_binary=True)


@lru_cache(maxsize=64)
def _media_type(content_type: str) -> tuple[str, bool]:
    """The type without its parameters, and whether it declares JSON."""
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type, media_type == "application/json" or media_type.endswith("+json")


def _charset_of(content_type: str) -> str | None:
    found = _CHARSET.search(content_type)
    return found[1] if found else None


def _decoded(data: bytes | bytearray, charset: str) -> str | None:
    """The text of bytes in one of the charsets that servers declare; None when it is no such text."""
    if not _CHARSETS.match(charset):
        return None
    try:
        text = data.decode(charset)
        if charset != "utf-8":
            text.encode()  # decoders of UTF-16 and UTF-32 may leave surrogates
    except (UnicodeError, LookupError):
        return None
    return text


def _parse_json(given: list[bytes | bytearray], content_type: str, *, is_declared: bool) -> Any:
    data = given.pop()
    # JSON is UTF-8, whatever is declared; only what is not is read as what it says that it is.
    text = _decoded(data, "utf-8")
    if text is None or "\0" in text:
        marked = next((charset for mark, charset in _MARKS if data.startswith(mark)), None)
        text = _decoded(data, marked or _charset_of(content_type) or "utf-8")
        if text is None:
            raise _not_storable("it is not UTF-8")
    text = text.removeprefix("\ufeff")
    del data
    try:
        return read_json(text, max_depth=MAX_JSON_DEPTH)
    except JsonError as error:
        if error.code != "json_syntax":
            raise _not_storable(error.message) from None
    what = "declares JSON but is none" if is_declared else "is read as JSON but is none"
    raise BodyError("response_not_json", f"the response {what}")
