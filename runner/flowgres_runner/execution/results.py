"""Results as the database takes them: encoded once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.errors import OutputError
from flowgres_runner.evaluator.jobs import RenderFailed
from flowgres_runner.execution.compiled import Limits
from flowgres_runner.json_values import (
    HELD_BYTES,
    MAX_DEPTH,
    canonical_json,
    check_depth,
    check_size,
    encode_json,
    encode_output,
    storable_text,
    weight_of,
)
from flowgres_runner.payloads.texts import JsonText
from flowgres_runner.steps.base import (
    LOG_LEVELS,
    MAX_LOG_CHARACTERS,
    MAX_LOG_LINES,
    ChildStarted,
    Completed,
    Expanded,
    Failed,
    Json,
    Outcome,
    Parked,
    Skipped,
    StepError,
    Suspended,
    TransitionAsked,
)
from flowgres_runner.steps.failures import output_failure

MAX_BATCH_CHARACTERS = 4 << 20
"""Of the texts that one call carries; a single result may be larger."""
MAX_DETAIL_BYTES = 24_576
"""Of an attempt's own detail, and of what it keeps of a request and its response."""


@dataclass(frozen=True, slots=True)
class RoundEnded:
    """A round of a step that repeats is over; `is_enough` when its `until` was true."""

    completed: Completed
    is_enough: bool


Ended = Outcome | RoundEnded
"""What is reported of a step: what its handler said, or that and the answer to its `until`."""

UNDELIVERABLE = StepError(
    code="result_refused",
    message="the database refused this step's result",
    error_class="internal",
)
"""Takes the place of a result on which SQL itself fails; a fixed text, because the result's own is what failed."""


class Member(NamedTuple):
    """What one step ended with: `output` is JSON text, `rest` what else there is to say, as members of an object."""

    step_index: int
    outcome: str
    milliseconds: float
    output: str | None = None
    rest: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it completed, and there is no more to say than its output."""
        return self.outcome == "completed" and not self.rest

    @property
    def text(self) -> str:
        """Its members of the object that is reported."""
        output = "" if self.output is None else f',"out":{self.output}'
        return f'"s":{self.step_index},"o":"{self.outcome}","ms":{self.milliseconds:.3f}{output}{self.rest}'


class Result:
    """What is reported of a lease: its step, and after it those that were run ahead under the same lease.

    They are members of the same object, so that nothing can separate them. `is_final`: the lease ends with it.
    """

    __slots__ = ("claimed", "is_final", "is_replaced", "members", "passed_over", "size")
    opened_count = 0  # Nobody here knows.

    def __init__(
        self, claimed: ClaimedStep, members: list[Member], *, is_final: bool = True, is_replaced: bool = False
    ) -> None:
        self.claimed = claimed
        self.members = members
        self.is_final = is_final
        self.is_replaced = is_replaced
        self.passed_over = 0
        self.size = sum([len(member.output or "") + len(member.rest) for member in members])
        """About as many characters as `text` has."""

    @property
    def text(self) -> str:
        """One object of the array that complete_and_claim takes."""
        claimed = self.claimed
        first, *ahead = [member.text for member in self.members]
        more = f',"ahead":[{{{"},{".join(ahead)}}}]' if ahead else ""
        return (
            f'{{"t":"{claimed.tenant_id}","x":"{claimed.execution_id}","q":{claimed.queue_id},"k":{claimed.token},'
            f"{first}{more}}}"
        )

    @property
    def is_completed(self) -> bool:
        """Whether the last of its steps completed, so that the next one may be run ahead."""
        return self.members[-1].outcome == "completed"

    def add(self, ahead: Result) -> None:
        """Take the step of another result, which was run ahead after the last one of this."""
        self.members += ahead.members
        self.size += ahead.size

    def unfolded(self) -> Result:
        """It is an object already."""
        return self

    def simpler(self) -> Result | None:
        """The same in a form that may be taken when this is refused: without what was run ahead. None: there is none.

        The database then makes those steps ready as ever, and the culprit fails in its own name.
        """
        return Result(self.claimed, self.members[:1]) if len(self.members) > 1 else None


@dataclass(frozen=True, slots=True)
class EncodedOutcome:
    """A result, with what the cache of contexts should remember of it; `weight` is about what that takes in memory."""

    result: Result
    status: str | None
    output: Json | bytes
    weight: int


def encode_outcome(
    claimed: ClaimedStep, outcome: Ended, *, milliseconds: float, max_bytes: int = 1 << 20, max_depth: int = MAX_DEPTH
) -> EncodedOutcome:
    """The result of a step. An output that cannot be stored makes it a permanent failure, whatever it was."""
    try:
        if isinstance(outcome, Completed):
            return _encode_completed(claimed, outcome, milliseconds, max_bytes, max_depth)
        if isinstance(outcome, RoundEnded):
            word = "enough" if outcome.is_enough else "again"
            return _encode_completed(claimed, outcome.completed, milliseconds, max_bytes, max_depth, word=word)
        if isinstance(outcome, ChildStarted):
            _, text = _output_text(outcome.input, max_bytes, max_depth)
            name = encode_json(storable_text(outcome.workflow))
            version = "null" if outcome.version is None else str(int(outcome.version))
            rest = f',"workflow":{name},"version":{version},"input":{text}'
            if outcome.is_detached:
                rest += ',"detached":true'
            return EncodedOutcome(_result(claimed, "child", milliseconds, rest), None, None, 0)
        if isinstance(outcome, TransitionAsked):
            _, text = _output_text(outcome.wanted, max_bytes, max_depth)
            return EncodedOutcome(_result(claimed, "transition", milliseconds, f',"input":{text}'), None, None, 0)
        if isinstance(outcome, Parked):
            _, text = _output_text(outcome.wanted, max_bytes, max_depth)
            seconds = "null" if outcome.seconds is None else repr(max(0.0, float(outcome.seconds)))
            rest = f',"waits":{encode_json(outcome.kind)},"input":{text},"seconds":{seconds}'
            if outcome.kept is not None:
                rest += f',"out":{encode_json(canonical_json(outcome.kept))}'
            return EncodedOutcome(_result(claimed, "park", milliseconds, rest), None, None, 0)
        if isinstance(outcome, Expanded):
            _, text = _output_text(outcome.items, max_bytes, max_depth)
            return EncodedOutcome(_result(claimed, "expand", milliseconds, f',"out":{text}'), None, None, 0)
    except OutputError as error:
        outcome = output_failure(error)
    except RecursionError:
        outcome = Failed(StepError("output_not_storable", "the output is nested too deep", "validation"))
    if isinstance(outcome, Skipped):
        return EncodedOutcome(_result(claimed, "skipped", milliseconds, ""), "skipped", None, 0)
    if isinstance(outcome, Suspended):
        seconds = "null" if outcome.seconds is None else repr(max(0.0, float(outcome.seconds)))
        rest = f',"seconds":{seconds}{_logs_text(outcome.logs)}'
        return EncodedOutcome(_result(claimed, "suspended", milliseconds, rest), None, None, 0)
    if isinstance(outcome, Failed):
        return EncodedOutcome(_encode_failed(claimed, outcome, milliseconds), None, None, 0)
    raise TypeError(f"a handler returned {type(outcome).__name__}, which is no outcome")


def encode_started(claimed: ClaimedStep, *, milliseconds: float) -> Result:
    """The message that a step has been running for a while; its lease goes on."""
    return Result(claimed, [Member(claimed.step_index, "started", milliseconds)], is_final=False)


def replacement(claimed: ClaimedStep) -> Result:
    """What is sent in place of a result that the database cannot take."""
    failed = Member(claimed.step_index, "failed", 0.0, rest=f',"error":{_encode_error(UNDELIVERABLE)}')
    return Result(claimed, [failed], is_replaced=True)


def results_text(results: Iterable[Result]) -> str:
    """The results as complete_and_claim takes them."""
    return f"[{','.join([result.text for result in results])}]"


def within(outcome: Ended, limits: Limits) -> Ended:
    """The outcome, or a failure when it asks for a longer delay than may be."""
    if isinstance(outcome, Suspended) and outcome.seconds is not None and outcome.seconds > limits.max_delay_seconds:
        message = f"a delay takes {limits.max_delay_seconds:,.0f} s at most"
        return Failed(StepError("delay_too_long", message, "validation"))
    return outcome


def render_failure(answer: RenderFailed) -> Failed:
    """What becomes of a step whose expressions have no value."""
    return Failed(StepError(code=answer.code, message=answer.message, error_class="expression"))


def _encode_completed(
    claimed: ClaimedStep,
    outcome: Completed,
    milliseconds: float,
    max_bytes: int,
    max_depth: int,
    *,
    word: str = "completed",
) -> EncodedOutcome:
    output, text = _output_text(outcome.output, max_bytes, max_depth)
    rest = ""
    if outcome.taken is not None:
        rest += f',"taken":{encode_json([storable_text(step) for step in outcome.taken])}'
    if outcome.logs:
        rest += _logs_text(outcome.logs)
    if outcome.detail is not None:
        rest += f',"detail":{_detail_text(outcome.detail)}'
    result = Result(claimed, [Member(claimed.step_index, word, milliseconds, text, rest)])
    weight = len(output) if isinstance(output, bytes) else weight_of(text)
    return EncodedOutcome(result, None if word == "again" else "completed", output, weight)


def _output_text(output: Json | JsonText, max_bytes: int, max_depth: int) -> tuple[Json | bytes, str]:
    """An output as contexts keep it, a large one as its text, and the text. Raises OutputError."""
    if isinstance(output, JsonText):
        check_size(len(output.data), max_bytes)
        check_depth(output.depth, max_depth)
        return bytes(output.data), output.data.decode()
    canonical, text = encode_output(output, max_bytes=max_bytes, max_depth=max_depth)
    return (canonical if len(text) <= HELD_BYTES else text.encode()), text


def _encode_failed(claimed: ClaimedStep, outcome: Failed, milliseconds: float) -> Result:
    rest = f',"error":{_encode_error(outcome.error)}{_logs_text(outcome.logs)}'
    if outcome.detail is not None:
        rest += f',"detail":{_detail_text(outcome.detail)}'
    return _result(claimed, "failed", milliseconds, rest)


def _logs_text(logs: tuple[tuple[str, str], ...]) -> str:
    """Lines for the history, as a member of the result; nothing without any."""
    if not logs:
        return ""
    lines: list[Json] = [
        {"level": level if level in LOG_LEVELS else "info", "message": storable_text(line, MAX_LOG_CHARACTERS)}
        for level, line in logs[:MAX_LOG_LINES]
    ]
    return f',"logs":{encode_json(lines)}'


def _encode_error(error: StepError) -> str:
    fields: dict[str, Json] = {
        "code": storable_text(error.code, 100),
        "message": storable_text(error.message),
        "class": storable_text(error.error_class, 100),
    }
    if error.retry_after_seconds is not None and 0 <= error.retry_after_seconds < 1e9:
        fields["retry_after"] = float(error.retry_after_seconds)
    if error.retryable is not None:
        fields["retryable"] = bool(error.retryable)
    text = encode_json(fields)
    return text if error.details is None else f'{text[:-1]},"details":{_detail_text(error.details)}}}'


def _detail_text(detail: Json) -> str:
    """Side information: dropped rather than let it fail a step."""
    try:
        text = encode_json(canonical_json(detail))
    except (OutputError, ValueError, RecursionError):
        return '{"dropped":"not storable"}'
    return text if len(text) <= MAX_DETAIL_BYTES else '{"dropped":"too large"}'


def _result(claimed: ClaimedStep, outcome: str, milliseconds: float, rest: str) -> Result:
    return Result(claimed, [Member(claimed.step_index, outcome, milliseconds, rest=rest)])
