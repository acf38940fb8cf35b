"""Bodies of answers: decoded under a cap, then turned into what a jsonb column can hold.

We ask for identity encoding, but a server may compress all the same (659 bytes of double gzip unfold to 300 MB), so
decoding is incremental and stops at the cap. JSON is checked for everything that PostgreSQL would refuse later, when
the step could only fail without a hint.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from dataclasses import dataclass
from typing import Any, NoReturn

from flowgres_runner.http.failures import HttpError
from flowgres_runner.http.masks import Masker

MAX_JSON_DEPTH = 63  # stored JSON may have 64 levels; the step's output object is one of them
_MAX_ENCODINGS = 2
# What else stands there in the wild says nothing of the bytes: identity, utf-8, none, binary, aws-chunked.
_COMPRESSIONS = frozenset(
    {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "exi", "pack200-gzip", "dcb", "dcz"}
)
_MAX_NUMBER_CHARACTERS = 4_000
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
# An exponent of three digits or a very long number may be infinite as a double.
_SUSPECT_NUMBER = re.compile(rb"[0-9][eE]\+?[0-9]{3}|[0-9]{300}")


def too_large(limit: int, what: str = "the response") -> HttpError:
    """The error of an answer beyond the cap."""
    return HttpError("response_too_large", f"{what} is larger than {limit} bytes")


def _not_storable(why: str) -> HttpError:
    return HttpError("response_not_storable", f"the response cannot be stored: {why}")


@dataclass(frozen=True, slots=True)
class Body:
    """A parsed body. `is_binary`: `value` is base64 because the bytes are no text."""

    value: Any
    is_binary: bool = False


class Collector:
    """Gathers a body chunk by chunk, decoding as it comes; raises `response_too_large` beyond the cap.

    Raw and decoded bytes are both counted, so neither an endless body nor a bomb takes more memory than the cap.
    """

    def __init__(self, content_encoding: str, *, limit: int) -> None:
        self._limit = limit
        self._raw_count = 0
        self._size = 0
        self._chunks: list[bytes] = []
        names = [name for name in re.split(r"[\s,]+", content_encoding.lower()) if name in _COMPRESSIONS]
        if len(names) > _MAX_ENCODINGS:
            raise HttpError("response_malformed", f"the response is encoded {len(names)} times")
        # The last encoding named was applied last.
        self._decoders = [_Decoder(name) for name in reversed(names)]

    def add(self, chunk: bytes) -> None:
        """Take the next chunk as it came from the wire."""
        self._raw_count += len(chunk)
        if self._raw_count > self._limit:
            raise too_large(self._limit)
        if self._decoders:
            self._decode(chunk, 0)
        else:
            self._chunks.append(chunk)

    def finish(self) -> bytes:
        """Give the whole body; raises when a compressed one is cut off."""
        if self._raw_count and any(not decoder.ended for decoder in self._decoders):
            raise HttpError("response_malformed", "the compressed response is incomplete", error_class="connect")
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    def _decode(self, chunk: bytes, layer: int) -> None:
        if layer == len(self._decoders):
            self._size += len(chunk)
            if self._size > self._limit:
                raise too_large(self._limit, "the decoded response")
            self._chunks.append(chunk)
            return
        for part in self._decoders[layer].pieces(chunk):
            self._decode(part, layer + 1)


class _Decoder:
    """One layer of gzip or deflate, unfolded in pieces of bounded size."""

    _PIECE = 65_536

    def __init__(self, name: str) -> None:
        self.ended = False
        self._gzip = name in ("gzip", "x-gzip")
        if not self._gzip and name != "deflate":
            raise HttpError("response_malformed", f"the response is encoded as {name[:20]!r}, which was not asked for")
        self._engine = zlib.decompressobj(16 + zlib.MAX_WBITS) if self._gzip else None
        self._produced = 0

    def pieces(self, data: bytes) -> Any:
        """Unfold as much as this chunk allows."""
        if self._engine is None:
            # "deflate" means zlib in the standard and raw deflate in some servers; the first byte tells.
            self._engine = zlib.decompressobj(zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS)
        while data:
            if self.ended:
                if not self._gzip or not data.strip(b"\0"):
                    return  # padding after the end
                # gzip members may follow each other
                self._engine = zlib.decompressobj(16 + zlib.MAX_WBITS)
                self.ended = False
            try:
                piece = self._engine.decompress(data, self._PIECE)
            except zlib.error:
                raise HttpError("response_malformed", "the compressed response is broken") from None
            if piece:
                yield piece
            self.ended = self._engine.eof
            data = self._engine.unused_data if self.ended else self._engine.unconsumed_tail


def parse_body(data: bytes, content_type: str, masker: Masker) -> Body:
    """Turn a body into a JSON value, by its content type.

    JSON is parsed, text decoded, the rest (and text that jsonb cannot hold) given as base64. Raises HttpError
    `response_not_json` for declared JSON that is none, `response_not_storable` for what jsonb refuses.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == "application/json" or media_type.endswith("+json"):
        return Body(masker.json(_parse_json(data, content_type)) if data.strip() else None)
    if not data:
        return Body("" if media_type.startswith("text/") else None)
    if not media_type or _TEXT_TYPES.match(media_type):
        text = _decoded(data, _charset_of(content_type) or "utf-8")
        if text is not None and "\0" not in text:
            return Body(masker.text(text))
    return Body(base64.b64encode(masker.raw(data)).decode("ascii"), is_binary=True)


def _charset_of(content_type: str) -> str | None:
    found = _CHARSET.search(content_type)
    return found[1] if found else None


def _decoded(data: bytes, charset: str) -> str | None:
    """The text of bytes in one of the charsets that servers declare; None when it is no such text."""
    if not _CHARSETS.match(charset):
        return None
    try:
        text = data.decode(charset)
        text.encode()  # UTF-16 and UTF-32 decoders may leave surrogates
    except (UnicodeError, LookupError):
        return None
    return text


def _parse_json(data: bytes, content_type: str) -> Any:
    # JSON is UTF-8, whatever is declared; only what is not is read as what it says that it is.
    text = _decoded(data, "utf-8")
    if text is None or "\0" in text:
        is_marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = _decoded(data, "utf-16" if is_marked else _charset_of(content_type) or "utf-8")
        if text is None:
            raise _not_storable("it is not UTF-8")
        data = text.encode()
    text = text.removeprefix("\ufeff")
    try:
        value = (_CAREFUL if _SUSPECT_NUMBER.search(data) else _DECODER).decode(text)
    except RecursionError:
        raise _not_storable(f"it is nested deeper than {MAX_JSON_DEPTH} levels") from None
    except ValueError:
        raise HttpError("response_not_json", "the response declares JSON but is none") from None
    # Openers in strings count too: this only spares the walk where no depth is possible.
    if data.count(b"{") + data.count(b"[") > MAX_JSON_DEPTH and _is_deeper(value, MAX_JSON_DEPTH):
        raise _not_storable(f"it is nested deeper than {MAX_JSON_DEPTH} levels")
    if b"\\u" in data:
        _check_escapes(value)
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise _not_storable("an object has the same key twice")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise _not_storable(f"it contains {name}")


def _bounded_int(text: str) -> int:
    if len(text) > _MAX_NUMBER_CHARACTERS:
        raise _not_storable("it contains a number that is too large")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise _not_storable("it contains a number that is too large")
    return value


# Made once: `json.loads` with hooks builds a decoder per call.
_DECODER = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
_CAREFUL = json.JSONDecoder(
    object_pairs_hook=_unique_keys, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_bounded_int
)


def _is_deeper(value: Any, limit: int) -> bool:
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > limit:
            return True
        children = (item for node in level for item in (node.values() if isinstance(node, dict) else node))
        level = [item for item in children if isinstance(item, dict | list)]
    return False


def _check_escapes(value: Any) -> None:
    """Find what only an escape can bring into valid JSON: a null character or half of a surrogate pair."""
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            if "\0" in node:
                raise _not_storable("a text contains the null character")
            try:
                node.encode()
            except UnicodeEncodeError:
                raise _not_storable("a text contains half of a surrogate pair") from None
        elif isinstance(node, dict):
            stack.extend(node)
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
