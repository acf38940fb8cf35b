"""Answers for everybody: whole, in whatever coding, and in pieces that a slow reader can hold."""

from __future__ import annotations

import gzip
import random

import pytest
from starlette.requests import Request
from starlette.responses import StreamingResponse

from flowgres_front.documentation.prepared import Prepared

CONTENTS = [b"", b"short", bytes(1_000_000), random.Random(1).randbytes(300_000)]


def request(**headers: str) -> Request:
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": named})


@pytest.mark.parametrize("content", CONTENTS, ids=lambda content: f"{len(content)} bytes")
@pytest.mark.parametrize("coding", ["", "identity", "gzip", "br, GZIP;q=0.5", "*", "gzip;q=0"])
async def test_it_is_whole_and_in_pieces(content: bytes, coding: str) -> None:
    answer = Prepared.of(content, "text/plain").answer(request(accept_encoding=coding))
    assert isinstance(answer, StreamingResponse)
    pieces = [bytes(piece) async for piece in answer.body_iterator if not isinstance(piece, str)]
    sent = b"".join(pieces)
    assert int(answer.headers["Content-Length"]) == len(sent)
    is_packed = answer.headers.get("Content-Encoding") == "gzip"
    assert is_packed == (coding in ("gzip", "br, GZIP;q=0.5", "*"))
    assert (gzip.decompress(sent) if is_packed else sent) == content
    # What zlib holds back at the end may be a little more.
    assert max(map(len, pieces), default=0) <= 32 << 10


def test_the_same_text_has_the_same_tag_and_another_one_another() -> None:
    first, same, other = (Prepared.of(text, "text/plain").etag for text in (b"a", b"a", b"b"))
    assert first == same != other
