"""Results as text, TAP, JUnit and JSON, read by parsers that are not ours where there are any."""

from __future__ import annotations

import io
import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from junitparser import Failure as JunitFailure
from junitparser import JUnitXml

from flowgres_cli.durations import describe_seconds
from flowgres_cli.testing.cases import Case, Failure, Result, Source
from flowgres_cli.testing.reports import report_of
from flowgres_cli.testing.text import TextReport

NASTY = 'a # b \\ c: it\'s <"1">\x1b[31m\x00\ud800é'


def _case(file: str, number: int, name: str) -> Case:
    positions = {("cases", number): (10 + number, 5)}
    source = Source(file, positions, workflow=None, definitions=(), run_types=())  # type: ignore[arg-type]
    return Case(source, number, name, input={}, now=None, secrets={}, mocks=(), expect={})


FAILURES = (
    Failure("flows/a.test.yaml:12:7", "status", expected="completed", got=f"failed ({NASTY})"),
    Failure("flows/a.test.yaml:11:5", "no mock answers GET https://a.example/?x=<1>"),
)
RESULTS = [
    Result(_case("flows/a.test.yaml", 1, NASTY), FAILURES, 0.25),
    Result(_case("flows/a.test.yaml", 0, "first"), (), 0.5, virtual_seconds=2_592_010.5),
    Result(_case("./b.test.yaml", 0, "other"), (), 0.125),
]


def report(form: str) -> str:
    stream = io.StringIO()
    writer = report_of(form, stream)
    for result in RESULTS:
        writer.case(result)
    writer.end(RESULTS, 1.5)
    return stream.getvalue()


def read_tap(text: str) -> Iterator[tuple[bool, str, Any]]:
    """Whether it passed, description and diagnostics of each test point. Takes what TAP 14 says, and nothing else."""
    lines = iter(text.splitlines())
    assert next(lines) == "TAP version 14"
    numbers = itertools.count(1)
    for line in lines:
        plan = re.fullmatch(r"1\.\.([0-9]+)", line)
        if plan is not None:
            assert int(plan[1]) == next(numbers) - 1
            assert list(lines) == []
            return
        point = re.fullmatch(r"(not )?ok ([0-9]+) - ((?:[^\\#]|\\\\|\\#)*)", line)
        assert point is not None, line
        assert int(point[2]) == next(numbers)
        assert next(lines) == "  ---"
        block = []
        while (line := next(lines)) != "  ...":
            assert line.startswith("  ")
            block.append(line[2:])
        yield point[1] is None, re.sub(r"\\(.)", r"\1", point[3]), yaml.safe_load("\n".join(block))
    raise AssertionError("there is no plan")


def test_tap_is_read_by_the_letter_of_its_specification() -> None:
    points = list(read_tap(report("tap")))
    assert [is_passed for is_passed, _, _ in points] == [False, True, True]
    assert points[0][1].startswith("flows/a.test.yaml: a # b \\ c: it's")
    assert points[0][2]["at"] == "flows/a.test.yaml:11:5"
    assert [failure["message"] for failure in points[0][2]["failures"]] == [one.message for one in FAILURES]
    assert points[1][2] == {"duration_ms": 500, "virtual_duration_ms": 2_592_010_500}


def test_junit_is_read_by_a_common_reader() -> None:
    document = JUnitXml.fromstring(report("junit").encode())
    suites = {suite.name: suite for suite in document}
    assert list(suites) == ["flows/a.test.yaml", "./b.test.yaml"]
    assert (document.tests, document.failures, document.errors, document.skipped) == (3, 1, 0, 0)
    assert (suites["flows/a.test.yaml"].tests, suites["flows/a.test.yaml"].failures) == (2, 1)
    first, second = suites["flows/a.test.yaml"]
    assert (first.name, first.classname, first.time, first.is_passed) == ("first", "flows.a", 0.5, True)
    (failure,) = second.result
    assert isinstance(failure, JunitFailure)
    assert failure.message.startswith("status: expected completed, got failed (a # b")
    assert failure.message.endswith("(and 1 more)")
    assert "flows/a.test.yaml:11:5: no mock answers GET https://a.example/?x=<1>" in failure.text


def test_json_has_everything() -> None:
    document = json.loads(report("json").encode(errors="replace"))
    assert (document["passed"], document["failed"]) == (2, 1)
    assert document["cases"][0]["at"] == "flows/a.test.yaml:11:5"
    assert [failure["expected"] for failure in document["cases"][0]["failures"]] == ["completed", None]


def test_text_tells_what_differs_and_drives_no_terminal() -> None:
    lines = report("text").splitlines()
    assert lines[0].startswith("FAILED flows/a.test.yaml: a # b")
    assert lines[1] == "  flows/a.test.yaml:12:7: status"
    assert lines[2] == "    expected  completed"
    assert lines[4] == "  flows/a.test.yaml:11:5: no mock answers GET https://a.example/?x=<1>"
    assert "(0.50 s, 30d 10.5s virtual)" in lines[5]
    assert lines[-1] == "2 passed, 1 failed in 1.5 s"
    assert "\x1b" not in report("text")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colours_are_for_terminals_that_want_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = _Terminal()
    TextReport(terminal).case(RESULTS[1])
    assert "\x1b[32m" in terminal.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    plain = _Terminal()
    TextReport(plain).case(RESULTS[1])
    assert "\x1b" not in plain.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.25, "0.25s"), (60, "1m"), (3_601, "1h 1s"), (2_592_010.5, "30d 10.5s"), (86_399.9999999, "1d")],
)
def test_durations_are_written_as_people_do(seconds: float, text: str) -> None:
    assert describe_seconds(seconds) == text
