"""What this process has counted, told with its heartbeats; the database adds up those of all runners."""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Tallies:
    """Counts under the present id of the runner: what was told under an earlier one is kept there, and not told again.

    `read` gives the counts of the process since it began.
    """

    def __init__(self, read: Callable[[], Mapping[str, int]]) -> None:
        self._read = read
        self._before: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def tell(self) -> dict[str, int]:
        """The counts since the runner has its id."""
        counts = dict(self._read())
        self._told = counts
        return {name: count - self._before.get(name, 0) for name, count in counts.items()}

    def begin_anew(self) -> None:
        """The runner gets another id. What it counted after its last word goes with that one."""
        self._before = self._told
