"""How the processes of this room talk to their parent: frames on a socket.

A frame is a length of 4 bytes (big endian) and a body. To the parent, which does not trust these processes, a body is
the length of a JSON array, that array, and texts. The first frame is `"ready"`.
"""

from __future__ import annotations

import os
import struct

SOCKET = 0
Frame = bytes | bytearray
READY = b'"ready"'
_LENGTH = struct.Struct(">I")


def receive() -> Frame | None:
    """One frame from the parent, or None when it has gone."""
    head = _read(_LENGTH.size)
    return None if head is None else _read(_LENGTH.unpack(head)[0])


def _read(size: int) -> Frame | None:
    # Into its place: joined from parts it would be there twice.
    data = bytearray(size)
    view = memoryview(data)
    at = 0
    while at < size:
        count = os.readv(SOCKET, [view[at:]])
        if not count:
            return None
        at += count
    return data


def send(body: Frame) -> None:
    """One frame to the parent."""
    head, view = _LENGTH.pack(len(body)), memoryview(body)
    while head or view:
        count = os.writev(SOCKET, [head, view])
        head, view = head[count:], view[max(0, count - len(head)) :]


def send_results(results: list[str], texts: list[str]) -> None:
    """One frame of results (JSON each) and of the texts that they announce; both lists are empty then."""
    array = f"[{','.join(results)}]".encode()
    send(_LENGTH.pack(len(array)) + array + "".join(texts).encode())
    results.clear()
    texts.clear()
