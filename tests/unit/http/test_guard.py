"""Which addresses may be called, and that nothing else is ever dialled."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

import pytest

from flowgres_runner.http import Client, EgressPolicy, Failure, Request, Response, is_public
from flowgres_runner.http.guard import Dial, GuardedResolver, current_dial
from tests.support.peers import Listener, Peer


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.0.1", "0.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.8", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1",
        "240.0.0.1", "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "5f00::1",
        "fc00::1", "fd00:ec2::254", "fe80::1", "fec0::1", "ff02::1", "ff0e::1",
    ],
)  # fmt: skip
def test_address_that_is_not_public_is_refused(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))
    assert not EgressPolicy().allows_address(address, 80)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_address_is_allowed(address: str) -> None:
    assert EgressPolicy().allows_address(address, 80)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "::1", "fd12::1", "::ffff:10.0.0.1"])
def test_private_networks_can_be_opened(address: str) -> None:
    assert EgressPolicy(allow_private_networks=True).allows_address(address, 80)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "100.100.100.200", "fe80::1", "224.0.0.1", "0.0.0.1"]
)
def test_opened_private_networks_leave_metadata_and_link_local_shut(address: str) -> None:
    assert not EgressPolicy(allow_private_networks=True).allows_address(address, 80)


@pytest.mark.parametrize(
    ("entry", "address", "port", "allowed"),
    [
        ("10.0.0.5", "10.0.0.5", 80, True),
        ("10.0.0.5", "10.0.0.6", 80, False),
        ("10.0.0.5:8080", "10.0.0.5", 8080, True),
        ("10.0.0.5:8080", "10.0.0.5", 80, False),
        ("10.0.0.0/24", "10.0.0.77", 80, True),
        ("10.0.0.0/24:443", "10.0.0.77", 80, False),
        ("[::1]:8080", "::1", 8080, True),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
    ],
)
def test_allowed_hosts_may_be_addresses_and_networks(entry: str, address: str, port: int, allowed: bool) -> None:
    assert EgressPolicy(allowed_hosts=[entry]).allows_address(address, port) is allowed


@pytest.mark.parametrize("entry", ["host:abc", "host:0", "host:70000", "", "[::1", "a b"])
def test_wrong_entry_of_allowed_hosts_is_a_clear_error(entry: str) -> None:
    with pytest.raises(ValueError, match="HTTP_ALLOWED_HOSTS"):
        EgressPolicy(allowed_hosts=[entry])


async def test_listed_name_may_be_private_under_its_port_only(peer: Peer) -> None:
    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        return [("127.0.0.1", peer.port)]

    async with Client(policy=EgressPolicy(allowed_hosts=["stock.test:8080"]), resolve=resolve) as client:
        good = await client.request(Request("GET", "http://stock.test:8080/"), timeout_seconds=5)
        bad = await client.request(Request("GET", "http://stock.test:8081/"), timeout_seconds=5)
    assert isinstance(good, Response)
    assert isinstance(bad, Failure)
    assert bad.code == "ssrf_blocked"
    assert len(peer.requests) == 1


@pytest.mark.parametrize(
    "name", ["localhost", "a.localhost", "LOCALHOST.", "metadata.google.internal", "printer.local"]
)
async def test_local_name_is_refused_without_a_lookup(name: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        raise AssertionError(f"looked up {host}")

    async with Client(resolve=resolve) as client:
        result = await client.request(Request("GET", f"http://{name}/"), timeout_seconds=5)
    assert isinstance(result, Failure)
    assert (result.code, result.error_class) == ("ssrf_blocked", "validation")
    assert "--allow-private-networks" in str((result.details or {})["hint"])


@pytest.mark.parametrize(
    ("url", "has_hint"),
    [("http://127.0.0.1:9/", True), ("http://[::1]:9/", True), ("http://10.0.0.1/", True),
     ("http://2130706433/", False), ("http://127.1/", False), ("ftp://127.0.0.1/", False)],
)  # fmt: skip
async def test_refusal_says_how_to_allow_what_can_be_allowed(url: str, has_hint: bool) -> None:
    async with Client() as client:
        result = await client.request(Request("GET", url), timeout_seconds=5)
    assert isinstance(result, Failure)
    assert result.code == "ssrf_blocked"
    assert ("HTTP_ALLOWED_HOSTS" in str((result.details or {}).get("hint"))) == has_hint


async def test_name_with_many_addresses_is_refused_when_one_is_private() -> None:
    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        return [("127.0.0.3", port), ("127.0.0.1", port)]

    async with (
        Listener() as canary,
        Client(policy=EgressPolicy(allowed_hosts=["127.0.0.3"]), resolve=resolve) as client,
    ):
        result = await client.request(Request("GET", f"http://mixed.test:{canary.port}/"), timeout_seconds=5)
    assert isinstance(result, Failure)
    assert result.code == "ssrf_blocked"
    assert canary.connections == 0


async def test_name_is_looked_up_again_for_each_connection(peer: Peer) -> None:
    """A name that answers with a public address first and loopback later gains nothing."""
    answers = [[("127.0.0.1", peer.port)], [("127.0.0.9", peer.port)]]

    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        return answers.pop(0)

    policy = EgressPolicy(allowed_hosts=["127.0.0.1"])
    async with Client(policy=policy, resolve=resolve) as client:
        close = Request("GET", "http://rebind.test/close")  # the peer closes: no connection to use again
        first = await client.request(close, timeout_seconds=5)
        second = await client.request(close, timeout_seconds=5)
    assert isinstance(first, Failure)
    assert isinstance(second, Failure)
    assert (first.code, second.code) == ("http_connect", "ssrf_blocked")


async def test_socket_factory_refuses_what_the_resolver_let_through() -> None:
    """The second line of defence alone: an address that no lookup has seen."""
    async with Listener() as canary, Client() as client:
        result = await client.request(Request("GET", f"http://127.0.0.1:{canary.port}/"), timeout_seconds=5)
        assert isinstance(result, Failure)
        assert result.code == "ssrf_blocked"
        assert canary.connections == 0


async def test_concurrent_lookups_of_a_name_share_one() -> None:
    calls = 0
    released = asyncio.Event()

    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        nonlocal calls
        calls += 1
        await released.wait()
        return [("1.1.1.1", port)]

    resolver = GuardedResolver(resolve)
    current_dial.set(Dial(EgressPolicy(), by_name=False))
    lookups = [asyncio.ensure_future(resolver.resolve("a.test", 80)) for _ in range(5)]
    await asyncio.sleep(0)
    lookups[0].cancel()  # the one that began it leaves: the others still get their answer
    released.set()
    found = await asyncio.gather(*lookups[1:])
    assert calls == 1
    assert {entry["host"] for entries in found for entry in entries} == {"1.1.1.1"}


async def test_system_resolver_answers_and_is_checked() -> None:
    resolver = GuardedResolver()
    current_dial.set(Dial(EgressPolicy(allow_private_networks=True), by_name=False))
    found = await resolver.resolve("localhost", 80)
    current_dial.set(Dial(EgressPolicy(), by_name=False))
    with pytest.raises(PermissionError):
        await resolver.resolve("localhost", 80)
    await resolver.close()
    assert {entry["host"] for entry in found} <= {"127.0.0.1", "::1"}


async def test_unknown_name_is_a_connect_error() -> None:
    async def resolve(host: str, port: int) -> Sequence[tuple[str, int]]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    async with Client(resolve=resolve) as client:
        result = await client.request(Request("GET", "http://nowhere.test/"), timeout_seconds=5)
    assert isinstance(result, Failure)
    assert (result.code, result.error_class) == ("http_connect", "connect")


async def test_proxies_of_the_environment_are_ignored(
    peer: Peer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Listener() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        result = await client.request(Request("GET", peer.url), timeout_seconds=5)
        assert isinstance(result, Response)
        assert proxy.connections == 0
