"""What goes to the database."""

from __future__ import annotations

import json
from typing import Any

from flowgres_runner.queries import ClaimedStep
from flowgres_runner.results import Outbox, Result, batch_text, encode_outcome, encode_started, replacement
from flowgres_runner.steps.base import ChildStarted, Completed, Failed, Outcome, Skipped, StepError, Suspended

STEP = ClaimedStep(7, 3, "tenant", "execution", "version", 2, -1, 1, 1, False, None, None)


def sent(outcome: Outcome, *, max_bytes: int = 1000) -> dict[str, Any]:
    encoded = encode_outcome(STEP, outcome, milliseconds=1.5, max_bytes=max_bytes)
    (result,) = json.loads(batch_text([encoded.result]))
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
    failed = replacement(Result(STEP, "poison"))
    assert failed.is_final
    assert json.loads(failed.text)["error"]["code"] == "result_refused"


def test_outbox_keeps_the_order_of_what_is_put_back() -> None:
    outbox = Outbox()
    results = [Result(STEP, str(number)) for number in range(5)]
    outbox.put(results)
    batch = outbox.take(3)
    assert outbox.arrived.is_set()
    outbox.put_back(batch)
    outbox.settle(batch)
    assert [result.text for result in outbox.take(10)] == ["0", "1", "2", "3", "4"]


def test_outbox_gives_results_of_one_execution_to_one_lane_at_a_time() -> None:
    outbox = Outbox()
    other = STEP._replace(execution_id="018f0000-0000-7000-8000-00000000000b")
    outbox.put([Result(STEP, "a0"), Result(STEP, "a1"), Result(other, "b0"), Result(STEP, "a2"), Result(other, "b1")])
    first = outbox.take(1)
    assert [result.text for result in first] == ["a0"]
    second = outbox.take(10)
    assert [result.text for result in second] == ["b0", "b1"]
    outbox.put([Result(STEP, "a3")])
    outbox.arrived.clear()
    assert outbox.take(10) == []
    outbox.settle(second)
    assert outbox.take(10) == []
    outbox.settle(first)
    assert outbox.arrived.is_set(), "somebody has to come for what was held back"
    assert [result.text for result in outbox.take(10)] == ["a1", "a2", "a3"]
