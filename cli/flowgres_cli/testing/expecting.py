"""Judging a case: what was expected, and what came of it instead."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from flowgres_cli.durations import describe_seconds
from flowgres_cli.testing.cases import Case, Failure, Outcome
from flowgres_cli.testing.checking import branch_name
from flowgres_cli.testing.matching import ABSENT, Difference, Path, compare, fits_url
from flowgres_cli.testing.ordering import in_order
from flowgres_cli.testing.world import Sent
from flowgres_definitions.problems import format_path

Json = Any
_MOST_CHARACTERS = 2_000
_DURATION_SLACK_SECONDS = 1.0


def judge(case: Case, outcome: Outcome) -> tuple[Failure, ...]:
    """Everything that is not as it was expected; secrets are masked in it."""
    return tuple(_Judge(case, outcome).failures())


class _Judge:
    def __init__(self, case: Case, outcome: Outcome) -> None:
        self._case = case
        self._expect = case.expect
        self._outcome = outcome

    def failures(self) -> Iterator[Failure]:
        for sentence in dict.fromkeys(self._outcome.unanswered):
            yield Failure(self._case.source.place(self._case.path), self._masked(sentence))
        yield from self._status()
        if "error" in self._expect:
            yield from self._compare(("error",), self._expect["error"], self._error or ABSENT)
        if self._outcome.execution is None:
            return
        if "outputs" in self._expect:
            got = self._outcome.execution.get("output")
            yield from self._compare(("outputs",), self._expect["outputs"], got, is_exact=True)
        yield from self._steps()
        yield from self._branches()
        yield from self._requests()
        if "duration" in self._expect:
            wanted, got = float(self._expect["duration"]), self._outcome.virtual_seconds
            if abs(wanted - got) >= _DURATION_SLACK_SECONDS:
                yield self._failure(("duration",), describe_seconds(wanted), describe_seconds(got))

    @property
    def _error(self) -> Mapping[str, Json] | None:
        if self._outcome.execution is None:
            return self._outcome.refusal
        error: Mapping[str, Json] | None = self._outcome.execution.get("error")
        return error

    def _status(self) -> Iterator[Failure]:
        execution, is_failing = self._outcome.execution, "error" in self._expect
        got = "refused" if execution is None else execution["status"]
        wanted = self._expect.get(
            "status", ("refused" if execution is None else "failed") if is_failing else "completed"
        )
        if got != wanted:
            yield self._failure(("status",), wanted, f"{got}{_because(self._error)}")

    def _steps(self) -> Iterator[Failure]:
        known = self._known_steps()
        for name, wanted in self._expect.get("steps", {}).items():
            row = known.get(name, {"status": "pending"})
            path: Path = ("steps", name)
            if isinstance(wanted, str):
                if row["status"] != wanted:
                    yield self._failure(path, wanted, f"{row['status']}{_because(row.get('error'))}")
                continue
            yield from self._compare(path, wanted, row)

    def _known_steps(self) -> dict[str, Mapping[str, Json]]:
        assert self._outcome.execution is not None  # noqa: S101 - the caller has looked
        listed = {step["step"]: step for step in self._outcome.execution["steps"] or ()}
        return {**listed, **self._outcome.items}

    def _branches(self) -> Iterator[Failure]:
        known = self._known_steps()
        for name, wanted in self._expect.get("branches", {}).items():
            row = known.get(name, {"status": "pending"})
            output = row.get("output")
            got = output.get("branch") if isinstance(output, dict) else None
            if got != branch_name(wanted):
                shown = got if got is not None else f"none, it is {row['status']}{_because(row.get('error'))}"
                yield self._failure(("branches", name), branch_name(wanted), shown)

    def _requests(self) -> Iterator[Failure]:
        if "requests" not in self._expect:
            return
        wanted = self._expect["requests"]
        got = in_order(self._case, self._outcome)
        for number, expected in enumerate(wanted):
            path: Path = ("requests", number)
            if number >= len(got):
                yield self._failure(path, self._shown(expected), "no more requests")
                continue
            for difference in _compare_request(expected, got[number], self._case.source.workflow.name):
                yield self._difference(path, difference)
        for sent in got[len(wanted) :]:
            yield self._failure(("requests",), "no more requests", f"{sent.method} {sent.url} of {_of(sent)}")

    def _compare(self, path: Path, expected: Json, got: Any, *, is_exact: bool = False) -> Iterator[Failure]:
        for difference in compare(expected, got, is_exact=is_exact):
            yield self._difference(path, difference)

    def _difference(self, path: Path, difference: Difference) -> Failure:
        return self._failure((*path, *difference.path), self._shown(difference.expected), self._shown(difference.got))

    def _failure(self, path: Path, expected: str, got: str) -> Failure:
        whole = (*self._case.path, "expect", *path)
        return Failure(
            self._case.source.place(whole), format_path(path), expected=self._masked(expected), got=self._masked(got)
        )

    def _shown(self, value: Any) -> str:
        if value is ABSENT:
            return "nothing"
        text = json.dumps(value, ensure_ascii=False, default=str)
        return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"

    def _masked(self, text: str) -> str:
        for secret in self._case.secrets.values():
            text = text.replace(secret, "***").replace(json.dumps(secret)[1:-1], "***")
        return text


def _compare_request(expected: Mapping[str, Json], sent: Sent, main: str) -> Iterator[Difference]:
    asked = sent.asked
    seen: dict[str, Any] = {
        "step": asked.step,
        "workflow": asked.workflow,
        "method": sent.method,
        "url": sent.url,
        "json": sent.json,
        "body": sent.text,
        "item_index": ABSENT if asked.iteration is None else asked.iteration,
        "attempt": asked.attempt,
    }
    if "step" in expected and "workflow" not in expected:
        expected = {**expected, "workflow": main}
    for name, wanted in expected.items():
        if name == "headers":
            yield from _compare_headers(wanted, sent.headers)
        elif name != "url":
            yield from compare(wanted, seen[name], is_exact=False, path=(name,))
        elif not fits_url(wanted, sent.url):
            yield Difference((name,), wanted, sent.url)


def _compare_headers(expected: Mapping[str, Json], headers: Mapping[str, str]) -> Iterator[Difference]:
    lower = {name.lower(): value for name, value in headers.items()}
    for name, wanted in expected.items():
        text = wanted if isinstance(wanted, dict | str) else json.dumps(wanted)
        yield from compare(text, lower.get(name.lower(), ABSENT), is_exact=False, path=("headers", name))


def _because(error: Any) -> str:
    """The reason that an error gives, in brackets."""
    if not isinstance(error, Mapping):
        return ""
    step = f"{error['step']}: " if error.get("step") else ""
    return f" ({step}{error.get('code')}: {error.get('message')})"


def _of(sent: Sent) -> str:
    asked = sent.asked
    return asked.step if asked.iteration is None else f"{asked.step}[{asked.iteration}]"
