"""Whose expressions take long: remembered for a while, and bounded, whatever anybody does."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

MARK_SECONDS = 60.0
MAX_TENANTS = 1_000
MAX_TEMPLATES = 32
"""Of one tenant. Who has more is slow with all of them, until the last mark has faded."""


class SlowMarks:
    """Templates that took long, by tenant and key. A mark that is not set again fades."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until = -math.inf
        self._tenants: OrderedDict[str, dict[str, float]] = OrderedDict()

    def are_any(self) -> bool:
        """Whether there is any at all: mostly there is none, and nothing has to be looked up."""
        if self._tenants and self._clock() >= self._until:
            self._tenants.clear()
        return bool(self._tenants)

    def add(self, tenant_id: str, key: str) -> None:
        """This one took long just now."""
        now = self._clock()
        self._until = now + MARK_SECONDS
        marks = self._tenants.setdefault(tenant_id, {})
        self._tenants.move_to_end(tenant_id)
        # The last one is renewed in place of one too many, so that all of the tenant's stay slow.
        marks[key if key in marks or len(marks) < MAX_TEMPLATES else next(reversed(marks))] = self._until
        if len(self._tenants) > MAX_TENANTS:
            self._tenants.popitem(last=False)

    def has(self, tenant_id: str, key: str) -> bool:
        """Whether it took long not long ago."""
        marks = self._tenants.get(tenant_id)
        if marks is None:
            return False
        if key not in marks and len(marks) < MAX_TEMPLATES:
            return False
        marks = self._marks_of(tenant_id)
        return key in marks or len(marks) >= MAX_TEMPLATES

    def _marks_of(self, tenant_id: str) -> dict[str, float]:
        """The marks of a tenant that have not faded."""
        now = self._clock()
        marks = {key: until for key, until in self._tenants[tenant_id].items() if now < until}
        if marks:
            self._tenants[tenant_id] = marks
        else:
            del self._tenants[tenant_id]
        return marks
