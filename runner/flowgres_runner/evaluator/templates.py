"""Which templates a child knows: numbers for (key, template, when), bounded, oldest out first."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from flowgres_definitions.expressions import has_expression

from .jobs import RenderJob

Json = Any


@dataclass(frozen=True, slots=True, eq=False)
class KnownTemplate:
    """A template with its number; `constant` when no text of it has an expression."""

    number: int
    template: Json
    when: str | None
    constant: bool

    def is_for(self, job: RenderJob) -> bool:
        same = self.template is job.template or _identical(self.template, job.template)
        return same and self.when == job.when


def _identical(left: Json, right: Json) -> bool:
    """Equal, and of equal types: Python holds 1, 1.0 and True equal, JSON does not."""
    return bool(left == right) and repr(left) == repr(right)


class TemplateCache:
    """Numbers templates by key for one pool; a number is never used again for another template."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._next = 0
        self._by_key: OrderedDict[str, KnownTemplate] = OrderedDict()

    def find(self, job: RenderJob) -> KnownTemplate:
        """The numbered template of a job; a key that comes with another template gets a new number."""
        known = self._by_key.get(job.key)
        if known is not None and known.is_for(job):
            self._by_key.move_to_end(job.key)
            return known
        self._next += 1
        constant = job.when is None and not _has_expressions(job.template)
        known = KnownTemplate(self._next, job.template, job.when, constant)
        self._by_key[job.key] = known
        if len(self._by_key) > self._size:
            self._by_key.popitem(last=False)
        return known


class SentTemplates:
    """What one child holds. The parent decides what it forgets, so both always agree."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._numbers: OrderedDict[int, None] = OrderedDict()

    def select(self, wanted: list[KnownTemplate]) -> tuple[list[tuple[int, Json, str | None]], list[int]]:
        """Templates to send with a batch, and numbers to forget (never one that the batch needs)."""
        new = []
        for known in wanted:
            if known.number in self._numbers:
                self._numbers.move_to_end(known.number)
            else:
                self._numbers[known.number] = None
                new.append((known.number, known.template, known.when))
        needed = len({known.number for known in wanted})
        forgotten = []
        while len(self._numbers) > max(self._size, needed):
            forgotten.append(self._numbers.popitem(last=False)[0])
        return new, forgotten


def _has_expressions(template: Json) -> bool:
    todo = [template]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            if has_expression(value):
                return True
        elif isinstance(value, dict):
            todo.extend(value.values())
        elif isinstance(value, list):
            todo.extend(value)
    return False
