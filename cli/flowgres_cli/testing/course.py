"""A run of `flowgres test` from its files to its exit code."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

from flowgres_cli.definitions import print_findings
from flowgres_cli.errors import CliError, InvalidDefinitionError, UsageProblemError
from flowgres_cli.signals import signals_as_interrupt
from flowgres_cli.testing.cases import Case, Result
from flowgres_cli.testing.reading import Reader, find_case_files
from flowgres_cli.testing.reports import report_of
from flowgres_cli.testing.running import Harness
from flowgres_cli.testing.throwaway import throw_away_database


class CasesFailedError(CliError):
    """Cases failed; the report has said which."""


def run_files(
    paths: Sequence[str],
    *,
    chosen: str | None,
    form: str,
    target: str | None,
    stops_at_failure: bool,
    timeout_seconds: float,
    database_url: str | None,
) -> None:
    """Run the cases of files and folders and report on them.

    Raises InvalidDefinitionError before anything runs when a file is wrong, CasesFailedError when a case failed.
    """
    began = time.monotonic()
    cases = read_cases(paths)
    if chosen is not None:
        cases = [case for case in cases if chosen in case.name]
        if not cases:
            raise UsageProblemError(f"no case has {chosen!r} in its name")
    results: list[Result] = []
    with _opened(target) as stream:
        reports = [report_of(form, stream)]
        if stream is not sys.stdout and form != "text":
            # The file is for programs; whoever waits wants to see how it goes.
            reports.append(report_of("text", sys.stdout))

        def on_result(result: Result) -> None:
            results.append(result)
            for report in reports:
                report.case(result)

        with signals_as_interrupt(), throw_away_database(database_url) as database:
            harness = Harness(
                database,
                run_types={name for case in cases for name in case.source.run_types},
                timeout_seconds=timeout_seconds,
                stops_at_failure=stops_at_failure,
                on_result=on_result,
            )
            asyncio.run(harness.run(cases))
        places = {case.title: place for place, case in enumerate(cases)}
        results.sort(key=lambda result: places[result.case.title])
        for report in reports:
            report.end(results, time.monotonic() - began)
    failed = sum(not result.is_passed for result in results)
    if failed:
        raise CasesFailedError(f"{failed} of {len(results)} cases failed", where=target)


def read_cases(paths: Sequence[str]) -> list[Case]:
    """The cases of files and folders. Raises InvalidDefinitionError, having said everything that is wrong."""
    reader = Reader()
    cases, findings = [], []
    files = find_case_files(paths)
    for file in files:
        found, told = reader.read(file)
        cases += found
        findings += told
    errors, _ = print_findings(dict.fromkeys(findings))
    if errors:
        raise InvalidDefinitionError(
            f"{errors} error{'s' * (errors != 1)} in {len(files)} file{'s' * (len(files) != 1)}; nothing was run"
        )
    return cases


@contextlib.contextmanager
def _opened(target: str | None) -> Iterator[TextIO]:
    if target is None or target == "-":
        yield sys.stdout
        return
    try:
        stream = Path(target).open("w", encoding="utf-8")  # noqa: SIM115 - what is written there has errors of its own
    except OSError as error:
        raise CliError(f"cannot write the file: {error.strerror}", where=target) from error
    with stream:
        yield stream
