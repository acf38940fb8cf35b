"""Free TCP ports below 32768, where Linux hands out no ephemeral ports that could take them between two starts."""

from __future__ import annotations

import random
import socket

from flowgres_cli.stack.errors import StackError

LOWEST_PORT = 20000
HIGHEST_PORT = 32000


def is_free(port: int, *, host: str = "127.0.0.1") -> bool:
    """Tell whether a server could listen at `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def free_port(preferred: int | None = None) -> int:
    """Return `preferred` when it is free, else a free port of the range; another process may still be faster."""
    if preferred is not None and is_free(preferred):
        return preferred
    for port in random.sample(range(LOWEST_PORT, HIGHEST_PORT), 200):  # not a secret: spreads concurrent starts
        if is_free(port):
            return port
    raise StackError(
        "no_free_port", f"No free TCP port was found on 127.0.0.1 between {LOWEST_PORT} and {HIGHEST_PORT}."
    )
