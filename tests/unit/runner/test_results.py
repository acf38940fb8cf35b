"""What goes to the database."""

from __future__ import annotations

import json
from typing import Any

from flowgres_runner.database.queries import ClaimedStep
from flowgres_runner.execution.results import encode_outcome, encode_started, replacement, results_text
from flowgres_runner.steps.base import (
    ChildStarted,
    Completed,
    Failed,
    Outcome,
    Skipped,
    StepError,
    Suspended,
    TransitionAsked,
)

STEP = ClaimedStep(7, 3, "tenant", "execution", "version", 2, -1, 1, 1, False, None, None)


def sent(outcome: Outcome, *, max_bytes: int = 1000) -> dict[str, Any]:
    encoded = encode_outcome(STEP, outcome, milliseconds=1.5, max_bytes=max_bytes)
    (result,) = json.loads(results_text([encoded.result]))
    head = {"t": "tenant", "x": "execution", "q": 7, "k": 3, "s": 2, "ms": 1.5}
    assert {key: result.pop(key) for key in head} == head
    return dict(result)


def test_each_outcome_has_its_form() -> None:
    completed = Completed({"a": 1}, taken=("x",), logs=(("info", "hello"),), detail={"status": 200})
    assert sent(completed) == {
        "o": "completed",
        "out": {"a": 1},
        "taken": ["x"],
        "logs": [{"level": "info", "message": "hello"}],
        "detail": {"status": 200},
    }
    assert sent(Skipped()) == {"o": "skipped"}
    assert sent(Suspended(2.5)) == {"o": "suspended", "seconds": 2.5}
    assert sent(Suspended(None)) == {"o": "suspended", "seconds": None}
    assert sent(ChildStarted("w", None, {"k": 1})) == {
        "o": "child",
        "workflow": "w",
        "version": None,
        "input": {"k": 1},
    }
    assert sent(TransitionAsked({"to": "paid"})) == {"o": "transition", "input": {"to": "paid"}}
    failed = Failed(StepError("http_429", "slow down", "429", retry_after_seconds=3, details={"a": 1}))
    assert sent(failed) == {
        "o": "failed",
        "error": {"code": "http_429", "message": "slow down", "class": "429", "retry_after": 3.0, "details": {"a": 1}},
    }


def test_output_that_is_too_large_becomes_a_permanent_failure() -> None:
    assert sent(Completed("x" * 200), max_bytes=100)["error"]["code"] == "output_too_large"
    assert sent(ChildStarted("w", None, "x" * 200), max_bytes=100)["error"]["class"] == "validation"


def test_messages_are_made_storable() -> None:
    failed = sent(Failed(StepError("x", "a\0b\ud800", "internal", details="\0"), detail=float("nan")))
    assert failed["error"]["message"] == "a\ufffdb?"
    assert failed["error"]["details"] == {"dropped": "not storable"}
    assert failed["detail"] == {"dropped": "not storable"}


def test_started_leaves_the_lease_and_replacement_ends_it() -> None:
    started = encode_started(STEP, milliseconds=1)
    assert not started.is_final
    failed = replacement(STEP)
    assert failed.is_final
    assert json.loads(failed.text)["error"]["code"] == "result_refused"


def test_steps_run_ahead_are_members_of_the_object_of_their_lease() -> None:
    chain = encode_outcome(STEP, Completed(1), milliseconds=1).result
    for index in (4, 6):
        chain.add(encode_outcome(STEP._replace(step_index=index), Completed(index), milliseconds=2).result)
    (sent_object,) = json.loads(results_text([chain]))
    assert sent_object["s"] == 2
    assert sent_object["ahead"] == [
        {"s": 4, "o": "completed", "ms": 2.0, "out": 4},
        {"s": 6, "o": "completed", "ms": 2.0, "out": 6},
    ]
    head = chain.simpler()
    assert head is not None
    assert "ahead" not in json.loads(head.text)
    assert head.simpler() is None
