"""Results as TAP 14 (https://testanything.org/tap-version-14-specification.html)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TextIO

from flowgres_cli.output import clean
from flowgres_cli.testing.cases import Failure, Result

Json = Any


class TapReport:
    """A test point for each case as it ends; the plan comes last, when it is known how many there were."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._count = 0
        self._write("TAP version 14")

    def case(self, result: Result) -> None:
        """One case; what was wrong stands below it as YAML."""
        self._count += 1
        word = "ok" if result.is_passed else "not ok"
        self._write(f"{word} {self._count} - {_escaped(result.case.title)}")
        self._diagnose(result)

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """The plan."""
        self._write(f"1..{self._count}")

    def _diagnose(self, result: Result) -> None:
        import yaml

        told: dict[str, Json] = {"duration_ms": round(result.seconds * 1000, 3)}
        if result.virtual_seconds:
            told["virtual_duration_ms"] = round(result.virtual_seconds * 1000, 3)
        if result.failures:
            told["severity"] = "fail"
            told["at"] = result.case.source.place(result.case.path)
            told["failures"] = [_as_yaml(failure) for failure in result.failures]
        text = yaml.safe_dump(told, sort_keys=False, allow_unicode=True, width=1_000)
        self._write("  ---")
        for line in text.splitlines():
            self._write(f"  {line}")
        self._write("  ...")

    def _write(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()


def _as_yaml(failure: Failure) -> dict[str, Json]:
    told = {"at": failure.place, "message": failure.message, "expected": failure.expected, "got": failure.got}
    return {name: value for name, value in told.items() if value is not None}


def _escaped(text: str) -> str:
    """A description: one line, in which nothing begins a directive."""
    return " ".join(clean(text).split()).replace("\\", "\\\\").replace("#", "\\#")
