"""Which addresses a workflow may call, checked where the connection is made.

String filters over URLs fail open (2130706433, 127.1, full-width dots all reach loopback). So the decision falls on
addresses: the resolver refuses a name when any of its addresses is refused, and the socket factory sees every address
that is about to be dialled, which covers literals, rebinding names and whatever a later aiohttp does in between.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Protocol

from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Refused although `is_global` says true in some or all versions of Python: translation and tunnel prefixes that lead
# back to IPv4, retired or special blocks.
_REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.0.0.0/24", "192.88.99.0/24", "240.0.0.0/4",
        "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2002::/16", "3fff::/20", "5f00::/16",
        "fec0::/10",
    )
)  # fmt: skip
# What HTTP_ALLOW_PRIVATE_NETWORKS opens. Link-local stays shut: cloud metadata lives there.
_PRIVATE: tuple[Network, ...] = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "::1/128", "fc00::/7")
)
_METADATA = frozenset(map(ipaddress.ip_address, ("fd00:ec2::254", "100.100.100.200")))
# Names that cannot mean a public host, refused even where no DNS server answers.
_LOCAL_NAMES = ("localhost", "localdomain", "internal", "local", "home.arpa", "lan", "intranet")
_DNS_THREADS = 32


class Resolve(Protocol):
    """Turns a name into (address, port) pairs; raises OSError when it cannot."""

    async def __call__(self, host: str, port: int) -> Sequence[tuple[str, int]]: ...


@dataclass(frozen=True, slots=True)
class EgressPolicy:
    """What may be called: the public internet, plus what the operator lists.

    `allowed_hosts` holds names, addresses or networks (CIDR), each with an optional `:port`; those may be private.
    `allow_private_networks` opens private and loopback networks as a whole, without link-local and metadata addresses.
    Raises ValueError for an entry that is none.
    """

    allow_private_networks: bool = False
    allowed_hosts: Sequence[str] = ()
    _names: frozenset[tuple[str, int | None]] = field(init=False, repr=False)
    _networks: tuple[tuple[Network, int | None], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        names: set[tuple[str, int | None]] = set()
        networks: list[tuple[Network, int | None]] = []
        for entry in self.allowed_hosts:
            host, port = _split_entry(entry)
            try:
                networks.append((ipaddress.ip_network(host, strict=False), port))
            except ValueError:
                names.add((host.rstrip("."), port))
        object.__setattr__(self, "_names", frozenset(names))
        object.__setattr__(self, "_networks", tuple(networks))

    def allows_name(self, host: str, port: int) -> bool:
        """Whether the operator listed this very name, so that its addresses may be private."""
        name = host.rstrip(".")
        return bool(self._names) and ((name, None) in self._names or (name, port) in self._names)

    def refuses_name(self, host: str, port: int) -> bool:
        """Whether this name is refused before any lookup."""
        if self.allow_private_networks or self.allows_name(host, port):
            return False
        name = host.rstrip(".")
        return any(name == local or name.endswith("." + local) for local in _LOCAL_NAMES)

    def allows_address(self, text: str, port: int) -> bool:
        """Whether this address may be dialled. What is no address is refused."""
        try:
            address = _unwrap(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            return False
        if any(listed in (None, port) for net, listed in self._networks if address in net):
            return True
        if self.allow_private_networks and address not in _METADATA and any(address in net for net in _PRIVATE):
            return True
        return is_public(address)


def is_public(address: Address) -> bool:
    """Whether an address belongs to the public internet (GUARANTEES: SSRF)."""
    address = _unwrap(address)
    return address.is_global and not address.is_multicast and not any(address in net for net in _REFUSED)


def _unwrap(address: Address) -> Address:
    """Give the IPv4 address inside ::ffff:a.b.c.d, which is what the kernel would dial."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


_ENTRY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9_.-]+(?:/[0-9]+)?))(?::([0-9]{1,5}))?")
_BARE_IPV6 = re.compile(r"[0-9a-f:.]+(?:/[0-9]+)?")


def _split_entry(entry: str) -> tuple[str, int | None]:
    """Split `host[:port]`, where host may be a name, an address, a network or a bracketed IPv6 address."""
    text = entry.strip().lower()
    found = _ENTRY.fullmatch(text)
    if found is not None and (found[3] is None or 0 < int(found[3]) < 65_536):
        return found[1] or found[2], int(found[3]) if found[3] else None
    if text.count(":") > 1 and _BARE_IPV6.fullmatch(text):
        return text, None
    raise ValueError(f"HTTP_ALLOWED_HOSTS: {entry!r} is not a host[:port] (name, address, network or [IPv6])")


@dataclass(slots=True)
class Dial:
    """What the current request may dial, carried to the resolver and the socket factory by a context variable.

    aiohttp wraps what these raise in layers that differ by version and by number of addresses; `refused` brings the
    refusal back past all of them.
    """

    policy: EgressPolicy
    by_name: bool
    refused: str | None = None

    def check(self, address: str, port: int) -> None:
        """Refuse an address that the policy does not allow."""
        if not self.by_name and not self.policy.allows_address(address, port):
            self.refused = f"{address} is not a public address"
            # An OSError, for aiohappyeyeballs and aiohttp to clean up as after any failed connect.
            raise PermissionError(self.refused)


current_dial: ContextVar[Dial] = ContextVar("current_dial")


def guarded_socket(addr_info: AddrInfoType) -> socket.socket:
    """Make the socket for an address that may be dialled (aiohttp's `socket_factory`)."""
    family, kind, proto, _, address = addr_info
    current_dial.get().check(str(address[0]), int(address[1]))
    return socket.socket(family=family, type=kind, proto=proto)


class GuardedResolver(AbstractResolver):
    """Looks names up and refuses those with any refused address.

    Concurrent lookups of a name share one; nothing is kept afterwards, so every new connection is checked against
    what DNS says then. Lookups have threads of their own: slow names must not stop the event loop's default executor.
    """

    def __init__(self, resolve: Resolve | None = None) -> None:
        self._resolve = resolve or self._look_up
        self._under_way: dict[tuple[str, int], asyncio.Task[Sequence[tuple[str, int]]]] = {}
        self._threads: ThreadPoolExecutor | None = None

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve for aiohttp: every address checked, none when one is refused."""
        found = await self._shared(host, port)
        if not found:
            raise OSError(None, "the name has no address")
        dial = current_dial.get()
        for address, real_port in found:
            dial.check(address, real_port)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=real_port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address, real_port in found
        ]

    async def close(self) -> None:
        """Stop lookups under way; threads stuck in one end when the system's resolver gives up."""
        for task in self._under_way.values():
            task.cancel()
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)

    async def _shared(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        key = (host, port)
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.ensure_future(self._resolve(host, port))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._forget(key, done))
        # Shielded: the deadline of one request must not end the lookup that others wait for.
        return await asyncio.shield(task)

    def _forget(self, key: tuple[str, int], done: asyncio.Task[Sequence[tuple[str, int]]]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # seen, also when every waiter has gone

    async def _look_up(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_DNS_THREADS, thread_name_prefix="dns")
        loop = asyncio.get_running_loop()
        infos = await loop.run_in_executor(
            self._threads, lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
        )
        return _unique((str(info[4][0]), port) for info in infos)


def _unique(pairs: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return list(dict.fromkeys(pairs))
