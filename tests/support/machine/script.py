"""What the machine draws: rounds of operations that begin together. Numbers choose among what there will be."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

OPERATIONS = 30
SEATS = 4

KINDS = {
    "work": 12, "claim": 2, "release": 3, "release_unknown": 1, "beat": 1, "idle": 1, "contexts": 1, "stop": 1,
    "chains": 3, "rescue": 1, "expire": 1, "orphans": 1, "wake": 1,
    "start": 2, "start_many": 1, "cancel": 6, "delete": 1, "deactivate": 1, "activate": 1, "get": 1,
    "hold": 2, "hold_row": 2,
}  # fmt: skip
"""Kinds of operations, and how often each is drawn."""

SAYS = {
    "done": 12, "ahead": 5, "ahead-fails": 2, "ahead-retries": 2, "ahead-skips": 1, "ahead-leaps": 1,
    "fails": 3, "retries": 3, "unretryable": 1, "skips": 1, "sleeps": 1, "started": 1, "started-done": 1,
    "logs": 2, "detail": 1, "stale": 2, "ghost": 1,
}  # fmt: skip
"""What is said of a lease: `done` is what a real runner would say of a step that went well."""

HOLDS = {"": 6, "commit": 3, "rollback": 2, "commit-late": 1}
"""Whether a tenant's transaction stays open for a moment, and how it ends."""

CLOCKS = {0: 12, 3: 2, 31: 3, 400: 1}
"""Seconds by which the clock moves before a round."""


class Op(NamedTuple):
    """One operation: who does it or to whom (a number), the leases that it names, and what it says of each."""

    kind: str
    who: int = 0
    picks: tuple[int, ...] = ()
    says: tuple[str, ...] = ()
    want: int = 0
    hold: str = ""


class Round(NamedTuple):
    """Operations that begin together; `focus` chooses a tree of executions that all of them are about (0: none)."""

    clock: int
    focus: int
    ops: tuple[Op, ...]


class Script(NamedTuple):
    """Workflows that are started first, how far down their calls are followed then, and the rounds."""

    begin: tuple[int, ...]
    depth: int
    rounds: tuple[Round, ...]

    @property
    def size(self) -> int:
        """How many operations."""
        return sum(len(entry.ops) for entry in self.rounds)

    @property
    def weight(self) -> int:
        """What cutting down makes less: operations, what they name, and what is started before."""
        named = sum(len(op.picks) for entry in self.rounds for op in entry.ops)
        return 100 * self.size + 10 * (len(self.begin) + self.depth) + named

    def dumps(self) -> str:
        """As one line, for `loads`."""
        return json.dumps(
            [self.begin, self.depth, [[entry.clock, entry.focus, entry.ops] for entry in self.rounds]],
            separators=(",", ":"),
        )


def loads(text: str) -> Script:
    """The script of a line."""
    begin, depth, rounds = json.loads(text)
    return Script(
        tuple(begin),
        depth,
        tuple(
            Round(
                clock,
                focus,
                tuple(
                    Op(kind, who, tuple(picks), tuple(says), want, hold) for kind, who, picks, says, want, hold in ops
                ),
            )
            for clock, focus, ops in rounds
        ),
    )


def _weighted(weights: dict[Any, int]) -> st.SearchStrategy[Any]:
    return st.sampled_from([value for value, weight in weights.items() for _ in range(weight)])


@st.composite
def _ops(draw: st.DrawFn) -> Op:
    kind = draw(_weighted(KINDS))
    picks: tuple[int, ...] = ()
    says: tuple[str, ...] = ()
    if kind in ("work", "chains", "release", "contexts", "beat", "release_unknown"):
        # Small numbers are leases whose end nobody has reported; from 12 on those that are gone.
        picks = tuple(draw(st.lists(st.integers(0, 13), min_size=1, max_size=5, unique=True)))
    if kind == "work":
        says = tuple(draw(_weighted(SAYS)) for _ in picks)
    return Op(
        kind,
        draw(st.integers(0, 11)),
        picks,
        says,
        draw(st.integers(0, 5)),
        draw(_weighted(HOLDS)) if kind in ("start", "start_many", "cancel", "delete", "activate", "deactivate") else "",
    )


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    """Scripts of thirty operations."""
    ops = draw(st.lists(_ops(), min_size=OPERATIONS, max_size=OPERATIONS))
    rounds = []
    while ops:
        batch, ops = ops[:SEATS], ops[SEATS:]
        focus = draw(st.integers(0, 4)) if draw(st.booleans()) else 0
        rounds.append(Round(draw(_weighted(CLOCKS)), focus, tuple(batch)))
    begin = draw(st.lists(st.integers(0, 10), min_size=3, max_size=5))
    return Script(tuple(begin), draw(st.integers(0, 5)), tuple(rounds))
