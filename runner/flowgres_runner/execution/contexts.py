"""What expressions may see of an execution, kept between the steps that one runner does of it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from flowgres_runner.steps.base import Json

MAX_EXECUTIONS = 10_000
MAX_BYTES = 16 << 20
"""About what they take in memory: of texts their length, of objects `weight_of`."""
PATHS = (("input",), ("trigger", "payload"), ("steps", "*", "output"))
"""What may be large in a context, and is then bytes: its JSON text, which only evaluators open."""

_ENDED = frozenset({"completed", "failed", "skipped", "cancelled"})


class ExecutionContext:
    """One execution: its input, trigger and times, and those steps whose end this runner knows."""

    __slots__ = ("bytes", "error", "execution", "generation", "input", "steps", "trigger")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.bytes = 0
        self.input: Any = None
        self.trigger: Any = None
        self.error: Any = None
        self.execution: dict[str, Json] = {}
        self.steps: dict[str, dict[str, Any]] = {}

    def knows(self, references: Sequence[str]) -> bool:
        """Whether all these steps have ended, as far as we know."""
        steps = self.steps
        for name in references:
            step = steps.get(name)
            if step is None or step["status"] not in _ENDED:
                return False
        return True

    def take(self, given: dict[str, Any], weight: int) -> None:
        """Take over what the database says; it knows better than we do."""
        self.bytes += weight
        self.input = given.get("input")
        trigger = given.get("trigger")
        if not isinstance(trigger, dict):
            trigger = {"type": "api"}
        if "payload" not in trigger:
            trigger["payload"] = self.input
        self.trigger = trigger
        self.execution = given.get("execution") or {}
        self.error = given.get("error")
        self.steps.update(given.get("steps") or {})


class ContextCache:
    """Contexts of executions, least recently used out first, bounded in number and bytes."""

    def __init__(self, *, max_executions: int = MAX_EXECUTIONS, max_bytes: int = MAX_BYTES) -> None:
        self._max_executions = max_executions
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[str, ExecutionContext] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, execution_id: str, generation: int) -> ExecutionContext | None:
        """The context of an execution in this generation, if it is here."""
        entry = self._entries.get(execution_id)
        if entry is None or entry.generation != generation:
            return None
        self._entries.move_to_end(execution_id)
        return entry

    def size_of(self, execution_id: str) -> int:
        """Bytes of what is here of an execution."""
        entry = self._entries.get(execution_id)
        return 0 if entry is None else entry.bytes

    def store(self, execution_id: str, generation: int, given: dict[str, Any], weight: int) -> ExecutionContext:
        """Take a context from the database into the cache: the members of the object that it sent."""
        entry = self._entries.get(execution_id)
        if entry is None or entry.generation != generation:
            if entry is not None:
                self._bytes -= entry.bytes
            entry = self._entries[execution_id] = ExecutionContext(generation)
        self._bytes -= entry.bytes
        entry.take(given, weight)
        self._bytes += entry.bytes
        self._entries.move_to_end(execution_id)
        self._evict()
        return entry

    def record(
        self,
        execution_id: str,
        generation: int,
        step_id: str,
        *,
        output: Json | bytes,
        status: str,
        attempts: int,
        weight: int,
    ) -> None:
        """Remember how a step ended here."""
        entry = self._entries.get(execution_id)
        if entry is None or entry.generation != generation:
            return
        entry.steps[step_id] = {"output": output, "status": status, "error": None, "attempts": attempts}
        entry.bytes += weight
        self._bytes += weight
        if self._bytes > self._max_bytes:
            self._evict()

    def forget(self, execution_id: str) -> None:
        """Drop one execution, of which something that we hold may not be true."""
        entry = self._entries.pop(execution_id, None)
        if entry is not None:
            self._bytes -= entry.bytes

    def clear(self) -> None:
        """Forget everything: while this runner was away others may have gone on."""
        self._entries.clear()
        self._bytes = 0

    def _evict(self) -> None:
        while len(self._entries) > self._max_executions or (self._bytes > self._max_bytes and len(self._entries) > 1):
            _, entry = self._entries.popitem(last=False)
            self._bytes -= entry.bytes
