"""Results as JUnit XML, in the form that CI servers read: a suite for each file, a test case for each case."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TextIO
from xml.etree import ElementTree as Xml

from flowgres_cli.testing.cases import Failure, Result

# What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class JunitReport:
    """Writes everything at the end: the heads say how many there were."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def case(self, result: Result) -> None:
        """Nothing yet."""

    def end(self, results: Sequence[Result], seconds: float) -> None:
        """The whole document."""
        root = Xml.Element("testsuites", {"name": "flowgres test", **_counts(results), "time": f"{seconds:.3f}"})
        files: dict[str, list[Result]] = {}
        for result in results:
            files.setdefault(result.case.source.file, []).append(result)
        began = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds")
        for file, own in files.items():
            own.sort(key=lambda result: result.case.number)
            took = sum(result.seconds for result in own)
            attributes = {"name": _text(file), **_counts(own), "time": f"{took:.3f}", "timestamp": began}
            suite = Xml.SubElement(root, "testsuite", attributes)
            for result in own:
                _add(suite, result)
        Xml.indent(root)
        self._stream.write('<?xml version="1.0" encoding="utf-8"?>\n')
        self._stream.write(Xml.tostring(root, encoding="unicode") + "\n")
        self._stream.flush()


def _add(suite: Xml.Element, result: Result) -> None:
    case = result.case
    name = {
        "name": _text(case.name),
        "classname": _text(_class_name(case.source.file)),
        "time": f"{result.seconds:.3f}",
    }
    element = Xml.SubElement(suite, "testcase", name)
    if result.failures:
        # One element, whatever was wrong: most readers take no more.
        first, more = _sentence(result.failures[0]), len(result.failures) - 1
        message = first + (f" (and {more} more)" if more else "")
        told = Xml.SubElement(element, "failure", {"message": _text(message), "type": "expectation"})
        told.text = _text("\n".join(_described(failure) for failure in result.failures))


def _counts(results: Sequence[Result]) -> dict[str, str]:
    failed = sum(not result.is_passed for result in results)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0", "skipped": "0"}


def _class_name(file: str) -> str:
    """Readers take dots for packages, and show the last part: the path without its suffix, folders as packages."""
    return file.partition(".test.")[0].strip("./").replace("/", ".")


def _sentence(failure: Failure) -> str:
    if failure.expected is None:
        return failure.message
    return f"{failure.message}: expected {failure.expected}, got {failure.got}"


def _described(failure: Failure) -> str:
    lines = [f"{failure.place}: {failure.message}"]
    if failure.expected is not None:
        lines += [f"expected  {failure.expected}", f"got       {failure.got}"]
    return "\n".join(lines)


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
