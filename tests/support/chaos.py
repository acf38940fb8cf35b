"""What the chaos tests share: a receiver that outlives runners, a crew of them, a load, and the verdict."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from flowgres_cli.stack.process import ManagedProcess
from tests.support.database import Database, Db, Row, Tenant
from tests.support.engine import import_workflow
from tests.support.runner import Runner, wait_for

SEED_VARIABLE = "FLOWGRES_CHAOS_SEED"


def chaos_random() -> random.Random:
    """Chance that can be repeated: the seed is printed, and read from FLOWGRES_CHAOS_SEED."""
    seed = int(os.environ.get(SEED_VARIABLE) or random.SystemRandom().randrange(10**9))
    tell(f"{SEED_VARIABLE}={seed}")
    return random.Random(seed)


def tell(line: str) -> None:
    """Print what was seen; `pytest -rP` shows it."""
    sys.stdout.write(f"{line}\n")


def set_lease(db: Db, *, lease_seconds: float, heartbeat_seconds: float) -> None:
    """Shorten the lease; runners read both settings when they register."""
    for name, value in (("lease_seconds", lease_seconds), ("heartbeat_seconds", heartbeat_seconds)):
        db.run("update flowgres.settings set value = to_jsonb(%s::numeric) where name = %s", value, name)


class Receiver:
    """The HTTP peer as a process of its own, that has each request on disk before it answers."""

    def __init__(self, directory: Path) -> None:
        self._record = directory / "received.jsonl"
        self._address = directory / "receiver.log"
        inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "PYTHONPATH") if name in os.environ}
        self.process = ManagedProcess(
            "receiver",
            [sys.executable, "-m", "tests.support.peers", "--record", str(self._record)],
            log_path=self._address,
            environment=inherited,
            directory=Path(__file__).resolve().parents[2],
        )
        self.url = ""

    def __enter__(self) -> Receiver:
        self.process.start()
        self.process.wait_until(lambda: self._address.read_text().endswith("\n"), timeout_seconds=30)
        self.url = self._address.read_text().splitlines()[0]
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def keys(self) -> Counter[str]:
        """How often each key has arrived."""
        if not self._record.exists():
            return Counter()
        lines = self._record.read_text().splitlines(keepends=True)
        return Counter(json.loads(line)["key"] for line in lines if line.endswith("\n"))


class Crew:
    """Runners by number; each has a name of its own, by which the database's row of it is found."""

    def __init__(self, database: Database, directory: Path) -> None:
        self._database = database
        self._directory = directory
        self._count = 0
        self.members: list[Runner] = []

    def start(self, **environment: str) -> Runner:
        """Start one more, without a front."""
        self._count += 1
        runner = Runner(
            self._database,
            log_path=self._directory / f"runner-{self._count}.log",
            environment={"PGRST_JWT_SECRET": "", "RUNNER_NAME": f"runner-{self._count}", **environment},
        )
        self.members.append(runner)
        return runner.start()

    def kill(self, runner: Runner) -> None:
        """`kill -9` of the runner alone, as the kernel would: its evaluators have to notice by themselves."""
        children = children_of(runner.process.pid)
        os.kill(runner.process.pid, signal.SIGKILL)
        runner.process.wait(timeout_seconds=10)
        wait_for(lambda: not any(is_alive(pid) for pid in children), what="the end of its evaluators")

    def runner_ids(self, db: Db, runner: Runner) -> list[str]:
        """The ids that it has registered under, the latest last."""
        name = runner.process.environment["RUNNER_NAME"]
        return db.column("select id::text from flowgres.runners where name = %s order by started_at", name)

    def stop(self) -> None:
        """Let everybody go."""
        for runner in self.members:
            if runner.process.is_running:
                runner.process.send_signal(signal.SIGCONT)
                runner.process.send_signal(signal.SIGTERM)
        for runner in self.members:
            runner.stop()


@dataclass
class Load:
    """A client that starts executions one by one at a pace, and writes down what was answered.

    Each start has its own idempotency key and is repeated with it until it is answered, as a client should.
    """

    database: Database
    tenant: Tenant
    workflow: str
    count: int
    per_second: float
    input: dict[str, Any]
    accepted: dict[int, str] = field(default_factory=dict)
    repeats: int = 0
    _failure: BaseException | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _enough: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Load:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=30)

    @property
    def is_over(self) -> bool:
        """Whether all have been accepted."""
        if self._failure is not None:
            raise self._failure
        return len(self.accepted) == self.count or not self._thread.is_alive()

    def end(self) -> None:
        """Start no more than what has been sent."""
        self._enough.set()

    def _run(self) -> None:
        began = time.monotonic()
        try:
            for number in range(self.count):
                if self._stop.wait(max(0.0, began + number / self.per_second - time.monotonic())):
                    return
                if self._enough.is_set():
                    return
                self.accepted[number] = self._start(number)
        except BaseException as error:
            self._failure = error

    def _start(self, number: int) -> str:
        while True:
            try:
                with self.database.as_role("member", tenant_id=self.tenant.tenant_id) as db:
                    answer = db.call(
                        "flowgres_api.start_execution",
                        workflow=self.workflow,
                        input={**self.input, "n": number},
                        idempotency_key=f"start-{number}",
                    )
                return str(answer["execution_id"])
            except psycopg.OperationalError:
                self.repeats += 1
                if self._stop.wait(0.05):
                    raise


# --- the workflow: a branch, a join, a fork, a sub-workflow, and four side effects an execution

RETRY = {"attempts": 10, "delay": 0.2, "max_delay": 1}
"""Also how often a step may take its runner with it: chance must not make a test fail."""


def call(step_id: str, *depends_on: str, seconds: str = "0.05") -> dict[str, Any]:
    """An http step that gives back what it was sent."""
    url = f"{{{{ input.url }}}}/delay/{step_id}?seconds={seconds}"
    config = {"method": "POST", "url": url, "json": {"n": "{{ input.n }}", "step": step_id}}
    return {"id": step_id, "type": "http", "depends_on": list(depends_on), "config": config, "retry": RETRY}


def import_order(db: Db, tenant: Tenant, *, seconds: str = "0.05") -> str:
    """Import the workflow `order`, and `ship` that it calls."""
    ship = [
        {"id": "plan", "type": "transform", "config": {"output": {"twice": "{{ input.n * 2 }}"}}, "retry": RETRY},
        call("label", "plan", seconds=seconds),
    ]
    import_workflow(db, tenant, {"name": "ship", "steps": ship, "outputs": {"twice": "{{ steps.plan.output.twice }}"}})
    shipped = {"workflow": "ship", "input": {"n": "{{ input.n }}", "url": "{{ input.url }}"}}
    even = {"expression": "{{ input.n % 2 == 0 }}", "true_branch": ["charge"], "false_branch": ["invoice"]}
    steps = [
        call("reserve", seconds=seconds),
        {"id": "even", "type": "condition", "depends_on": ["reserve"], "config": even, "retry": RETRY},
        call("charge", "even", seconds=seconds),
        call("invoice", "even", seconds=seconds),
        call("pack", "reserve", seconds=seconds),
        # Joins the branch that was taken with the other arm of the fork.
        {
            "id": "ready",
            "type": "transform",
            "depends_on": ["charge", "invoice", "pack"],
            "config": {"output": {"n": "{{ steps.reserve.output.body.n }}"}},
            "retry": RETRY,
        },
        {"id": "ship", "type": "sub_workflow", "depends_on": ["ready"], "config": shipped, "retry": RETRY},
    ]
    outputs = {"n": "{{ steps.ready.output.n }}", "twice": "{{ steps.ship.output.twice }}"}
    return import_workflow(db, tenant, {"name": "order", "steps": steps, "outputs": outputs})


# --- the verdict

UNFINISHED = "select count(*) from flowgres.executions where finished_at is null"


def wait_for_drain(db: Db, *, timeout_seconds: float) -> None:
    """Wait until everything has ended."""
    wait_for(lambda: db.value(UNFINISHED) == 0, timeout_seconds=timeout_seconds, what="the end of all executions")


def assert_nothing_lost(db: Db, accepted: dict[int, str], received: Counter[str]) -> int:
    """Every accepted execution is completed with its own output; each side effect happened, under its key alone.

    Returns how many requests were repeats.
    """
    assert db.all("select * from flowgres.check_invariants(p_is_drained => true)") == []
    ran = (
        "select e.id::text, e.status, e.output, e.error, e.parent_execution_id::text as parent"
        " from flowgres.executions as e"
        " join flowgres.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id where w.name = %s"
    )
    rows = db.all(ran, "order")
    found = {row["id"]: row for row in rows}
    assert set(accepted.values()) == set(found), "an accepted execution is missing, or one that nobody started is there"
    ends = {number: found[execution_id] for number, execution_id in accepted.items()}
    wrong = {
        number: end
        for number, end in ends.items()
        if (end["status"], end["output"]) != ("completed", {"n": number, "twice": 2 * number})
    }
    assert wrong == {}, list(wrong.items())[:5]
    children = [row for row in db.all(ran, "ship") if row["status"] == "completed"]
    assert Counter(child["parent"] for child in children) == Counter(found.keys())

    expected = {f"{child['id']}/label" for child in children}
    for number, execution_id in accepted.items():
        expected |= {f"{execution_id}/{step}" for step in ("reserve", "pack", "invoice" if number % 2 else "charge")}
    assert set(received) == expected
    # A key arrives at most once an attempt: an attempt is never made by two.
    attempts = db.all(
        "select execution_id || '/' || step as key, attempts from flowgres.step_executions where type = 'http'"
        " and status = 'completed'"
    )
    allowed = {row["key"]: row["attempts"] for row in attempts}
    assert {key: count for key, count in received.items() if count > allowed[key]} == {}
    return received.total() - len(received)


class Recoveries:
    """How long the steps that a dead runner held were without progress."""

    def __init__(self) -> None:
        self._killed_at: dict[tuple[Any, ...], Any] = {}

    def note(self, db: Db, runner_ids: Sequence[str]) -> int:
        """Remember what these runners, dead by now, hold; a step that dies twice counts from its last death."""
        rows = db.all(
            "select execution_id, step_index, clock_timestamp() as at from flowgres.work_queue"
            " where runner_id = any(%s::uuid[])",
            "{" + ",".join(runner_ids) + "}",
        )
        self._killed_at |= {(row["execution_id"], row["step_index"]): row["at"] for row in rows}
        return len(rows)

    def seconds(self, db: Db) -> list[float]:
        """For each such step the seconds from the death to its next outcome, shortest first."""
        query = """
          select e.execution_id, w.index as step_index, e.at
          from flowgres.all_events as e
          join flowgres.executions as x on x.tenant_id = e.tenant_id and x.id = e.execution_id
          join flowgres.workflow_steps as w
            on w.tenant_id = x.tenant_id and w.version_id = x.version_id and w.id = e.step
          where e.type in ('step_completed', 'step_waiting', 'step_failed', 'step_skipped', 'step_cancelled')"""
        later: dict[tuple[Any, ...], list[float]] = {}
        for row in db.all(query):
            key = (row["execution_id"], row["step_index"])
            if key in self._killed_at and row["at"] > self._killed_at[key]:
                later.setdefault(key, []).append((row["at"] - self._killed_at[key]).total_seconds())
        return sorted(min(found) for found in later.values())


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of the sorted values does not exceed; 0 of none."""
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


def leases_of(db: Db, runner_ids: Sequence[str]) -> list[Row]:
    """What these runners hold."""
    ids = "{" + ",".join(runner_ids) + "}"
    return db.all("select * from flowgres.work_queue where runner_id = any(%s::uuid[])", ids)


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, as Linux tells."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in ("Z", "X")


@contextmanager
def crew_of(database: Database, directory: Path) -> Iterator[Crew]:
    """A crew, that is stopped at the end whatever happens."""
    crew = Crew(database, directory)
    try:
        yield crew
    finally:
        crew.stop()
