"""Four connections on which the calls of a round begin at the same moment."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.support.database import Database, Db, Row
from tests.support.machine.script import SEATS

MOMENT_SECONDS = 0.03
LATE_SECONDS = 0.3
PATIENCE_SECONDS = 30
DEADLOCK_TIMEOUT = "200ms"

Pause = Callable[[], None]


@dataclass(frozen=True)
class Seat:
    """One participant's connections, of which it uses one at a time: a runner's, PostgREST's, and a stranger's."""

    runner: Db
    api: psycopg.Connection[Row]
    stranger: Db


@dataclass(frozen=True)
class Call:
    """One operation, ready to run.

    `hold`: its transaction stays open; `is_first`: the others begin when it holds; `allowed`: refusals without a fault.
    """

    kind: str
    text: str
    act: Callable[[Seat, Pause], Any]
    hold: str = ""
    is_first: bool = False
    allowed: frozenset[str] = frozenset()
    rows: Callable[[Any], None] = lambda _: None
    merge: Callable[[Any], None] = lambda _: None


@dataclass(frozen=True)
class Done:
    """What became of a call, and when, in milliseconds from the beginning of its round."""

    call: Call
    value: Any
    error: psycopg.Error | None
    began: float
    ended: float


class Stage:
    """The four of them, on one database."""

    def __init__(self, seats: list[Seat], pool: ThreadPoolExecutor) -> None:
        self.seats = seats
        self._pool = pool

    def play(self, calls: list[Call]) -> list[Done]:
        """Run calls together; those that hold let go when the others are through, or after a moment."""
        barrier = threading.Barrier(len(calls))
        firsts = [threading.Event() for call in calls if call.is_first]
        is_over = threading.Event()
        began = time.monotonic()

        def pause_of(call: Call) -> Pause:
            mine = waiting.pop() if call.is_first else None

            def pause() -> None:
                if mine:
                    mine.set()
                is_over.wait(PATIENCE_SECONDS)

            return pause

        def milliseconds() -> float:
            return (time.monotonic() - began) * 1000

        def run(seat: Seat, call: Call, pause: Pause) -> Done:
            barrier.wait(PATIENCE_SECONDS)
            for event in () if call.is_first else firsts:
                event.wait(MOMENT_SECONDS)
            start = milliseconds()
            try:
                value = call.act(seat, pause)
            except psycopg.Error as error:
                return Done(call, None, error, start, milliseconds())
            return Done(call, value, None, start, milliseconds())

        waiting = list(firsts)
        futures = [
            self._pool.submit(run, seat, call, pause_of(call)) for seat, call in zip(self.seats, calls, strict=False)
        ]
        others = [future for future, call in zip(futures, calls, strict=True) if not call.hold]
        is_late = any(call.hold == "commit-late" for call in calls)
        wait(others or futures, LATE_SECONDS if is_late else MOMENT_SECONDS)
        is_over.set()
        return [future.result(PATIENCE_SECONDS) for future in futures]


@contextmanager
def stage_on(database: Database, owner: Db) -> Iterator[Stage]:
    """Open the connections. Deadlocks are looked for soon, so that those there are cost little time."""
    with ExitStack() as stack:
        for role in ("flowgres_runner", "flowgres_authenticator"):
            owner.run(f"alter role {role} in database {database.name} set deadlock_timeout to '{DEADLOCK_TIMEOUT}'")
        seats = []
        for _ in range(SEATS):
            runner = stack.enter_context(database.connect("runner"))
            runner.connection.prepare_threshold = 0
            runner.run("set statement_timeout to '20s'")
            api = psycopg.connect(database.dsn("authenticator"), row_factory=dict_row)
            api.execute("set statement_timeout to '20s'")
            api.commit()
            seats.append(Seat(runner, stack.enter_context(api), stack.enter_context(database.connect())))
        with ThreadPoolExecutor(SEATS) as pool:
            yield Stage(seats, pool)


def code_of(error: psycopg.Error) -> str:
    """The stable code of a refusal; of anything else the SQLSTATE, with the constraint that was violated."""
    state = error.sqlstate or type(error).__name__
    if state == "PGRST":
        return str(json.loads(error.diag.message_primary or "{}").get("code"))
    name = error.diag.constraint_name
    # Of a partition only what it is a part of.
    return f"{state} {re.sub('_[0-9]{12}', '', name)}" if name else state


def what_is_said(error: psycopg.Error | None) -> str:
    """All that the server says of an error: of a deadlock also where it was, and who waited for whom."""
    if error is None:
        return ""
    parts = [error.diag.message_primary, error.diag.message_detail, error.diag.context]
    return "; ".join(re.sub(r"\s+", " ", part)[:600] for part in parts if part)
