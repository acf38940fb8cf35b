"""How the processes of this room talk to their parent: frames on a socket.

A frame is a length of 4 bytes (big endian) and a body. To the parent, which does not trust these processes, a body is
the length of a JSON array, that array, and texts. The first frame is `"ready"`.
"""

from __future__ import annotations

import os
import struct

SOCKET = 0
READY = b'"ready"'
_LENGTH = struct.Struct(">I")


def receive() -> bytes | None:
    """One frame from the parent, or None when it has gone."""
    head = _read(_LENGTH.size)
    return None if head is None else _read(_LENGTH.unpack(head)[0])


def _read(size: int) -> bytes | None:
    parts = []
    while size > 0:
        part = os.read(SOCKET, min(size, 1 << 20))
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def send(body: bytes) -> None:
    """One frame to the parent."""
    view = memoryview(_LENGTH.pack(len(body)) + body)
    while view:
        view = view[os.write(SOCKET, view) :]


def send_results(results: list[str], texts: list[str]) -> None:
    """One frame of results (JSON each) and of the texts that they announce; both lists are empty then."""
    array = f"[{','.join(results)}]".encode()
    send(_LENGTH.pack(len(array)) + array + "".join(texts).encode())
    results.clear()
    texts.clear()
