"""A connection to a guarded address, for what is no HTTP: the same policy, the same check of every address."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from flowgres_runner.http.failures import SsrfBlockedError
from flowgres_runner.http.guard import Dial, EgressPolicy, GuardedResolver, current_dial, guarded_socket

ADDRESS_SECONDS = 5.0
"""For each address but the last, so that one that answers nothing leaves time for the next."""


async def dial(policy: EgressPolicy, resolver: GuardedResolver, host: str, port: int) -> socket.socket:
    """Connect to the first address of a host that answers; the caller closes the socket.

    Raises SsrfBlockedError for what the policy does not allow, before anything is sent there, and OSError.
    """
    if policy.refuses_name(host, port):
        raise SsrfBlockedError(f"{host} is not a public name", is_allowable=True)
    guard = Dial(policy, by_name=policy.allows_name(host, port))
    token = current_dial.set(guard)
    try:
        refused: OSError = OSError(None, "the name has no address")
        addresses = await resolver.resolve(host, port)
        for number, found in enumerate(addresses, start=1):
            address: tuple[str, int] = (found["host"], found["port"])
            made = guarded_socket((found["family"], socket.SOCK_STREAM, found["proto"], "", address))
            try:
                made.setblocking(False)
                async with asyncio.timeout(ADDRESS_SECONDS if number < len(addresses) else None):
                    await asyncio.get_running_loop().sock_connect(made, address)
            except OSError as error:
                made.close()
                refused = error
            except BaseException:
                made.close()
                raise
            else:
                with contextlib.suppress(OSError):
                    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return made
        raise refused
    except OSError:
        if guard.refused is not None:
            raise SsrfBlockedError(guard.refused, is_allowable=True) from None
        raise
    finally:
        current_dial.reset(token)
