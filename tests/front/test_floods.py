"""Floods from real sockets against a real front: what another tenant's calls see, and what memory it takes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest

from tests.front.conftest import TenantKeys
from tests.support.database import Database
from tests.support.flood import flooding
from tests.support.front import Front

pytestmark = [pytest.mark.slow, pytest.mark.alone]

VICTIM_PATH = "/secrets/VICTIM"
MOST_TIMES = 5
"""How much longer a call may take during a flood, by the median."""
ALWAYS_FINE_SECONDS = 0.15
MOST_PER_SECOND = 130
"""Answers to strangers: 100, and what was left of those that need not wait when the clients had connected."""
MOST_GROWTH_BYTES = 64 << 20


@pytest.fixture
def flooded(module_database: Database, tmp_path: Path) -> Iterator[Front]:
    """A front of its own: its memory is measured."""
    with Front(module_database.url("front"), log_path=tmp_path / "front.log") as front:
        yield front


@pytest.fixture
def small(module_database: Database, tmp_path: Path) -> Iterator[Front]:
    """A front that may have 512 files open, so that it has room for half as many connections."""
    with Front(module_database.url("front"), log_path=tmp_path / "front.log", open_files=512) as front:
        yield front


def seconds_of_calls(url: str, key: str, *, count: int) -> list[float]:
    """How long a tenant's calls take, one after the other, each on a connection of its own."""
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        answer = httpx.put(
            f"{url}{VICTIM_PATH}", json={"value": "a-secret-value"}, headers={"X-API-Key": key}, timeout=60
        )
        taken.append(time.perf_counter() - began)
        assert answer.status_code in (200, 201), answer.text
    return taken


def memory_bytes(pid: int) -> int:
    """Resident memory of one process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def answers_to_strangers(front: Front) -> int:
    """How many there were so far, by the log."""
    lines = front.process.log_path.read_text().splitlines()
    return sum("request_served" in line and VICTIM_PATH not in line for line in lines)


def check(front: Front, tenant: TenantKeys, kind: str, clients: int, *, key: str = "", calls: int = 10) -> None:
    """Measure quiet calls, then calls during the flood, and compare.

    Times are looked at again when they are bad: the machine may have been busy with something else. What the front
    answers, and its memory, are its own.
    """
    for is_last in (False, False, True):
        quiet = seconds_of_calls(front.url, tenant.admin, count=calls)
        before = memory_bytes(front.process.pid)
        with flooding(front.url, kind, clients, key=key):
            time.sleep(1)  # the clients connect
            answers, began = answers_to_strangers(front), time.monotonic()
            during = seconds_of_calls(front.url, tenant.admin, count=calls)
            grown = memory_bytes(front.process.pid) - before
            rate = (answers_to_strangers(front) - answers) / (time.monotonic() - began)
        told = (
            f"{kind}: median {median(quiet):.3f} s, then {median(during):.3f} s, worst {max(during):.3f} s;"
            f" {rate:.0f} answers in a second, {grown / (1 << 20):.1f} MiB more"
        )
        assert kind == "imports" or rate <= MOST_PER_SECOND, told
        assert grown <= MOST_GROWTH_BYTES, told
        if median(during) <= max(MOST_TIMES * median(quiet), ALWAYS_FINE_SECONDS):
            return
        assert not is_last, told


@pytest.mark.parametrize("kind", ["objects", "small_objects", "chunks", "forged_keys", "health", "slow_bodies"])
def test_a_flood_without_credentials_costs_others_little(flooded: Front, tenant: TenantKeys, kind: str) -> None:
    check(flooded, tenant, kind, 60)


@pytest.mark.parametrize("kind", ["silence", "slow_heads"])
def test_more_connections_than_there_are_slots_push_out_each_other(small: Front, tenant: TenantKeys, kind: str) -> None:
    check(small, tenant, kind, 600)


def test_a_tenant_that_imports_without_end_leaves_the_others_their_part(
    flooded: Front, tenant: TenantKeys, module_database: Database
) -> None:
    with module_database.connect() as db:
        noisy = TenantKeys(db)

    check(flooded, tenant, "imports", 10, key=noisy.member)


@pytest.mark.parametrize(
    "kind", ["objects", "small_objects", "chunks", "forged_keys", "health", "slow_bodies", "slow_heads", "silence"]
)
def test_a_long_flood_of_many_changes_nothing(flooded: Front, tenant: TenantKeys, kind: str) -> None:
    check(flooded, tenant, kind, 800, calls=60)


@pytest.mark.parametrize("kind", ["objects", "forged_keys"])
def test_all_connections_taken_by_strangers_take_little_memory(flooded: Front, tenant: TenantKeys, kind: str) -> None:
    seconds_of_calls(flooded.url, tenant.admin, count=10)
    before = memory_bytes(flooded.process.pid)
    with flooding(flooded.url, kind, 1300):
        time.sleep(12)  # longer than a line of all of them
        grown = memory_bytes(flooded.process.pid) - before
        seconds_of_calls(flooded.url, tenant.admin, count=10)

    assert grown <= MOST_GROWTH_BYTES, f"{kind}: {grown / (1 << 20):.1f} MiB more"
