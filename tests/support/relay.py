"""A relay before a real PostgreSQL that changes what the server says of itself at the login."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def announcing(version: str, *, host: str, port: int) -> Iterator[int]:
    """Forward to the server, which calls itself `version` from here on; gives the port to connect to."""
    threads: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    client, _ = listening.accept()
                except OSError:
                    return
                threads.append(threading.Thread(target=_relay, args=(client, host, port, version)))
                threads[-1].start()

        serving = threading.Thread(target=serve)
        serving.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            serving.join()
            for thread in threads:
                thread.join()


def _relay(client: socket.socket, host: str, port: int, version: str) -> None:
    with client, socket.create_connection((host, port)) as server:
        answers = threading.Thread(target=_forward_renamed, args=(server, client, version))
        answers.start()
        with suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        answers.join()


def _forward_renamed(source: socket.socket, target: socket.socket, version: str) -> None:
    """Message by message, as the protocol frames them; ParameterStatus is `S`, then name and value."""
    with source.makefile("rb") as stream, suppress(OSError):
        while kind := stream.read(1):
            if kind == b"N":
                # No TLS: one byte, and no message.
                target.sendall(kind)
                continue
            (length,) = struct.unpack("!I", stream.read(4))
            body = stream.read(length - 4)
            if kind == b"S" and body.startswith(b"server_version\0"):
                body = b"server_version\0" + version.encode() + b"\0"
            target.sendall(kind + struct.pack("!I", len(body) + 4) + body)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
