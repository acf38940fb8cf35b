"""Rules of starts (settings.start): what one start after the other becomes, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.support.database import Clock, Database
from tests.support.starts import Starts


@pytest.fixture
def starts(database: Database, clock: Clock) -> Iterator[Starts]:
    """A tenant whose starts go by rules."""
    with database.connect() as db:
        yield Starts(database, db, clock)


def test_debounced_starts_are_one_execution_with_the_last_input(starts: Starts) -> None:
    starts.rule(debounce=10, key="$.k")
    first = starts.start(k="a", n=1)
    starts.clock.advance(seconds=6)
    again = starts.start(k="a", n=2)
    other = starts.start(k="b", n=3)
    assert (first["created"], again["created"], other["created"]) == (True, False, True)
    assert first["execution_id"] == again["execution_id"] != other["execution_id"]
    starts.clock.advance(seconds=6)
    assert starts.run() == []
    starts.clock.advance(seconds=5)
    assert starts.run() == [{"k": "a", "n": 2}, {"k": "b", "n": 3}]
    assert starts.start(k="a", n=4)["created"]


def test_debounce_waits_no_longer_than_it_may(starts: Starts) -> None:
    starts.rule(debounce=10, max_wait=25)
    ran: list[Any] = []
    for number in range(12):
        starts.start(n=number)
        starts.clock.advance(seconds=5)
        ran += starts.run()
    assert [row["n"] for row in ran] == [4, 9]


@pytest.mark.parametrize(("response", "created"), [("return", False), ("reject", None)])
def test_singleton_is_alone_until_it_ends(starts: Starts, response: str, created: bool | None) -> None:
    starts.rule(singleton=response, key="$.k")
    first = starts.start(k=1)
    assert starts.start(k="1")["created"], "a text is another key than a number"
    if response == "return":
        assert starts.start(k=1) == {**first, "created": False, "scheduled_at": None}
    else:
        with pytest.raises(psycopg.Error) as refusal:
            starts.start(k=1)
        assert (refusal.value.sqlstate, refusal.value.diag.constraint_name) == ("FG409", "singleton_running")
        assert refusal.value.diag.message_detail == first["execution_id"]
    assert len(starts.run()) == 2
    assert starts.start(k=1)["created"]


def test_throttle_delays_what_is_too_much(starts: Starts) -> None:
    starts.rule(throttle={"limit": 2, "per": 60})
    for number in range(5):
        assert starts.start(n=number)["created"]
    ran = [starts.run()]
    for _ in range(2):
        starts.clock.advance(seconds=61)
        ran.append(starts.run())
    assert [[row["n"] for row in rows] for rows in ran] == [[0, 1], [2, 3], [4]]
