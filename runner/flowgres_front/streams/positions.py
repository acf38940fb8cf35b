"""How far a client has read, as the id of an event says it; from there it goes on without gap or double.

In one execution that is a number: they are given out under its lock, so they commit in their order. Of a tenant no
number is in commit order. There it is a snapshot of the database, all of whose transactions have been read, and how far
within one transaction that the snapshot does not show.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

_SEQ = re.compile(r"0|[1-9][0-9]{0,9}")
_MOST_SEQ = 2**31 - 1
_MOST_XID = 2**63 - 1
_NUMBER = r"(?:0|[1-9][0-9]{0,18})"
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_TENANT = re.compile(rf"({_NUMBER}:{_NUMBER}:(?:{_NUMBER}(?:,{_NUMBER})*)?)(?:/({_NUMBER})/({_UUID})/({_NUMBER}))?")


def parse_seq(text: str) -> int | None:
    """The number of an event in its execution, 0 before the first; None when it is none."""
    if _SEQ.fullmatch(text) is None or int(text) > _MOST_SEQ:
        return None
    return int(text)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A pg_snapshot: transactions before `xmin` have ended, those from `xmax` on have not, nor those in `running`."""

    xmin: int
    xmax: int
    running: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """Read what PostgreSQL prints. Raises ValueError when it is not that."""
        low, high, between = text.split(":")
        snapshot = cls(int(low), int(high), frozenset(int(xid) for xid in between.split(",") if xid))
        is_sound = 0 < snapshot.xmin <= snapshot.xmax <= _MOST_XID
        if not is_sound or any(not snapshot.xmin <= xid < snapshot.xmax for xid in snapshot.running):
            raise ValueError(text)
        return snapshot

    def shows(self, xid: int) -> bool:
        """Whether that transaction's writes are in it."""
        return xid < self.xmin or (xid < self.xmax and xid not in self.running)

    def before(self, xid: int) -> Snapshot:
        """As much of it as lies before that transaction."""
        running = frozenset(other for other in self.running if other < xid)
        return Snapshot(min(running, default=xid), xid, running)

    def joined(self, other: Snapshot) -> Snapshot:
        """All that one of both shows."""
        both = self.running | other.running
        running = frozenset(xid for xid in both if not self.shows(xid) and not other.shows(xid))
        xmax = max(self.xmax, other.xmax)
        return Snapshot(min(running, default=xmax), xmax, running)

    def including(self, xid: int) -> Snapshot:
        """All that it shows, and that transaction."""
        running = self.running.union(range(self.xmax, xid)) - {xid}
        xmax = max(self.xmax, xid + 1)
        return Snapshot(min(running, default=xmax), xmax, running)

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, sorted(self.running)))}"


@dataclass(frozen=True, slots=True)
class TenantPosition:
    """All that `snapshot` shows, and of the transaction `xid` what comes up to `seq` of an execution, in order."""

    snapshot: Snapshot
    xid: int | None = None
    execution_id: str | None = None
    seq: int | None = None

    @classmethod
    def parse(cls, text: str) -> TenantPosition | None:
        """Read the id of an event; None when it is none of ours."""
        found = _TENANT.fullmatch(text)
        if found is None:
            return None
        try:
            position = cls(Snapshot.parse(found[1]))
        except ValueError:
            return None
        if found[2] is None:
            return position
        xid, seq = int(found[2]), int(found[4])
        if position.snapshot.shows(xid) or xid > _MOST_XID or seq > _MOST_SEQ:
            return None
        return replace(position, xid=xid, execution_id=found[3], seq=seq)

    @property
    def read(self) -> Snapshot:
        """What it shows, and the transaction that it is within, once that was read to its end."""
        return self.snapshot if self.xid is None else self.snapshot.including(self.xid)

    def onward(self, event: TenantPosition) -> TenantPosition:
        """The position behind an event that comes next, of which another reader knows the position.

        Nothing that was read is forgotten: a transaction that committed late may come after others with higher numbers.
        """
        seen = self.snapshot if self.xid == event.xid else self.read
        return replace(event, snapshot=seen.joined(event.snapshot))

    def covers(self, xid: int, execution_id: str, seq: int) -> bool:
        """Whether an event that came into being by that transaction has been read."""
        if xid == self.xid:
            assert self.execution_id is not None  # noqa: S101 - they come with xid
            assert self.seq is not None  # noqa: S101
            return (execution_id, seq) <= (self.execution_id, self.seq)
        return self.snapshot.shows(xid)

    def __str__(self) -> str:
        if self.xid is None:
            return str(self.snapshot)
        return f"{self.snapshot}/{self.xid}/{self.execution_id}/{self.seq}"
