"""Which templates a child knows: numbers for templates and for chains of them, bounded, oldest out first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from flowgres_definitions.expressions import holds_expression
from flowgres_runner.json_values import LARGE_BYTES, encode_json, weight_of

from .jobs import Follower, Rendered, RenderedLarge, RenderJob
from .large import cut

Json = Any
T = TypeVar("T")
MAX_BYTES = 32 << 20
"""About what the templates that are known take in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class KnownTemplate:
    """A template with its number. `constant` is what it gives when no text of it has an expression."""

    number: int
    template: Json
    when: str | None
    constant: Rendered | RenderedLarge | None
    weight: int

    @property
    def parts(self) -> tuple[KnownTemplate, ...]:
        """The templates that a child has to hold for it."""
        return (self,)

    def is_for(self, job: RenderJob | Follower) -> bool:
        same = self.template is job.template or _identical(self.template, job.template)
        return same and self.when == job.when


@dataclass(frozen=True, slots=True, eq=False)
class KnownChain:
    """A template with those that follow it, under a number of its own. `links` is how the child gets to know them."""

    number: int
    parts: tuple[KnownTemplate, ...]
    then: tuple[Follower, ...]
    last_path: tuple[str, ...]

    @property
    def links(self) -> list[Any]:
        """Where the last output lies, the first number, (number, references, after, path) of each other template."""
        others = [
            (known.number, follower.references, follower.after, follower.path)
            for known, follower in zip(self.parts[1:], self.then, strict=True)
        ]
        return [self.last_path, self.parts[0].number, *others]


def _identical(left: Json, right: Json) -> bool:
    """Equal, and of equal types: Python holds 1, 1.0 and True equal, JSON does not."""
    return bool(left == right) and repr(left) == repr(right)


def _as_given(template: Json, text: str) -> Rendered | RenderedLarge:
    return Rendered(template) if len(text) <= LARGE_BYTES else RenderedLarge(*cut(template, text))


class _Kept(Generic[T]):
    """Least recently used out first; bounded in number, and in about what it takes in memory."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._weight = 0
        self._entries: OrderedDict[str, tuple[T, int]] = OrderedDict()

    def find(self, key: str) -> T | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def put(self, key: str, value: T, weight: int) -> None:
        before = self._entries.pop(key, None)
        self._weight += weight - (0 if before is None else before[1])
        self._entries[key] = value, weight
        while len(self._entries) > self._size or (self._weight > MAX_BYTES and len(self._entries) > 1):
            _, (_, dropped) = self._entries.popitem(last=False)
            self._weight -= dropped


class TemplateCache:
    """Numbers templates and chains by key for one pool; a number is never used again for another."""

    def __init__(self, size: int) -> None:
        self._next = 0
        self._templates: _Kept[KnownTemplate] = _Kept(size)
        self._chains: _Kept[KnownChain] = _Kept(size)

    def find(self, job: RenderJob | Follower) -> KnownTemplate:
        """The numbered template of a job; a key that comes with another template gets a new number."""
        known = self._templates.find(job.key)
        if known is not None and known.is_for(job):
            return known
        text = encode_json(job.template)
        constant = None if job.when is not None or holds_expression(job.template) else _as_given(job.template, text)
        known = KnownTemplate(self._number(), job.template, job.when, constant, weight_of(text))
        self._templates.put(job.key, known, known.weight)
        return known

    def find_chain(self, job: RenderJob) -> KnownChain:
        """The numbered chain of a job that is one."""
        chain = self._chains.find(job.key)
        # Followers are made once per version, so these are nearly always the very same.
        is_same = chain is not None and chain.then is job.then and chain.last_path == job.last_path
        if chain is not None and is_same and chain.parts[0].is_for(job):
            return chain
        parts = (self.find(job), *(self.find(one) for one in job.then))
        chain = KnownChain(self._number(), parts, job.then, job.last_path)
        self._chains.put(job.key, chain, sum([part.weight for part in parts]))
        return chain

    def _number(self) -> int:
        self._next += 1
        return self._next


class SentTemplates:
    """What one child holds. The parent decides what it forgets, so both always agree."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._numbers: OrderedDict[int, int] = OrderedDict()
        self._weight = 0

    def select(
        self, wanted: Iterable[KnownTemplate | KnownChain]
    ) -> tuple[list[tuple[int, Json, str | None]], list[tuple[int, list[Any]]], list[int]]:
        """Templates and chains to send with a batch, and numbers to forget (never one that the batch needs)."""
        templates = []
        chains = []
        needed: set[int] = set()
        for known in {known.number: known for known in wanted}.values():
            for part in known.parts:
                needed.add(part.number)
                if self._is_new(part.number, part.weight):
                    templates.append((part.number, part.template, part.when))
            if isinstance(known, KnownChain):
                needed.add(known.number)
                if self._is_new(known.number, 0):
                    chains.append((known.number, known.links))
        forgotten = []
        while len(self._numbers) > len(needed) and (len(self._numbers) > self._size or self._weight > MAX_BYTES):
            number, weight = self._numbers.popitem(last=False)
            self._weight -= weight
            forgotten.append(number)
        return templates, chains, forgotten

    def _is_new(self, number: int, weight: int) -> bool:
        if number in self._numbers:
            self._numbers.move_to_end(number)
            return False
        self._numbers[number] = weight
        self._weight += weight
        return True
