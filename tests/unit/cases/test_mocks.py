"""Which mock answers, and with what."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flowgres_cli.testing.matching import ABSENT
from flowgres_cli.testing.mocks import Answer, Answers, Asked, read_mock

ASKED = Asked("orders", "charge", "x1", iteration=None, attempt=1, item=None, config={"json": {"amount": 5}})


def answers(*mocks: dict[str, Any]) -> Answers:
    return Answers(tuple(read_mock(mock, "orders") for mock in mocks))


def output(answer: Answer | None) -> Any:
    return None if answer is None else answer.output


def test_first_mock_that_fits_answers() -> None:
    given = answers(
        {"step": "ship", "output": 0},
        {"step": "charge", "workflow": "other", "output": 1},
        {"step": "charge", "when": {"attempt": 2}, "output": 2},
        {"step": "charge", "output": 3},
        {"step": "charge", "output": 4},
    )
    assert output(given.of_step(ASKED)) == 3
    assert output(given.of_step(replace(ASKED, attempt=2))) == 2
    assert output(given.of_step(replace(ASKED, workflow="other"))) == 1
    assert given.of_step(replace(ASKED, step="wait")) is None


def test_answers_come_one_after_the_other_and_the_last_one_stays() -> None:
    given = answers({"step": "charge", "answers": [{"output": 1}, {"output": 2}]})
    assert [output(given.of_step(ASKED)) for _ in range(4)] == [1, 2, 2, 2]


def test_each_item_and_each_child_has_answers_of_its_own() -> None:
    given = answers({"step": "charge", "answers": [{"output": 1}, {"output": 2}]})
    first, second = replace(ASKED, iteration=0), replace(ASKED, iteration=1)
    child = replace(ASKED, execution_id="x2")
    asked = [first, second, first, child, second]
    assert [output(given.of_step(one)) for one in asked] == [1, 1, 2, 1, 2]


def test_address_is_answered_in_the_order_of_requests() -> None:
    given = answers({"url": "https://a.example/*", "method": "GET", "answers": [{"status": 500}, {"status": 200}]})
    statuses = [
        None if answer is None else answer.status
        for answer in (
            given.of_request(ASKED, "GET", "https://a.example/1", ABSENT),
            given.of_request(replace(ASKED, step="ship"), "GET", "https://a.example/2", ABSENT),
            given.of_request(ASKED, "POST", "https://a.example/2", ABSENT),
        )
    ]
    assert statuses == [500, 200, None]


def test_item_and_body_decide() -> None:
    given = answers(
        {"step": "charge", "when": {"item": {"sku": "a"}}, "output": 1},
        {"step": "charge", "when": {"item_index": 1}, "output": 2},
        {"step": "charge", "when": {"config": {"json": {"amount": 5}}}, "output": 3},
        {"step": "charge", "url": "https://a.example/*", "when": {"json": {"amount": 5}}, "status": 204},
    )
    assert output(given.of_step(replace(ASKED, iteration=0, item={"sku": "a", "n": 1}))) == 1
    assert output(given.of_step(replace(ASKED, iteration=1, item="b"))) == 2
    assert output(given.of_step(ASKED)) == 3
    found = given.of_request(ASKED, "GET", "https://a.example/", {"amount": 5, "more": 1})
    assert found is not None
    assert found.status == 204
    assert given.of_request(ASKED, "GET", "https://a.example/", {"amount": 6}) is None
    assert given.of_request(ASKED, "GET", "https://a.example/", ABSENT) is None


def test_mocks_that_nobody_asked_are_known() -> None:
    given = answers({"step": "charge", "output": 1}, {"step": "charge", "output": 2}, {"url": "*", "status": 200})
    given.of_step(ASKED)
    assert [mock.answers[0].output for mock in given.unasked] == [2, ABSENT]


def test_step_is_mocked_as_such_or_by_its_requests_alone() -> None:
    given = answers({"step": "charge", "output": 1}, {"step": "ship", "url": "https://a.example", "status": 200})
    assert given.is_mocked("orders", "charge")
    assert not given.is_mocked("orders", "ship")
    assert not given.is_mocked("other", "charge")
