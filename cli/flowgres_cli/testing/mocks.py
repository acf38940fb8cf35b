"""What a case puts in the place of the world: mocks, and which of their answers a step or a request gets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flowgres_cli.testing.matching import ABSENT, Path, fits, fits_url

Json = Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: an output or an error of the step, or else an answer of HTTP. `takes` are seconds."""

    output: Any = ABSENT
    error: Mapping[str, Json] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = ABSENT
    is_base64: bool = False
    takes: float = 0.0

    @property
    def is_http(self) -> bool:
        """Whether it is an answer of HTTP."""
        return self.output is ABSENT and self.error is None


@dataclass(frozen=True, slots=True, eq=False)
class Mock:
    """Whom it answers, and how. What is None does not matter; two mocks are never the same. `path`: where it stands."""

    step: str | None
    workflow: str
    url: str | None
    method: str | None
    when: Mapping[str, Json]
    answers: tuple[Answer, ...]
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asks: an attempt of a step of some workflow, with what it is about to do."""

    workflow: str
    step: str
    execution_id: str
    iteration: int | None
    attempt: int
    item: Json
    config: Json


def read_mock(given: Mapping[str, Json], workflow: str, path: Path = ()) -> Mock:
    """A mock as its file has it, in its canonical form; `workflow` is that under test."""
    listed = given.get("answers", [given])
    return Mock(
        step=given.get("step"),
        workflow=given.get("workflow", workflow),
        url=given.get("url"),
        method=given.get("method"),
        when=given.get("when", {}),
        answers=tuple(_read_answer(answer) for answer in listed),
        path=path,
    )


class Answers:
    """The mocks of one case, and how far their answers have come."""

    def __init__(self, mocks: tuple[Mock, ...]) -> None:
        self._mocks = mocks
        self._given: dict[tuple[object, ...], int] = {}

    def is_mocked(self, workflow: str, step: str) -> bool:
        """Whether there is a mock for a step as such, and not only for its requests."""
        return any(mock.url is None and mock.step == step and mock.workflow == workflow for mock in self._mocks)

    @property
    def unasked(self) -> list[Mock]:
        """Mocks that nobody has asked."""
        asked = {key[0] for key in self._given}
        return [mock for mock in self._mocks if mock not in asked]

    def of_step(self, asked: Asked) -> Answer | None:
        """The answer of the first mock that is for this step. Each item, and each child, begins with the first one."""
        for mock in self._mocks:
            if mock.url is None and _is_for(mock, asked) and _is_when(mock, asked):
                return self._next(mock, (mock, asked.execution_id, asked.iteration))
        return None

    def of_request(self, asked: Asked, method: str, url: str, json: Any) -> Answer | None:
        """The answer of the first mock that is for this request; `json` is its body, ABSENT when that is none."""
        for mock in self._mocks:
            if mock.url is None or not fits_url(mock.url, url) or mock.method not in (None, method):
                continue
            if (mock.step is None or _is_for(mock, asked)) and _is_when(mock, asked, json):
                key = (mock,) if asked.iteration is None else (mock, asked.execution_id, asked.step, asked.iteration)
                return self._next(mock, key)
        return None

    def _next(self, mock: Mock, key: tuple[object, ...]) -> Answer:
        number = self._given.get(key, 0)
        self._given[key] = number + 1
        return mock.answers[min(number, len(mock.answers) - 1)]


def _is_for(mock: Mock, asked: Asked) -> bool:
    return mock.step == asked.step and mock.workflow == asked.workflow


def _is_when(mock: Mock, asked: Asked, json: Any = ABSENT) -> bool:
    seen = {
        "item": ABSENT if asked.iteration is None else asked.item,
        "item_index": ABSENT if asked.iteration is None else asked.iteration,
        "attempt": asked.attempt,
        "config": asked.config,
        "json": json,
    }
    return all(fits(wanted, seen[name]) for name, wanted in mock.when.items())


def _read_answer(given: Mapping[str, Json]) -> Answer:
    return Answer(
        output=given.get("output", ABSENT),
        error=given.get("error"),
        status=given.get("status", 200),
        headers={name.lower(): _header(value) for name, value in given.get("headers", {}).items()},
        body=given.get("body", ABSENT),
        is_base64="body_encoding" in given,
        takes=float(given.get("takes", 0)),
    )


def _header(value: Json) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
