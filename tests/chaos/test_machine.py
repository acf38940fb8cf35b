"""Completions beside cancels, retries, releases, rescues and expiry: random scripts on four connections at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.support.chaos import SEED_VARIABLE, chaos_random, tell
from tests.support.database import Database
from tests.support.machine.explorer import Explorer
from tests.support.machine.script import OPERATIONS, Script, loads, scripts
from tests.support.machine.world import make_tenants
from tests.support.scale import IS_LONG
from tests.support.server import Server

pytestmark = pytest.mark.chaos

SCRIPTS = int(os.environ.get("FLOWGRES_CHAOS_SCRIPTS") or (500 if IS_LONG else 15))
AGAIN = os.environ.get("FLOWGRES_CHAOS_SCRIPT")
SCRIPTS_A_DATABASE = 10
MINIMISE_SECONDS = float(os.environ.get("FLOWGRES_CHAOS_MINIMISE") or (60 if IS_LONG else 5))


@pytest.fixture
def explorer(server: Server) -> Iterator[Explorer]:
    with server.new_database() as template:
        tenants = make_tenants(Database(name=template, server=server), min(SCRIPTS, SCRIPTS_A_DATABASE))
        explorer = Explorer(server, template, tenants)
        try:
            yield explorer
        finally:
            explorer.close()


def test_nobody_sees_a_deadlock_and_nothing_is_violated(explorer: Explorer) -> None:
    chosen = chaos_random().randrange(10**9)
    if AGAIN:
        for line in Path(AGAIN).read_text().splitlines() * SCRIPTS:
            explorer.explore(loads(line))
    else:

        @seed(chosen)
        @settings(
            max_examples=SCRIPTS,
            database=None,
            deadline=None,
            # Two plays of a script differ: its failures are cut down by playing it several times, not by hypothesis.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(script=scripts())
        def explore(script: Script) -> None:
            explorer.explore(script)

        explore()
    tell(f"scripts of {OPERATIONS} operations; {SEED_VARIABLE} repeats what was drawn")
    tell(explorer.summary())
    for kind in list(explorer.failures):
        explorer.minimise(kind, seconds=MINIMISE_SECONDS)
    if explorer.failures:
        pytest.fail(explorer.report(), pytrace=False)
