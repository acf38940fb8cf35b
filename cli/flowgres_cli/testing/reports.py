"""Which form results are told in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TextIO

from flowgres_cli.testing.cases import Result
from flowgres_cli.testing.text import TextReport


class Report(Protocol):
    """Hears of each case as it ends, and of all at the end."""

    def case(self, result: Result) -> None:
        """A case has ended."""
        ...

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """All have; it took so many real seconds."""
        ...


def report_of(form: str, stream: TextIO) -> Report:
    """The report of a form: text, tap, junit or json."""
    return TextReport(stream)
