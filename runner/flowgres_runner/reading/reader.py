"""The reader as the runner sees it: large JSON in, texts and small values out, the event loop never busy with it."""

from __future__ import annotations

import asyncio
import json
import marshal
from collections.abc import Mapping, Sequence
from typing import Any

from flowgres_process.logs import get_logger
from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator import EvaluatorError
from flowgres_runner.evaluator.process import ChildDiedError, EvaluatorProcess
from flowgres_runner.json_values import Json, weight_of
from flowgres_runner.payloads.failures import BodyError
from flowgres_runner.payloads.texts import JsonText, ReadBody, Reading, put_pieces
from flowgres_runner.steps.base import Outcome
from flowgres_runner.turns import Turns

from .apart import Order, outcome_of

log = get_logger(__name__)

CPU_SECONDS = 5.0
MEMORY_BYTES = 64 << 20
"""For one answer at a time. What has more than perhaps a million members does not fit, and is refused."""
IDLE_SECONDS = 30.0
"""After so long without work the process ends: many runners seldom need it."""
NICENESS = 2
"""Behind the runner and its evaluators: these have to do with steps that are small."""

_DIED = ["response_too_large", "reading the response ended the process that did it", "validation"]
_DIED_OF_OURS = ["output_too_large", "reading the value ended the process that did it", "validation"]


class Reader:
    """One process, started when there is something to read; tenants take turns."""

    def __init__(self, *, cpu_seconds: float = CPU_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._process = EvaluatorProcess(
            program="flowgres_runner.reading.child",
            cpu_seconds=cpu_seconds,
            memory_bytes=memory_bytes,
            output_bytes=256 << 10,
            niceness=NICENESS,
        )
        self._turns = Turns(1)
        self._idle_timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the child, if it lives."""
        return self._process.pid

    async def read(self, given: list[bytes | bytearray], reading: Reading, *, tenant_id: str) -> ReadBody:
        """Read the body of an answer, which is taken out of its list. Raises BodyError."""
        arguments = (reading.codings, reading.content_type, reading.reads_as, reading.secrets, reading.limit)
        try:
            head, text = await self._ask(tenant_id, "read", arguments, given)
        except EvaluatorError as error:
            raise BodyError("reader_unavailable", error.message, "internal") from error
        if "error" in head:
            raise BodyError(*head["error"])
        return ReadBody(JsonText(text, int(head["depth"])), bool(head["is_binary"]))

    async def split(self, text: str, paths: Sequence[tuple[str, ...]], *, tenant_id: str) -> tuple[Any, int]:
        """A value whose members at these paths are bytes, their JSON text, where they are large; and its weight.

        Raises OutputError when it is too much, and EvaluatorError.
        """
        head, data = await self._ask(tenant_id, "split", (list(paths),), [text.encode()])
        at = 0
        pieces: list[tuple[list[str], bytes]] = []
        for path, size in head["pieces"]:
            pieces.append((path, bytes(data[at : at + size])))
            at += size
        rest = head["rest"]
        return put_pieces(json.loads(rest), pieces), weight_of(rest) + len(data)

    async def settle(self, text: str, *, max_bytes: int, max_depth: int, tenant_id: str) -> JsonText:
        """The value of a text that may be anything, as jsonb would keep it. Raises OutputError, EvaluatorError."""
        _, data = await self._ask(tenant_id, "settle", (max_bytes, max_depth), [text.encode()])
        return JsonText(data, 0)

    async def run(self, order: Order, data: bytes, *, tenant_id: str) -> Outcome:
        """Run a step that only computes. Raises OutputError for an output that cannot be stored, and EvaluatorError."""
        head, text = await self._ask(tenant_id, "run", order.parts, [data])
        return outcome_of(head, text)

    async def check(self, text: str | None, schema: Mapping[str, Any], *, tenant_id: str) -> tuple[Json, list[str]]:
        """What a model answered as a value, and what is wrong with it by a schema of the tenant's.

        Without a text, an example of the schema. Raises OutputError when it is too much, and EvaluatorError.
        """
        given = json.dumps([text, schema]).encode()
        head, data = await self._ask(tenant_id, "check", (), [given])
        return json.loads(data or b"null"), head["problems"]

    async def close(self) -> None:
        """End the process."""
        self._stop_timer()
        await self._process.kill()

    async def _ask(
        self, tenant_id: str, operation: str, arguments: tuple[Any, ...], given: list[bytes | bytearray]
    ) -> tuple[dict[str, Any], bytes | bytearray]:
        async with self._turns.hold(tenant_id):
            self._stop_timer()
            try:
                head, data = await self._ask_now(operation, arguments, given)
            finally:
                self._idle_timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end)
        if "error" in head and operation != "read":
            code, message, error_class = head["error"]
            raise OutputError(message, code=code, error_class=error_class)
        return head, data

    async def _ask_now(
        self, operation: str, arguments: tuple[Any, ...], given: list[bytes | bytearray]
    ) -> tuple[dict[str, Any], bytes | bytearray]:
        try:
            await self._process.ensure_alive()
        except (ChildDiedError, OSError) as error:
            # This machine's trouble, and not that of what is to be read.
            log.error("reader_unavailable", error=str(error))
            raise EvaluatorError("this runner cannot start the process that reads large values") from error
        try:
            said, result = await self._process.exchange(marshal.dumps((operation, arguments)), given)
            answer: dict[str, Any] = json.loads(said)
        except (ChildDiedError, ValueError):
            return {"error": list(_DIED if operation == "read" else _DIED_OF_OURS)}, b""
        if answer["ends"]:
            await self._process.kill()
        return answer, result

    def _end(self) -> None:
        self._idle_timer = None
        self._ending = asyncio.get_running_loop().create_task(self._end_in_turn())

    async def _end_in_turn(self) -> None:
        async with self._turns.hold(""):
            await self._process.kill()

    def _stop_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
