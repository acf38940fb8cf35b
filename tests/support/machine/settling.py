"""The end of a script: nobody disturbs any more, and everything that has begun comes to its end."""

from __future__ import annotations

import json

import psycopg

from tests.support.database import Clock, Db, Row
from tests.support.machine.calls import COMPLETE
from tests.support.machine.reports import Outcome, reports_of
from tests.support.machine.stage import code_of
from tests.support.machine.world import Runner, World

MOST_ROUNDS = 120
MOST_REPORTS = 2_000


class Settling:
    """One runner that works until nothing moves; the leases of all others are rescued."""

    def __init__(self, world: World, db: Db) -> None:
        self._world = world
        self._db = db
        self._clock = Clock(world.owner)
        self._reports = 0

    def run(self) -> None:
        """Work, sweep, and move the clock to what is due, until there is nothing of any of it."""
        for runner in self._world.runners:
            self._db.call("flowgres.stop_runner", p_runner_id=runner.id)
        heir = self._world.register()
        for _ in range(MOST_ROUNDS):
            self._beat(heir)
            # After the work as well: a claim leaves to the sweep what it must not wait for, and returns no row of it.
            moved = self._sweep() + self._work(heir) + self._sweep()
            if not moved and not self._wait_for_due():
                return
            if self._reports > MOST_REPORTS:
                break
        self._world.find("it does not come to an end", f"{self._reports} reports after the last round")

    def _beat(self, heir: Runner) -> None:
        self._db.call("flowgres.heartbeat", p_runner_id=heir.id, p_running="[]", p_stats="{}")

    def _sweep(self) -> int:
        moved = 0
        for query in (
            "select flowgres.rescue_expired_leases(1000)",
            "select flowgres.expire_executions(1000)",
            "select flowgres.wake_pending(1000)",
            "select flowgres.follow_pending(1000)",
            "select flowgres.cancel_orphan()::integer",
        ):
            try:
                while count := self._db.value(query):
                    moved += count
                    self._reports += 1
                    if self._reports > MOST_REPORTS:
                        break
            except psycopg.Error as error:
                self._world.find(f"settling: {code_of(error)}", f"{query}: {str(error).splitlines()[0]}")
        return moved

    def _work(self, heir: Runner) -> int:
        count = 0
        leases = self._claim(heir)
        while leases and self._reports < MOST_REPORTS:
            count += len(leases)
            results: list[Outcome] = []
            for row in leases:
                results += reports_of(self._world, self._world.lease(row), "done")[0]
            leases = self._send(heir, results) or self._claim(heir)
        return count

    def _claim(self, heir: Runner) -> list[Row]:
        return self._db.all(COMPLETE, heir.id, "[]", 200)

    def _send(self, heir: Runner, results: list[Outcome]) -> list[Row]:
        """Report; what the engine cannot take is a finding, and the rest of the batch goes on without it."""
        self._reports += len(results)
        try:
            answer = self._db.all(COMPLETE, heir.id, json.dumps(results), 0)
        except psycopg.Error as error:
            if len(results) > 1:
                middle = len(results) // 2
                return self._send(heir, results[:middle]) + self._send(heir, results[middle:])
            version = {name: results[0][name] for name in ("s", "o")}
            execution = self._world.labels.get(results[0]["x"], "?")
            self._world.find(f"settling: {code_of(error)}", f"{execution} {version}: {str(error).splitlines()[0]}")
            return []
        for row in answer:
            if row["is_passed_over"]:
                execution = self._world.labels[str(row["execution_id"])]
                self._world.find("settling: passed over although nobody holds it", execution)
        return [row for row in answer if not row["is_passed_over"]]

    def _wait_for_due(self) -> bool:
        tenant_id = self._world.tenant.tenant_id
        due_at = self._world.owner.value(
            "select min(due_at) from flowgres.work_queue where tenant_id = %s and due_at < 'infinity'", tenant_id
        )
        if due_at is None:
            return False
        self._clock.set(max(due_at, self._clock.now()))
        self._clock.advance(seconds=1)
        return True
