"""Claims while somebody holds an old snapshot: as cheap as before, and nothing is passed over."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.engine import Hands, completed, dag, failed, hands, import_workflow, outwait_lease, start
from tests.support.floors import (
    CLAIM,
    buffers_of_claim,
    buffers_of_look,
    floors_of,
    force_floors,
    held_snapshot,
    look_fully,
    settle,
    start_many,
    take,
    take_all,
)
from tests.support.runner import wait_for

SCHEMA = Path(__file__).parents[2] / "database" / "schema"


@pytest.fixture
def single(db: Db, tenant: Tenant) -> str:
    """A workflow of one step."""
    return import_workflow(db, tenant, dag("single", [{"id": "only"}]))


def _in_a_year(clock: Clock) -> str:
    return str(clock.now().replace(year=clock.now().year + 1).isoformat())


def _row(lease: dict[str, Any]) -> list[Any]:
    return [str(lease["tenant_id"]), str(lease["execution_id"]), lease["queue_id"], lease["token"]]


def test_claims_under_a_held_snapshot_read_no_more_than_before(
    database: Database, tenant: Tenant, single: str, clock: Clock
) -> None:
    with hands(database) as runner, hands(database) as idle, held_snapshot(database):
        for _ in range(4):
            start_many(database, tenant, single, 5000)
            assert take_all(runner) == 5000
        take(runner, 10)
        settle(clock, runner)
        assert buffers_of_look(runner) < 100
        start_many(database, tenant, single, 100)
        claims = [buffers_of_claim(runner, 10) for _ in range(3)]
        assert {rows for rows, _ in claims} == {10}
        assert min(buffers for _, buffers in claims) < 600
        take_all(runner)
        # And one that has never claimed anything.
        assert take(idle, 1) == []
        settle(clock, idle)
        assert buffers_of_look(idle) < 100


def test_many_tenants_and_priorities_under_a_held_snapshot_are_as_cheap(
    database: Database, db: Db, clock: Clock
) -> None:
    tenants = [database.make_tenant(f"T{place}") for place in range(6)]
    for each in tenants:
        for priority in (0, 5, 9):
            import_workflow(db, each, dag(f"p{priority}", [{"id": "only"}], settings={"priority": priority}))
    with hands(database) as runner, held_snapshot(database):
        for _ in range(3):
            for each in tenants:
                for priority in (0, 5, 9):
                    start_many(database, each, f"p{priority}", 200)
            assert take_all(runner) == 6 * 3 * 200
        runner.db.run("select set_config('flowgres.floors_learned_until', '', false)")
        take(runner, 1)
        settle(clock, runner)
        assert buffers_of_look(runner) < 600
        for each in tenants:
            start_many(database, each, "p5", 2)
        assert buffers_of_claim(runner, 12)[0] == 12


def test_what_was_due_under_a_held_snapshot_is_not_walked_through(
    database: Database, tenant: Tenant, single: str, clock: Clock
) -> None:
    with hands(database) as runner, held_snapshot(database):
        later = _in_a_year(clock)
        with database.as_role("member", tenant_id=tenant.tenant_id) as api:
            for _ in range(1500):
                api.call("flowgres_api.start_execution", workflow=single, scheduled_at=later)
        assert take(runner, 1) == []
        clock.advance(seconds=366 * 86400)
        assert take_all(runner) == 1500
        clock.advance(seconds=60)
        runner.db.run("select set_config('flowgres.floors_learned_until', '', false)")
        assert take(runner, 1) == []
        settle(clock, runner)
        assert buffers_of_look(runner) < 100


def test_floors_are_forgotten_once_the_snapshot_is_gone(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner:
        with held_snapshot(database):
            start_many(database, tenant, single, 2000)
            take_all(runner)
            take(runner, 1)
            assert floors_of(runner) != ""
        db.run("vacuum flowgres.work_queue")
        look_fully(db, runner, at="-infinity")
        assert take(runner, 1) == []
        assert floors_of(runner) == ""


def test_sessions_read_from_the_beginning_where_no_snapshot_is_held(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    start_many(database, tenant, single, 3000)
    with hands(database) as runner:
        take_all(runner)

        def reads_from_the_beginning() -> bool:
            take(runner, 1)
            if floors_of(runner) == "":
                return True
            look_fully(db, runner, at="-infinity")
            return False

        # An automatic analyze has a snapshot, too, for as long as it takes.
        wait_for(reads_from_the_beginning, timeout_seconds=60)


@pytest.mark.parametrize("seconds", [0, 1], ids=["soon after", "long after"])
def test_start_that_commits_late_is_claimed_at_once(
    database: Database, db: Db, tenant: Tenant, single: str, clock: Clock, seconds: int
) -> None:
    with hands(database) as runner:
        force_floors(db, runner)
        with database.as_role("member", tenant_id=tenant.tenant_id) as late:
            early = late.call("flowgres_api.start_execution", workflow=single)["execution_id"]
            for _ in range(5):
                start(database, tenant, single)
                assert len(take(runner, 10)) == 1
                clock.advance(seconds=seconds)
        (lease,) = take(runner, 10)
        assert str(lease["execution_id"]) == early


def test_what_a_claim_gives_up_again_is_claimed_at_once(
    database: Database, db: Db, tenant: Tenant, single: str
) -> None:
    with hands(database) as runner, hands(database) as broken:
        force_floors(db, runner)
        old = start(database, tenant, single)
        # A look that notes its rank, and takes nothing.
        assert take(runner, 0) == []
        with psycopg.connect(database.dsn("runner"), row_factory=dict_row) as connection:
            assert len(connection.execute(CLAIM, [broken.id, 10]).fetchall()) == 1
            for _ in range(5):
                start(database, tenant, single)
                assert len(take(runner, 10)) == 1
            connection.rollback()
        (lease,) = take(runner, 10)
        assert str(lease["execution_id"]) == old


def test_full_look_finds_what_was_written_by_hand(
    database: Database, db: Db, tenant: Tenant, single: str, clock: Clock
) -> None:
    start(database, tenant, single)
    with hands(database) as runner:
        force_floors(db, runner)
        assert len(take(runner, 10)) == 1
        for _ in range(3):
            start(database, tenant, single)
            assert len(take(runner, 10)) == 1
        settle(clock, runner)
        db.run("update flowgres.work_queue set runner_id = null where id = (select min(id) from flowgres.work_queue)")
        assert take(runner, 10) == []
        look_fully(db, runner, at="-infinity")
        taken = take(runner, 10) + take(runner, 10)
        assert len(taken) == 1


def test_whoever_writes_elsewhere_for_long_keeps_no_floor_down(
    database: Database, db: Db, tenant: Tenant, single: str, clock: Clock
) -> None:
    with hands(database) as runner, psycopg.connect(database.dsn()) as writer:
        writer.execute("select pg_current_xact_id()")
        for _ in range(3):
            start_many(database, tenant, single, 1000)
            assert take_all(runner) == 1000
            take(runner, 1)
            settle(clock, runner)
            assert buffers_of_look(runner) < 100


class World:
    """One runner that reads from floors on, and the ways in which a row becomes ready again."""

    def __init__(self, database: Database, db: Db, tenant: Tenant, clock: Clock, runner: Hands) -> None:
        self.database, self.db, self.tenant, self.clock, self.runner = database, db, tenant, clock, runner

    def begin(self, steps: list[dict[str, Any]], name: str = "ways") -> dict[str, Any]:
        """Start an execution; its first step, leased."""
        start(self.database, self.tenant, import_workflow(self.db, self.tenant, dag(name, steps)))
        (lease,) = take(self.runner, 10)
        return lease

    def report(self, lease: dict[str, Any], outcome: dict[str, Any], *, room: int | None = None) -> list[Any]:
        return self.runner.report_once([self.runner.result(lease, outcome)], room=room)

    def released(self) -> None:
        lease = self.begin([{"id": "a"}])
        self.runner.db.call("flowgres.release", p_runner_id=self.runner.id, p_rows=[_row(lease)])

    def tried_again(self) -> None:
        lease = self.begin([{"id": "a", "retry": {"attempts": 3, "delay": 10, "jitter": False}}])
        self.report(lease, failed("timeout"))
        self.clock.advance(seconds=20)

    def slept(self) -> None:
        lease = self.begin([{"id": "a", "type": "delay", "config": {"seconds": 60}}])
        self.report(lease, {"o": "suspended", "seconds": 60})
        self.clock.advance(seconds=61)

    def woken_by_a_child(self) -> None:
        import_workflow(self.db, self.tenant, dag("child", [{"id": "only"}]))
        lease = self.begin([{"id": "a", "type": "sub_workflow", "config": {"workflow": "child"}}])
        self.report(lease, {"o": "child", "workflow": "child", "input": {}})
        (child,) = take(self.runner, 10)
        self.report(child, completed())

    def timed_out_for_a_child(self) -> None:
        import_workflow(self.db, self.tenant, dag("child", [{"id": "only"}]))
        call = {"id": "a", "type": "sub_workflow", "config": {"workflow": "child"}, "timeout": "30s"}
        lease = self.begin([call])
        self.report(lease, {"o": "child", "workflow": "child", "input": {}, "seconds": 30})
        (_,) = take(self.runner, 10)
        self.clock.advance(seconds=40)

    def lost_with_its_runner(self) -> None:
        start(self.database, self.tenant, import_workflow(self.db, self.tenant, dag("ways", [{"id": "a"}])))
        with self.database.connect("runner") as other:
            dead = Hands(other)
            assert len(take(dead, 10)) == 1
        outwait_lease(self.db, self.clock, self.runner)
        assert self.runner.sweep() == 1

    def moved_without_being_handed_over(self) -> None:
        step = {"id": "b", "type": "delay", "config": {"seconds": 60}, "depends_on": ["a"]}
        lease = self.begin([{"id": "a"}, step])
        assert self.report(lease, completed(), room=0) == []

    def scheduled(self) -> None:
        name = import_workflow(self.db, self.tenant, dag("ways", [{"id": "a"}]))
        start(self.database, self.tenant, name, scheduled_at=_in_a_year(self.clock))
        self.clock.advance(seconds=366 * 86400)


WAYS: list[Callable[[World], None]] = [
    World.released,
    World.tried_again,
    World.slept,
    World.woken_by_a_child,
    World.timed_out_for_a_child,
    World.lost_with_its_runner,
    World.moved_without_being_handed_over,
    World.scheduled,
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_whatever_becomes_ready_again_stands_at_the_end_of_its_line(
    way: Callable[[World], None], database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    with hands(database) as runner:
        force_floors(db, runner)
        way(World(database, db, tenant, clock, runner))
        # No row had a later number, and what gets one with the claim gets a later one.
        highest = db.value("select max(greatest(id, rank)) from flowgres.work_queue")
        ready = db.all("select id, rank from flowgres.work_queue as q where flowgres.is_ready(q)")
        for row in ready:
            assert row["rank"] == highest > row["id"]
        (lease,) = take(runner, 10)
        if not ready:
            rank = db.value("select rank from flowgres.work_queue where id = %s", lease["queue_id"])
            assert rank > highest


def test_every_statement_that_frees_a_row_gives_it_a_rank() -> None:
    update = re.compile(r"update flowgres\.work_queue as q\s+set(.*?)(?:\bwhere\b|\bfrom\b)", re.DOTALL)
    updates = [found for file in sorted(SCHEMA.rglob("*.sql")) for found in update.findall(file.read_text())]
    # A time that is given is the end of a worker's lease, or of a pause: with that a row is parked, and has a rank when
    # it is freed.
    freeing = re.compile(
        r"runner_id = (?!p_runner_id)|due_at = (?!v_|x\.due_at)|held = (?!true)|capability =|priority =|tenant_id ="
    )
    frees = [found for found in updates if freeing.search(found)]
    assert len(frees) >= 5
    assert [found for found in frees if "rank =" not in found] == []


def test_claims_from_floors_on_are_those_from_the_beginning(
    database: Database, db: Db, tenant: Tenant, clock: Clock
) -> None:
    dice = random.Random(7)
    tenants = [tenant, database.make_tenant("Other"), database.make_tenant("Third")]
    # Nothing becomes due from one claim to the other by itself.
    retry = {"attempts": 9, "delay": "1h", "factor": 1, "jitter": False}
    steps: list[dict[str, Any]] = [
        {"id": "a", "retry": retry},
        {"id": "b", "depends_on": ["a"]},
        {"id": "c", "depends_on": ["a"]},
    ]
    names = [import_workflow(db, each, dag("fan", steps)) for each in tenants]
    held: list[tuple[Hands, dict[str, Any]]] = []
    with (
        hands(database) as first,
        hands(database) as second,
        psycopg.connect(database.dsn("runner"), row_factory=dict_row) as judge,
    ):
        for runner in (first, second):
            force_floors(db, runner)
        for _ in range(150):
            runner = dice.choice([first, second])
            match dice.choice(["start", "start", "claim", "claim", "claim", "release", "complete", "fail", "wait"]):
                case "start":
                    place = dice.randrange(3)
                    for _ in range(dice.randrange(1, 4)):
                        start(database, tenants[place], names[place], priority=dice.randrange(2, 8))
                case "claim":
                    want, after = dice.randrange(1, 9), dice.choice(tenants).tenant_id
                    query = "select * from flowgres.claim(%s, %s, %s)"
                    expected = judge.execute(query, [runner.id, want, after]).fetchall()
                    judge.rollback()
                    found = runner.db.all(query, runner.id, want, after)
                    assert sorted(row["queue_id"] for row in found) == sorted(row["queue_id"] for row in expected)
                    held += [(runner, row) for row in found]
                case "wait":
                    clock.advance(seconds=dice.randrange(3600))
                case act if held:
                    owner, lease = held.pop(dice.randrange(len(held)))
                    if act == "release":
                        owner.db.call("flowgres.release", p_runner_id=owner.id, p_rows=[_row(lease)])
                    else:
                        outcome = completed() if act == "complete" else failed("timeout")
                        held += [(owner, row) for row in owner.report([owner.result(lease, outcome)])]
        for owner, lease in held:
            owner.db.call("flowgres.release", p_runner_id=owner.id, p_rows=[_row(lease)])
        clock.advance(seconds=3601)
        first.work()
        assert db.value("select count(*) from flowgres.work_queue as q where flowgres.is_ready(q)") == 0
