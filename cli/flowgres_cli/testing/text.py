"""Results for a person: a line a case, and beneath a failed one what differs and where it is expected."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TextIO

from flowgres_cli.durations import describe_seconds
from flowgres_cli.output import clean
from flowgres_cli.testing.cases import Failure, Result

_STYLES = {"green": "32", "red": "31", "dim": "2", "bold": "1"}


class TextReport:
    """Writes each case as it ends; `is_coloured` on terminals only, and not with NO_COLOR."""

    def __init__(self, stream: TextIO, *, is_coloured: bool | None = None) -> None:
        self._stream = stream
        self._is_coloured = (
            is_coloured if is_coloured is not None else stream.isatty() and not os.environ.get("NO_COLOR")
        )

    def case(self, result: Result) -> None:
        """One case."""
        word = self._styled("ok    ", "green") if result.is_passed else self._styled("FAILED", "red")
        times = self._styled(f"({describe_times(result)})", "dim")
        self._line(f"{word} {clean(result.case.title)} {times}")
        for failure in result.failures:
            self._failure(failure)
        for note in result.notes:
            self._line(f"  {self._styled('note', 'dim')}  {clean(note)}")

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """The sum of it all."""
        failed = sum(not result.is_passed for result in results)
        passed = len(results) - failed
        counted = f"{passed} passed" + (f", {self._styled(f'{failed} failed', 'red')}" if failed else "")
        self._line(f"{counted} in {seconds:.1f} s")

    def _failure(self, failure: Failure) -> None:
        self._line(f"  {self._styled(failure.place, 'bold')}: {clean(failure.message)}")
        if failure.expected is not None:
            self._line(f"    expected  {clean(failure.expected)}")
            self._line(f"    got       {clean(failure.got or '')}")

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._is_coloured else text

    def _line(self, text: str) -> None:
        self._stream.write(text + "\n")
        self._stream.flush()


def describe_times(result: Result) -> str:
    """How long it took, and how long that was by the virtual clock where that is longer."""
    real = f"{result.seconds:.2f} s"
    return real if result.virtual_seconds < 1 else f"{real}, {describe_seconds(result.virtual_seconds)} virtual"
