"""Answers that are the same for everybody: compressed once, told apart by their content, and sent in pieces."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

_PIECE_BYTES = 16 << 10
"""The next piece waits until the one before has left: whoever reads slowly holds this much, not the whole."""
_FRESH_SECONDS = 60
_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text for everybody. `compressed` is gzip, `headers` go with every answer."""

    compressed: bytes = field(repr=False)
    media_type: str
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Prepared:
        """Prepare a text."""
        return cls.of_compressed(gzip.compress(content, mtime=0), media_type, headers)

    @classmethod
    def of_compressed(cls, compressed: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Prepared:
        """Prepare what is gzip already."""
        digest = hashlib.sha256(compressed).hexdigest()[:32]
        return cls(compressed, media_type, f'W/"{digest}"', headers or {})

    def answer(self, request: Request) -> Response:
        """200, or 304 for a client that has it."""
        headers = {
            **self.headers,
            "ETag": self.etag,
            "Cache-Control": f"public, max-age={_FRESH_SECONDS}",
            "Vary": "Accept-Encoding",
        }
        if self.etag in {tag.strip() for tag in request.headers.get("if-none-match", "").split(",")}:
            return Response(status_code=304, headers=headers)
        is_packed = _takes_gzip(request)
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(self.compressed) if is_packed else self._unpacked_bytes)
        if request.method == "HEAD":
            return Response(headers=headers, media_type=self.media_type)
        pieces = _pieces(self.compressed) if is_packed else _unpacked(self.compressed)
        return StreamingResponse(pieces, headers=headers, media_type=self.media_type)

    @property
    def _unpacked_bytes(self) -> int:
        """As the last four bytes of a gzip file say."""
        return int.from_bytes(self.compressed[-4:], "little")


def _takes_gzip(request: Request) -> bool:
    for offer in request.headers.get("accept-encoding", "").split(","):
        coding, _, weight = offer.replace(" ", "").lower().partition(";")
        if coding in ("gzip", "*"):
            return weight not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


# Generators of the loop's own: others would take a thread for each piece.
async def _pieces(content: bytes) -> AsyncIterator[bytes]:
    view = memoryview(content)
    for start in range(0, len(view), _PIECE_BYTES):
        yield bytes(view[start : start + _PIECE_BYTES])


async def _unpacked(compressed: bytes) -> AsyncIterator[bytes]:
    """Unpacked as it leaves: strangers who read slowly hold a piece each, and not a megabyte."""
    unpacking = zlib.decompressobj(_GZIP)
    async for piece in _pieces(compressed):
        while piece:
            yield unpacking.decompress(piece, _PIECE_BYTES)
            piece = unpacking.unconsumed_tail
    yield unpacking.flush()
