"""Which form results are told in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol, TextIO

from flowgres_cli.testing.cases import Failure, Result
from flowgres_cli.testing.junit import JunitReport
from flowgres_cli.testing.tap import TapReport
from flowgres_cli.testing.text import TextReport

Json = Any


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
    if form == "tap":
        return TapReport(stream)
    if form == "junit":
        return JunitReport(stream)
    return JsonReport(stream) if form == "json" else TextReport(stream)


class JsonReport:
    """One object at the end: {cases: [{file, line, name, passed, ...}], passed, failed, seconds}."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def case(self, result: Result) -> None:
        """Nothing yet."""

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """The whole object."""
        passed = sum(result.is_passed for result in results)
        document = {
            "cases": [_as_json(result) for result in results],
            "passed": passed,
            "failed": len(results) - passed,
            "seconds": round(seconds, 3),
        }
        self._stream.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        self._stream.flush()


def _as_json(result: Result) -> dict[str, Json]:
    case = result.case
    return {
        "file": case.source.file,
        "at": case.source.place(case.path),
        "name": case.name,
        "passed": result.is_passed,
        "seconds": round(result.seconds, 3),
        "virtual_seconds": result.virtual_seconds,
        "failures": [_failure(failure) for failure in result.failures],
        "notes": list(result.notes),
    }


def _failure(failure: Failure) -> dict[str, Json]:
    return {"at": failure.place, "message": failure.message, "expected": failure.expected, "got": failure.got}
