"""Random starts against a model of each rule, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.database import Clock, Database
from tests.support.races import refusal_code
from tests.support.starts import Starts

KEYS = ("a", "b")
PATIENCE_SECONDS = 0.9
"""The clock ticks while the test runs: waits are of whole seconds, and times are compared to within less than one."""

ACTIONS = st.lists(
    st.one_of(
        st.sampled_from(KEYS),
        st.sampled_from(KEYS),
        st.integers(1, 12),
        st.just("take"),
        st.sampled_from(["end a", "end b"]),
    ),
    min_size=5,
    max_size=25,
)
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def starts(database: Database, clock: Clock) -> Iterator[Starts]:
    with database.connect() as db:
        yield Starts(database, db, clock)


class Run:
    """Actions of one example, by a workflow of its own; `waiting` are executions that have not begun, by key."""

    _count = 0

    def __init__(self, starts: Starts, **rule: Any) -> None:
        Run._count += 1
        self.starts, self.name = starts, f"w{Run._count}"
        starts.rule(self.name, key="$.k", **rule)

    def start(self, key: str, number: int) -> dict[str, Any] | str:
        """The answer, or the code of the refusal."""
        try:
            return self.starts.start(workflow=self.name, k=key, n=number)
        except psycopg.Error as error:
            return refusal_code(error)

    def take(self) -> None:
        """Let what is due begin."""
        self.starts.db.run("select flowgres.promote_due(1000)")

    def end(self, id: str) -> None:
        self.starts.db.call("flowgres_api.cancel_execution", execution_id=id)

    def seconds(self) -> float:
        return float(self.starts.db.value("select extract(epoch from flowgres.now())::float8"))

    def begins(self, id: str) -> float:
        begins_at = "extract(epoch from coalesce(scheduled_at, created_at))::float8"
        return float(self.starts.db.value(f"select {begins_at} from flowgres.executions where id = %s", id))

    def number(self, id: str) -> int:
        return int(self.starts.db.value("select (input ->> 'n')::int from flowgres.executions where id = %s", id))


@SETTINGS
@given(actions=ACTIONS)
def test_debounce_is_as_its_model(starts: Starts, actions: list[Any]) -> None:
    run = Run(starts, debounce=5, max_wait=12)
    waiting: dict[str, dict[str, Any]] = {}
    for number, action in enumerate(actions):
        if isinstance(action, int):
            starts.clock.advance(seconds=action)
        elif action == "take":
            run.take()
            waiting = {key: one for key, one in waiting.items() if run.begins(one["id"]) > run.seconds()}
        elif action in KEYS:
            answer = run.start(action, number)
            assert isinstance(answer, dict)
            now = run.seconds()
            one = waiting.get(action)
            assert answer["created"] == (one is None)
            one = one or {"id": answer["execution_id"], "since": now}
            assert answer["execution_id"] == one["id"]
            assert run.number(one["id"]) == number
            assert abs(run.begins(one["id"]) - min(now + 5, one["since"] + 12)) < PATIENCE_SECONDS
            waiting[action] = one
            if run.begins(one["id"]) <= now:
                del waiting[action]  # it is ready already


@SETTINGS
@given(actions=ACTIONS, returns=st.booleans())
def test_singleton_is_as_its_model(starts: Starts, actions: list[Any], returns: bool) -> None:
    run = Run(starts, singleton="return" if returns else "reject")
    running: dict[str, str] = {}
    for number, action in enumerate(actions):
        if isinstance(action, int):
            starts.clock.advance(seconds=action)
        elif action in KEYS:
            answer = run.start(action, number)
            if action not in running:
                assert isinstance(answer, dict)
                assert answer["created"]
                running[action] = answer["execution_id"]
            elif returns:
                assert isinstance(answer, dict)
                assert (answer["execution_id"], answer["created"]) == (running[action], False)
            else:
                assert answer == "singleton_running"
        elif action.startswith("end ") and (id := running.pop(action[4:], None)):
            run.end(id)


@SETTINGS
@given(actions=ACTIONS, most=st.integers(1, 3), delays=st.booleans())
def test_throttle_is_as_its_model(starts: Starts, actions: list[Any], most: int, delays: bool) -> None:
    run = Run(starts, throttle={"limit": most, "per": 10, "when_full": "delay" if delays else "reject"})
    begins: dict[str, list[float]] = {key: [] for key in KEYS}
    for number, action in enumerate(actions):
        if isinstance(action, int):
            starts.clock.advance(seconds=action)
        elif action in KEYS:
            answer, now, known = run.start(action, number), run.seconds(), begins[action]
            free = known[-most] + 10 if len(known) >= most else now
            if isinstance(answer, str):
                assert answer == "start_throttled"
                assert not delays
                assert free > now - PATIENCE_SECONDS
                continue
            known.append(run.begins(answer["execution_id"]))
            assert abs(known[-1] - max(now, free)) < PATIENCE_SECONDS
            assert delays or free <= now
    for known in begins.values():
        assert known == sorted(known)
        for first, beyond in zip(known, known[most:], strict=False):
            assert beyond - first > 10 - PATIENCE_SECONDS
