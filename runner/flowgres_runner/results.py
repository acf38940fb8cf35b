"""Results on their way to the database: encoded once, kept until the database has them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from flowgres_runner.errors import OutputError
from flowgres_runner.json_values import canonical_json, encode_json, encode_output
from flowgres_runner.queries import ClaimedStep
from flowgres_runner.steps.base import (
    ChildStarted,
    Completed,
    Failed,
    Json,
    Outcome,
    Skipped,
    StepError,
    Suspended,
)

MAX_MESSAGE_CHARACTERS = 2_000
MAX_DETAIL_BYTES = 16_384
MAX_LOG_LINES = 100

UNDELIVERABLE = StepError(
    code="result_refused",
    message="the database refused this step's result",
    error_class="internal",
)
"""Takes the place of a result on which SQL itself fails; a fixed text, because the result's own is what failed."""


@dataclass(frozen=True, slots=True)
class Result:
    """One object of the array that complete_and_claim takes, as text. `is_final`: the lease ends with it.

    Steps that were run ahead under the same lease are members of the same object, so that nothing can separate them;
    `head` is then the text of the leased step alone.
    """

    claimed: ClaimedStep
    text: str
    is_final: bool = True
    is_replaced: bool = False
    is_completed: bool = False
    head: str | None = None

    def followed_by(self, ahead: Result) -> Result:
        """This result with that of the step run ahead after it."""
        # Its keys come in a fixed order, first those of the lease, which is the same.
        own = "{" + ahead.text[ahead.text.index('"s":') :]
        text = f'{self.text[:-1]},"ahead":[{own}]}}' if self.head is None else f"{self.text[:-2]},{own}]}}"
        return Result(self.claimed, text, is_completed=True, head=self.head or self.text)

    def alone(self) -> Result:
        """Without what was run ahead: the database makes those steps ready as ever."""
        return self if self.head is None else Result(self.claimed, self.head, is_completed=True)


class Outbox:
    """Results that wait for the next round trip, first in first out; those of one execution in one batch at a time.

    The database locks the executions of a batch. A second batch with results of the same one would wait there, for as
    long as the first one takes, and all that it carries with it.
    """

    def __init__(self) -> None:
        self._results: deque[Result] = deque()
        self._sending: set[str] = set()
        self.arrived = asyncio.Event()

    def __len__(self) -> int:
        return len(self._results)

    def put(self, results: Iterable[Result]) -> None:
        """Add results and wake a lane."""
        self._results.extend(results)
        self.arrived.set()

    def take(self, limit: int) -> list[Result]:
        """Remove up to `limit` of the oldest of executions of which nothing is on its way; `settle` ends that."""
        results = self._results
        if self._sending:
            batch: list[Result] = []
            held: list[Result] = []
            while results and len(batch) < limit:
                result = results.popleft()
                (held if result.claimed.execution_id in self._sending else batch).append(result)
            results.extendleft(reversed(held))
        elif len(results) <= limit:
            batch = list(results)
            results.clear()
        else:
            batch = [results.popleft() for _ in range(limit)]
        self._sending.update([result.claimed.execution_id for result in batch])
        return batch

    def settle(self, batch: list[Result]) -> None:
        """Nothing of this batch is on its way any more."""
        if batch:
            self._sending.difference_update([result.claimed.execution_id for result in batch])
            if self._results:
                self.arrived.set()

    def put_back(self, batch: list[Result]) -> None:
        """Return a batch that did not get through, ahead of all others."""
        self._results.extendleft(reversed(batch))
        self.arrived.set()

    def clear(self) -> int:
        """Drop everything; returns how many."""
        count = len(self._results)
        self._results.clear()
        return count


@dataclass(frozen=True, slots=True)
class EncodedOutcome:
    """A result, with what the cache of contexts should remember of it (`size` is that of the output's text)."""

    result: Result
    status: str | None
    output: Json
    size: int


def encode_outcome(claimed: ClaimedStep, outcome: Outcome, *, milliseconds: float, max_bytes: int) -> EncodedOutcome:
    """The result of a step. An output that cannot be stored makes it a permanent failure, whatever it was."""
    try:
        if isinstance(outcome, Completed):
            return _encode_completed(claimed, outcome, milliseconds, max_bytes)
        if isinstance(outcome, ChildStarted):
            _, text = encode_output(outcome.input, max_bytes=max_bytes)
            name = encode_json(storable_text(outcome.workflow))
            version = "null" if outcome.version is None else str(int(outcome.version))
            rest = f'"workflow":{name},"version":{version},"input":{text}'
            return EncodedOutcome(_result(claimed, "child", milliseconds, rest), None, None, 0)
    except OutputError as error:
        outcome = Failed(StepError(code=error.code, message=error.message, error_class="validation"))
    except RecursionError:
        outcome = Failed(StepError("output_not_storable", "the output is nested too deep", "validation"))
    if isinstance(outcome, Skipped):
        return EncodedOutcome(_result(claimed, "skipped", milliseconds, ""), "skipped", None, 0)
    if isinstance(outcome, Suspended):
        seconds = "null" if outcome.seconds is None else repr(max(0.0, float(outcome.seconds)))
        return EncodedOutcome(_result(claimed, "suspended", milliseconds, f'"seconds":{seconds}'), None, None, 0)
    if isinstance(outcome, Failed):
        return EncodedOutcome(_encode_failed(claimed, outcome, milliseconds), None, None, 0)
    raise TypeError(f"a handler returned {type(outcome).__name__}, which is no outcome")


def encode_started(claimed: ClaimedStep, *, milliseconds: float) -> Result:
    """The message that a step has been running for a while; its lease goes on."""
    return _result(claimed, "started", milliseconds, "", is_final=False)


def replacement(result: Result) -> Result:
    """What is sent in place of a result that the database cannot take."""
    text = _encode_error(UNDELIVERABLE)
    failed = _result(result.claimed, "failed", 0.0, f'"error":{text}')
    return Result(failed.claimed, failed.text, is_final=True, is_replaced=True)


def batch_text(batch: Iterable[Result]) -> str:
    """The argument of complete_and_claim."""
    return f"[{','.join([result.text for result in batch])}]"


def storable_text(text: str, limit: int = MAX_MESSAGE_CHARACTERS) -> str:
    """A message that PostgreSQL can store, cut to a length that somebody may read."""
    text = str(text)[:limit]
    return text.encode(errors="replace").decode().replace("\0", "\ufffd")


def _encode_completed(claimed: ClaimedStep, outcome: Completed, milliseconds: float, max_bytes: int) -> EncodedOutcome:
    output, text = encode_output(outcome.output, max_bytes=max_bytes)
    rest = f'"out":{text}'
    if outcome.taken is not None:
        rest += f',"taken":{encode_json([storable_text(step) for step in outcome.taken])}'
    if outcome.logs:
        lines: list[Json] = [
            {"level": level, "message": storable_text(line, 10_000)} for level, line in outcome.logs[:MAX_LOG_LINES]
        ]
        rest += f',"logs":{encode_json(lines)}'
    if outcome.detail is not None:
        rest += f',"detail":{_detail_text(outcome.detail)}'
    return EncodedOutcome(_result(claimed, "completed", milliseconds, rest), "completed", output, len(text))


def _encode_failed(claimed: ClaimedStep, outcome: Failed, milliseconds: float) -> Result:
    rest = f'"error":{_encode_error(outcome.error)}'
    if outcome.detail is not None:
        rest += f',"detail":{_detail_text(outcome.detail)}'
    return _result(claimed, "failed", milliseconds, rest)


def _encode_error(error: StepError) -> str:
    fields: dict[str, Json] = {
        "code": storable_text(error.code, 100),
        "message": storable_text(error.message),
        "class": storable_text(error.error_class, 100),
    }
    if error.retry_after_seconds is not None and 0 <= error.retry_after_seconds < 1e9:
        fields["retry_after"] = float(error.retry_after_seconds)
    text = encode_json(fields)
    return text if error.details is None else f'{text[:-1]},"details":{_detail_text(error.details)}}}'


def _detail_text(detail: Json) -> str:
    """Side information: dropped rather than let it fail a step."""
    try:
        text = encode_json(canonical_json(detail))
    except (OutputError, ValueError, RecursionError):
        return '{"dropped":"not storable"}'
    return text if len(text) <= MAX_DETAIL_BYTES else '{"dropped":"too large"}'


def _result(claimed: ClaimedStep, outcome: str, milliseconds: float, rest: str, *, is_final: bool = True) -> Result:
    comma = "," if rest else ""
    return Result(
        claimed,
        f'{{"t":"{claimed.tenant_id}","x":"{claimed.execution_id}","q":{claimed.queue_id},"k":{claimed.token},'
        f'"s":{claimed.step_index},"o":"{outcome}","ms":{milliseconds:.3f}{comma}{rest}}}',
        is_final=is_final,
        is_completed=outcome == "completed",
    )
