"""The world as one case makes it: what it was asked for, what it answered, and what it had no answer to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowgres_cli.testing.matching import ABSENT
from flowgres_cli.testing.mocks import Answer, Answers, Asked


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was made, `at` a moment of the virtual clock."""

    asked: Asked
    at: datetime
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None

    @property
    def text(self) -> Any:
        """The body as a text, ABSENT when there is none."""
        return ABSENT if self.body is None else self.body.decode(errors="replace")

    @property
    def json(self) -> Any:
        """The body as JSON, ABSENT when it is none."""
        try:
            return ABSENT if self.body is None else json.loads(self.body)
        except (ValueError, RecursionError):
            return ABSENT


@dataclass(slots=True)
class World:
    """Of one case. `unanswered` are sentences about what no mock was for."""

    answers: Answers
    sent: list[Sent] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Attempt:
    """An attempt that is under way; `answer` is what its own mock gives to its next request."""

    world: World
    asked: Asked
    answer: Answer | None = None


current_attempt: ContextVar[Attempt | None] = ContextVar("current_attempt", default=None)
