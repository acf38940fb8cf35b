"""Clients whose connections break after any byte, while steps run and the front and its sessions are killed.

Each client has each event once, in its order, and comes to the end. Streams do not need NOTIFY: here it does nothing.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Api
from tests.support.database import Database, Db, Row, Tenant, end_sessions
from tests.support.engine import dag, hands, import_workflow, start
from tests.support.front import Front
from tests.support.random_lists import random_graph, random_outcome
from tests.support.scale import IS_LONG
from tests.support.streams import Received, Wanderer, beginning_of, streaming

TERMINAL = {"execution_completed", "execution_failed", "execution_cancelled"}
LINES = ["plain", "größer", "日本語 の 行", "🐘" * 40, "line\nfeed\r\n\r\nand \u2028 others", "data: no field\n\nid: 7"]
"""Letters of one to four bytes, and what could be taken for the end of a line, or of an event."""
GRAPHS = 12
PATIENCE_SECONDS = 300
COUNTS = [30, *([pytest.param(1000, marks=pytest.mark.slow)] if IS_LONG else [])]


@pytest.fixture
def quiet(database: Database, db: Db, tmp_path: Path) -> Iterator[Front]:
    """A front to which no notification comes."""
    db.run("create or replace function flowgres.tell_ends() returns void language sql begin atomic select; end")
    with Front(database.url("front"), log_path=tmp_path / "front.log") as front:
        yield front


@pytest.fixture
def owner(database: Database) -> Tenant:
    return database.make_tenant()


@pytest.fixture
def viewer(quiet: Front, owner: Tenant) -> Api:
    return Api(quiet.url).as_key(owner.key)


@contextmanager
def troubled(front: Front, database: Database, dice: random.Random) -> Iterator[Counter[str]]:
    """Kill the front, stop it, or end its sessions, again and again; counts how often each happened."""
    happened: Counter[str] = Counter()

    def disturb() -> None:
        with database.connect() as db:
            while not is_over.wait(dice.uniform(0.2, 1.5)):
                what = dice.choice(["killed", "stopped", "sessions ended", "watcher ended"])
                happened[what] += 1
                if what == "sessions ended":
                    end_sessions(db, "flowgres_front")
                elif what == "watcher ended":
                    db.run(
                        "select pg_terminate_backend(pid) from pg_stat_activity"
                        " where application_name = 'flowgres-front watch' and datname = current_database()"
                    )
                else:
                    front.process.kill() if what == "killed" else front.stop()
                    front.start()

    is_over = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        disturbing = pool.submit(disturb)
        try:
            yield happened
        finally:
            is_over.set()
        disturbing.result()


@contextmanager
def playing(database: Database, definitions: dict[str, Row], seed: int) -> Iterator[None]:
    """Two runners whose steps end in random ways, some after a while, and write lines of all letters."""
    is_over = threading.Event()

    def play(dice: random.Random) -> None:
        with hands(database) as runner:
            leases: list[Row] = []
            while not is_over.is_set():
                leases = leases or runner.claim(dice.randint(1, 20))
                time.sleep(dice.choice([0, 0, 0.002, 0.02]))
                dice.shuffle(leases)
                batch = [leases.pop() for _ in range(dice.randint(1, len(leases)))] if leases else []
                results = []
                for lease in batch:
                    step = definitions[str(lease["version_id"])].get(runner.step_name(lease), {})
                    said = random_outcome(dice, lease, step)
                    if said["o"] == "completed":
                        said["logs"] = [{"message": dice.choice(LINES)} for _ in range(dice.choice([0, 0, 1, 5]))]
                    elif said["o"] == "started":
                        leases.append(lease)
                    results.append(runner.result(lease, said))
                leases += runner.report(results)

    with ThreadPoolExecutor(2) as pool:
        players = [pool.submit(play, random.Random(f"{seed}/{number}")) for number in range(2)]
        try:
            yield
        finally:
            is_over.set()
        for player in players:
            player.result()


def told(events: list[Received]) -> list[tuple[int, str, str | None]]:
    return [(event.data["seq"], event.name, event.data["message"]) for event in events]


def follow(api: Api, execution_id: str, seed: int) -> Wanderer:
    """Read an execution until there is nothing more of it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with Wanderer(api, f"/executions/{execution_id}/stream", seed=seed) as client:
        while client.come():
            assert time.monotonic() < deadline, f"{execution_id} does not end for {seed}"
        return client


def check_executions(database: Database, db: Db, owner: Tenant, api: Api, *, count: int, seed: int) -> None:
    """Run so many executions, each with two clients; compare what they have seen with what is stored."""
    dice = random.Random(seed)
    names = [import_workflow(db, owner, random_graph(dice, name=f"lists{number}")) for number in range(GRAPHS)]
    versions = db.all("select id::text, source from flowgres.workflow_versions")
    definitions = {row["id"]: {step["id"]: step for step in row["source"]["steps"]} for row in versions}

    def watch(number: int) -> int:
        execution_id = start(database, owner, names[number % GRAPHS])
        with ThreadPoolExecutor(2) as pool:
            clients = list(pool.map(lambda place: follow(api, execution_id, seed + 2 * number + place), range(2)))
        with database.connect() as mine:
            rows = mine.all("select * from flowgres.all_events where execution_id = %s order by seq", execution_id)
        stored = [(row["seq"], row["type"], row["message"]) for row in rows]
        assert [seq for seq, _, _ in stored] == list(range(1, len(stored) + 1))
        for client in clients:
            assert told(client.events) == stored
            assert [event.id for event in client.events] == [str(seq) for seq, _, _ in stored]
            assert [event.name in TERMINAL for event in client.events].index(True) == len(stored) - 1
            assert {event.data["execution_id"] for event in client.events} == {execution_id}
        return sum(client.connections for client in clients)

    with playing(database, definitions, seed), ThreadPoolExecutor(6) as pool:
        connections = sum(pool.map(watch, range(count)))
    assert connections > 4 * count


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_clients_of_executions_have_each_event_once(
    database: Database, db: Db, owner: Tenant, viewer: Api, seed: int, count: int
) -> None:
    check_executions(database, db, owner, viewer, count=count, seed=seed)


@pytest.mark.parametrize("count", COUNTS)
def test_clients_of_executions_have_each_event_once_while_fronts_are_killed(
    database: Database, db: Db, owner: Tenant, quiet: Front, viewer: Api, count: int
) -> None:
    with troubled(quiet, database, random.Random(3)) as happened:
        check_executions(database, db, owner, viewer, count=count, seed=3)
    assert happened.total() > 2


# --- of a tenant: transactions of several executions commit in no order of their numbers

THREE_STEPS: list[dict[str, Any]] = [{"id": "a"}, {"id": "b", "depends_on": ["a"]}, {"id": "c", "depends_on": ["a"]}]
EVENTS_PER_EXECUTION = 8


def check_tenant(database: Database, db: Db, owner: Tenant, api: Api, *, count: int) -> None:
    """Two runners, starts meanwhile, and four clients: each has each event of the tenant once, in its order."""
    workflow = import_workflow(db, owner, dag("flow", THREE_STEPS))
    wanted = EVENTS_PER_EXECUTION * count
    position = beginning_of(api)

    def work(dice: random.Random) -> None:
        with hands(database) as runner, database.connect() as mine:
            while mine.value("select count(*) from flowgres.executions where finished_at is not null") < count:
                runner.work(one_by_one=dice.random() < 0.5)

    def read(seed: int) -> Wanderer:
        deadline = time.monotonic() + PATIENCE_SECONDS + count / 5
        with Wanderer(api, "/events/stream", last_id=position, seed=seed) as client:
            while len(client.events) < wanted:
                assert time.monotonic() < deadline, f"{len(client.events)} of {wanted} for {seed}"
                client.come(seconds=3, is_enough=lambda: len(client.events) >= wanted)
            # What came twice would come now.
            client.stay(seconds=0.5)
            return client

    with streaming(api, "/events/stream"), ThreadPoolExecutor(6) as pool, ThreadPoolExecutor(2) as starting:
        workers: list[Future[None]] = [pool.submit(work, random.Random(number)) for number in range(2)]
        readers = [pool.submit(read, number) for number in range(4)]
        for started in [starting.submit(start, database, owner, workflow) for _ in range(count)]:
            started.result()
        for worker in workers:
            worker.result()
        clients = [reader.result() for reader in readers]

    rows = db.all("select execution_id::text, seq, type from flowgres.all_events")
    stored = Counter((row["execution_id"], row["seq"], row["type"]) for row in rows)
    assert stored.total() == wanted
    for client in clients:
        assert client.connections > 3
        assert Counter((event.data["execution_id"], event.data["seq"], event.name) for event in client.events) == stored
        numbers: Counter[str] = Counter()
        for event in client.events:
            numbers[event.data["execution_id"]] += 1
            assert event.data["seq"] == numbers[event.data["execution_id"]]


@pytest.mark.parametrize("count", COUNTS)
def test_clients_of_a_tenant_have_each_event_once(
    database: Database, db: Db, owner: Tenant, viewer: Api, count: int
) -> None:
    check_tenant(database, db, owner, viewer, count=2 * count)


def test_clients_of_a_tenant_have_each_event_once_while_fronts_are_killed(
    database: Database, db: Db, owner: Tenant, quiet: Front, viewer: Api
) -> None:
    with troubled(quiet, database, random.Random(6)) as happened:
        check_tenant(database, db, owner, viewer, count=100)
    assert happened.total() > 2
