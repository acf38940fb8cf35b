"""Content codings: undone under a cap, in pieces.

We ask for identity encoding, but a server may compress all the same (659 bytes of double gzip unfold to 300 MB).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence

from flowgres_runner.payloads.failures import BodyError, BodyTooLargeError

MAX_MEMBERS = 1_000
"""Of gzip in one body; what is compressed in blocks has one per 64 KiB. Each costs time, however little it holds."""
_MAX_CODINGS = 2
_PIECE = 65_536
# What else stands there in the wild says nothing of the bytes: identity, utf-8, none, binary, aws-chunked.
_KNOWN = frozenset(
    {"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress", "exi", "pack200-gzip", "dcb", "dcz"}
)
_UNDONE_HERE = frozenset({"gzip", "x-gzip", "deflate"})


def codings_of(content_encoding: str) -> tuple[str, ...]:
    """The codings that a header names, in the order in which they were applied.

    Raises BodyError (`response_malformed`) for more than two, and for one that was not asked for.
    """
    if not content_encoding:
        return ()
    names = tuple(name for name in re.split(r"[\s,]+", content_encoding.lower()) if name in _KNOWN)
    if len(names) > _MAX_CODINGS:
        raise BodyError("response_malformed", f"the response is encoded {len(names)} times")
    for name in names:
        if name not in _UNDONE_HERE:
            raise BodyError("response_malformed", f"the response is encoded as {name[:20]!r}, which was not asked for")
    return names


def undo_codings(data: bytes | bytearray, codings: Sequence[str], *, limit: int) -> bytes:
    """The body without its codings.

    Every byte that comes out is counted as it comes, of each layer and each member: beyond `limit`, BodyTooLargeError.
    Raises BodyError for what is broken or cut off.
    """
    for name in reversed(codings):
        if not data:
            break
        parts: list[bytes] = []
        size = 0
        for part in _unfolded(data, is_gzip=name != "deflate"):
            size += len(part)
            if size > limit:
                raise BodyTooLargeError(f"the decoded response is larger than {limit} bytes")
            parts.append(part)
        data = b"".join(parts)
    return bytes(data)


def _unfolded(data: bytes | bytearray, *, is_gzip: bool) -> Iterator[bytes]:
    """Unfold one layer, in pieces of bounded size."""
    # "deflate" means zlib in the standard and raw deflate in some servers; the first byte tells.
    bits = 16 + zlib.MAX_WBITS if is_gzip else zlib.MAX_WBITS if data[0] & 0x0F == 8 else -zlib.MAX_WBITS
    engine = zlib.decompressobj(bits)
    members = 1
    # What is left over is copied at each member, so only a piece of the whole is ever left over.
    for start in range(0, len(data), _PIECE):
        rest = bytes(data[start : start + _PIECE])
        while rest:
            if engine.eof:
                if not is_gzip or not rest.strip(b"\0"):
                    break  # padding after the end
                members += 1
                if members > MAX_MEMBERS:
                    raise BodyError("response_malformed", f"the response has more than {MAX_MEMBERS} gzip members")
                engine = zlib.decompressobj(bits)
            if piece := _next_piece(engine, rest):
                yield piece
            rest = engine.unused_data if engine.eof else engine.unconsumed_tail
    while not engine.eof and (piece := _next_piece(engine, b"")):
        yield piece
    if not engine.eof:
        raise BodyError("response_malformed", "the compressed response is incomplete", "connect")


def _next_piece(engine: zlib._Decompress, data: bytes) -> bytes:
    try:
        return engine.decompress(data, _PIECE)
    except zlib.error:
        raise BodyError("response_malformed", "the compressed response is broken") from None
