"""The body of an answer: taken from the wire under the cap and the budget, then read, apart when it is large."""

from __future__ import annotations

import asyncio
from typing import Protocol

from flowgres_runner.http.budget import FREE_BYTES, Room
from flowgres_runner.http.failures import HttpError
from flowgres_runner.http.transport import Answer
from flowgres_runner.json_values import LARGE_BYTES
from flowgres_runner.payloads.bodies import parse_body
from flowgres_runner.payloads.codings import undo_codings
from flowgres_runner.payloads.failures import BodyTooLargeError
from flowgres_runner.payloads.masks import masker
from flowgres_runner.payloads.texts import ReadBody, Reading, read_apart

_STEP_BYTES = 128 << 10
"""Room is asked for in steps: each may be a wait."""
PACE_SECONDS = 5.0
PACE_BYTES_PER_SECOND = 16_384
"""An answer that others wait for is ended when it is slower, looked at after so long."""


class BodyReader(Protocol):
    """Reads large bodies where nobody has to wait for it."""

    async def read(self, given: list[bytes | bytearray], reading: Reading, *, tenant_id: str) -> ReadBody:
        """Read the body of an answer, which is taken out of its list. Raises BodyError."""
        ...


class ThreadReader:
    """Reads in a thread: for a client that stands by itself."""

    async def read(self, given: list[bytes | bytearray], reading: Reading, *, tenant_id: str) -> ReadBody:
        """Read the body of an answer, which is taken out of its list. Raises BodyError."""
        text, is_binary = await asyncio.to_thread(read_apart, given, reading)
        return ReadBody(text, is_binary)


def too_large(limit: int) -> HttpError:
    """The error of an answer beyond the cap."""
    return HttpError("response_too_large", f"the response is larger than {limit} bytes")


async def collect(answer: Answer, *, limit: int, room: Room) -> bytes | bytearray:
    """All bytes of a body, as they are on the wire. Raises HttpError beyond the cap.

    While there is no room nothing is read. Whoever holds room that others wait for has to keep a pace.
    """
    data = bytearray()  # joined from pieces it would be there twice
    announced = answer.headers.get("content-length")
    spent = 0.0
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        chunk = await (_read_at_a_pace(answer, room) if room.held else answer.read())
        spent += loop.time() - began
        if not chunk:
            break
        size = len(data) + len(chunk)
        if size > limit:
            raise too_large(limit)
        if size == len(chunk) <= FREE_BYTES and announced == str(size):
            return chunk  # all of it: most answers come in one piece
        data += chunk
        if size > FREE_BYTES and size > room.held:
            await room.hold(min(size + _STEP_BYTES, limit))
        if spent > PACE_SECONDS and size < spent * PACE_BYTES_PER_SECOND and room.held and room.budget.is_wanted:
            raise _too_slow()
    return data


async def _read_at_a_pace(answer: Answer, room: Room) -> bytes:
    while True:
        try:
            async with asyncio.timeout(PACE_SECONDS):
                return await answer.read()
        except TimeoutError:
            if room.budget.is_wanted:
                raise _too_slow() from None


def _too_slow() -> HttpError:
    return HttpError(
        "http_timeout", "the answer came too slowly while others waited for the room that it takes", "timeout"
    )


async def read_body(given: list[bytes | bytearray], reading: Reading, *, room: Room, reader: BodyReader) -> ReadBody:
    """The value of a body, which is taken out of its list: a small one at once, a large one apart, when it is its turn.

    Raises BodyError.
    """
    if len(given[0]) <= LARGE_BYTES:
        try:
            body = parse_body(
                undo_codings(given[0], reading.codings, limit=min(LARGE_BYTES, reading.limit)),
                reading.content_type,
                masker(reading.secrets),
                reading.reads_as,
            )
            return ReadBody(body.value, body.is_binary)
        except BodyTooLargeError:
            if reading.limit <= LARGE_BYTES:
                raise
    await room.take_bench()
    return await reader.read(given, reading, tenant_id=room.tenant_id)
