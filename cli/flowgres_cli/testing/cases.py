"""What is run, and what came of it: cases, outcomes, failures and results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowgres_cli.definitions import DefinitionFile
from flowgres_cli.testing.matching import Path
from flowgres_cli.testing.mocks import Mock
from flowgres_cli.testing.world import Sent
from flowgres_definitions.problems import Positions, locate

Json = Any


@dataclass(frozen=True, slots=True)
class Source:
    """A file of cases, and the workflows that it needs: those that are started by others first."""

    file: str
    positions: Positions
    workflow: DefinitionFile
    definitions: tuple[DefinitionFile, ...]
    run_types: tuple[str, ...]

    def place(self, path: Path) -> str:
        """file:line:column of a value."""
        line, column = locate(path, self.positions)
        return f"{self.file}:{line}:{column}" if line else self.file


@dataclass(frozen=True, slots=True)
class Case:
    """One case, with what its file says for all of them. `number` is its place there; `now` None is the real time."""

    source: Source
    number: int
    name: str
    input: Json
    now: datetime | None
    secrets: Mapping[str, str]
    mocks: tuple[Mock, ...]
    expect: Mapping[str, Json]

    @property
    def title(self) -> str:
        """File and name."""
        return f"{self.source.file}: {self.name}"

    @property
    def path(self) -> Path:
        """Where it stands in its file."""
        return ("cases", self.number)


@dataclass(frozen=True, slots=True)
class Execution:
    """One that a case has brought about; `parent` is the execution and the step that started it."""

    workflow: str
    parent: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case.

    `execution` is as get_execution gives it, with the items of `foreach` steps in `items`: {step[0]: row}. Without an
    execution the start was refused, for `refusal`: {code, message, details}.
    """

    execution: Mapping[str, Json] | None
    items: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    executions: Mapping[str, Execution] = field(default_factory=dict)
    sent: Sequence[Sent] = ()
    unanswered: Sequence[str] = ()
    refusal: Mapping[str, Json] | None = None
    virtual_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a case failed: a sentence and where it stands; beneath it, where two values differ, both as texts."""

    place: str
    message: str
    expected: str | None = None
    got: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A case that has ended; it passed when there are no failures. `seconds` are real ones.

    `notes` are worth a look, and no failures: each a sentence with its place. `outcome` is what was judged,
    None when the engine refused the workflow; of one that was given up it is how far it came.
    """

    case: Case
    failures: tuple[Failure, ...]
    seconds: float
    virtual_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    outcome: Outcome | None = None
    is_given_up: bool = False

    @property
    def is_passed(self) -> bool:
        """Whether nothing was wrong."""
        return not self.failures
