"""Plays scripts, remembers what must not have been, and cuts a failing script down to what it takes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from tests.support.database import Clock, Database, Db, Tenant
from tests.support.machine.calls import LOCK_TIMEOUTS, bind
from tests.support.machine.script import Op, Script
from tests.support.machine.settling import Settling
from tests.support.machine.stage import Call, Done, Stage, code_of, stage_on, what_is_said
from tests.support.machine.verdict import judge
from tests.support.machine.world import Finding, World
from tests.support.server import Server

TRIES = 4
DEADLOCKS = "deadlocks seen by callers"
FINDINGS = "things that must not be"


@dataclass
class Failure:
    """The shortest script that has led to one kind of finding so far."""

    script: Script
    detail: str
    trace: list[str]


@dataclass
class Explorer:
    """Scripts on copies of one database, each with a tenant of its own; a copy that was left damaged is dropped."""

    server: Server
    template: str
    tenants: list[Tenant]
    counts: Counter[str] = field(
        default_factory=lambda: Counter(dict.fromkeys((DEADLOCKS, LOCK_TIMEOUTS, FINDINGS), 0))
    )
    failures: dict[str, Failure] = field(default_factory=dict)
    _stack: ExitStack = field(default_factory=ExitStack)
    _played: int = 0
    _place: tuple[Db, Stage] | None = None

    def explore(self, script: Script) -> None:
        """Play a script and remember what it has shown."""
        findings, trace = self.play(script)
        self._remember(script, findings, trace)
        self.counts["scripts"] += 1
        self.counts["operations"] += script.size
        self.counts[FINDINGS] += len(findings)
        for kind in dict.fromkeys(finding.kind for finding in findings):
            self.counts[f"scripts with {kind}"] += 1

    def play(self, script: Script) -> tuple[list[Finding], list[str]]:
        """Play a script; returns what must not have been, and what happened."""
        tenant, owner, stage = self._open()
        world = World(tenant, owner, stage.seats[0].runner)
        trace: list[str] = []
        self._begin(world, stage, script, trace)
        for number, entry in enumerate(script.rounds, 1):
            if entry.clock:
                Clock(owner).advance(seconds=entry.clock)
            world.look()
            world.focus(entry.focus)
            calls = [bind(world, op, self.counts) for op in entry.ops]
            done = stage.play(calls)
            world.look()
            trace.append(f"round {number}{f', clock +{entry.clock} s' if entry.clock else ''}")
            trace += self._take(world, done)
        Settling(world, stage.seats[0].runner).run()
        judge(world)
        if owner.value("select exists (select from flowgres.work_queue)"):
            # Nobody will ever end that, and the runners of the next script would get it.
            self.close()
        return world.findings, trace

    def minimise(self, kind: str, *, seconds: float) -> None:
        """Leave out rounds, then operations, as long as one of a few tries still shows the same kind of finding."""
        until = time.monotonic() + seconds
        is_smaller = True
        while is_smaller:
            is_smaller = False
            for candidate in _smaller(self.failures[kind].script):
                for _ in range(TRIES):
                    if time.monotonic() > until:
                        return
                    findings, trace = self.play(candidate)
                    self._remember(candidate, findings, trace)
                    is_smaller = self.failures[kind].script is candidate
                    if is_smaller:
                        break
                if is_smaller:
                    break

    def summary(self) -> str:
        """How many of what."""
        return "\n".join(f"{count:8} {what}" for what, count in sorted(self.counts.items()))

    def report(self) -> str:
        """Every kind of finding with the shortest script that showed it."""
        lines = []
        for kind, failure in sorted(self.failures.items()):
            lines += ["", f"{kind}: {failure.detail}", *(f"  {line}" for line in failure.trace)]
            lines.append(f"  again: {failure.script.dumps()}")
        return "\n".join(lines)

    def close(self) -> None:
        """Leave the database."""
        self._stack.close()
        self._place = None
        self._played = 0

    def _remember(self, script: Script, findings: list[Finding], trace: list[str]) -> None:
        for finding in reversed(findings):
            known = self.failures.get(finding.kind)
            if known is None or script.weight <= known.script.weight:
                self.failures[finding.kind] = Failure(script, finding.detail, trace)

    def _open(self) -> tuple[Tenant, Db, Stage]:
        if self._played == len(self.tenants):
            self.close()
        if self._place is None:
            name = self._stack.enter_context(self.server.new_database(template=self.template))
            database = Database(name=name, server=self.server)
            owner = self._stack.enter_context(database.connect())
            self._place = (owner, self._stack.enter_context(stage_on(database, owner)))
        self._played += 1
        return self.tenants[self._played - 1], *self._place

    def _begin(self, world: World, stage: Stage, script: Script, trace: list[str]) -> None:
        """Start the first executions, and let both runners take what is ready: one after the other, nobody beside."""
        opening = [Op("start", number) for number in script.begin]
        opening += [Op("claim", number, want=8) for number in range(2)]
        down = Op("work", 0, tuple(range(8)), ("down",) * 8, 3)
        opening += [down._replace(who=number) for number in range(script.depth)]
        for op in opening:
            world.look()
            trace += self._take(world, stage.play([bind(world, op, self.counts)]))

    def _take(self, world: World, done: list[Done]) -> list[str]:
        """Count calls, draw their consequences, and say in a line each what became of them."""
        # First what was leased: it may have been while the cancel beside it was still under way.
        for one in done:
            if one.error is None:
                one.call.rows(one.value)
        return [self._take_one(world, one) for one in done]

    def _take_one(self, world: World, done: Done) -> str:
        call = done.call
        self.counts[f"calls: {call.kind}"] += 1
        self.counts["calls"] += 1
        if call.hold:
            self.counts["transactions held open"] += 1
        if done.error is None:
            call.merge(done.value)
            said = (
                f"{len(done.value)} rows" if isinstance(done.value, list) and call.kind in ("work", "claim") else "ok"
            )
        else:
            said = code_of(done.error)
            self._judge_error(world, call, done, said)
        return f"  {done.began:5.0f} to {done.ended:5.0f} ms  {call.text} -> {said}"

    def _judge_error(self, world: World, call: Call, done: Done, code: str) -> None:
        if code in call.allowed:
            self.counts[f"conflicts answered: {code}"] += 1
            return
        if code == "40P01":
            self.counts[DEADLOCKS] += 1
        world.find(f"{call.kind}: {code}", f"{call.text}: {what_is_said(done.error)}")


def _smaller(script: Script) -> Iterator[Script]:
    """Scripts with something left out, the boldest first."""
    rounds = script.rounds
    size = len(rounds) // 2
    while size:
        for start in range(0, len(rounds), size):
            yield script._replace(rounds=rounds[:start] + rounds[start + size :])
        size //= 2
    for number, entry in enumerate(rounds):
        for place in range(len(entry.ops) if len(entry.ops) > 1 else 0):
            ops = entry.ops[:place] + entry.ops[place + 1 :]
            yield script._replace(rounds=(*rounds[:number], entry._replace(ops=ops), *rounds[number + 1 :]))
        for place, op in enumerate(entry.ops):
            for left in range(len(op.picks) if len(op.picks) > 1 else 0):
                less = op._replace(
                    picks=op.picks[:left] + op.picks[left + 1 :], says=op.says[:left] + op.says[left + 1 :]
                )
                ops = (*entry.ops[:place], less, *entry.ops[place + 1 :])
                yield script._replace(rounds=(*rounds[:number], entry._replace(ops=ops), *rounds[number + 1 :]))
    for place in range(len(script.begin)):
        yield script._replace(begin=script.begin[:place] + script.begin[place + 1 :])
    if script.depth:
        yield script._replace(depth=script.depth - 1)
