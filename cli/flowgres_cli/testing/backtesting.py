"""Recorded executions on another version of their workflow: with the answers that they got then."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.definitions import check_file, print_findings
from flowgres_cli.errors import CliError, InvalidDefinitionError, NotFoundError, UsageProblemError
from flowgres_cli.signals import signals_as_interrupt
from flowgres_cli.testing.cases import Case, Result
from flowgres_cli.testing.drafts import Recorded, as_difference, find_obstacle, record_for, unanswered
from flowgres_cli.testing.keeping import fetch_run
from flowgres_cli.testing.reading import Reader
from flowgres_cli.testing.recording import Run
from flowgres_cli.testing.running import Harness
from flowgres_cli.testing.throwaway import throw_away_database

Json = Any
SAME, DIFFERS, UNKNOWN = "same", "differs", "unknown"


@dataclass(frozen=True, slots=True)
class Draft:
    """What is tried: a definition, and what it is called in reports."""

    document: Mapping[str, Json]
    name: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one recorded execution: `same`, `differs` with its differences, or `unknown` with reasons."""

    execution_id: str
    version: int
    verdict: str
    differences: Sequence[Mapping[str, Json]] = ()
    reasons: Sequence[str] = ()
    notes: Sequence[str] = ()

    @property
    def row(self) -> dict[str, Json]:
        """As JSON."""
        return {
            "execution_id": self.execution_id,
            "version": self.version,
            "verdict": self.verdict,
            "differences": list(self.differences),
            "reasons": list(self.reasons),
            "notes": list(self.notes),
        }


def read_draft(client: Client, workflow: str, *, version: int | None, file: str | None) -> Draft:
    """The definition of a file, of a version, or of the newest one. Raises CliError."""
    if file is not None:
        definition, findings = check_file(file)
        errors, _ = print_findings(findings)
        if errors or definition is None:
            raise InvalidDefinitionError(f"{errors} errors; nothing was run", where=file)
        if definition.name != workflow:
            raise UsageProblemError(
                f"it defines {definition.name!r}, and not {workflow!r}",
                where=file,
                hint="Give the file of the workflow.",
            )
        return Draft(definition.document, file)
    query: dict[str, str | int] = {
        "workflow_name": f"eq.{workflow}",
        "select": "version,definition",
        "order": "version.desc",
        "limit": 1,
    }
    if version is not None:
        query["version"] = f"eq.{version}"
    rows = client.select("workflow_versions", query)
    if not rows:
        which = "" if version is None else f" of version {version}"
        raise NotFoundError(f"there is no workflow {workflow!r}{which}", code="version_not_found")
    return Draft(rows[0]["definition"], f"version {rows[0]['version']}")


def find_ended(client: Client, workflow: str, *, last: int, since: str | None) -> list[str]:
    """The ids of the executions of a workflow that have ended, newest first. Raises UsageProblemError without any."""
    query: dict[str, str | int] = {
        "workflow_name": f"eq.{workflow}",
        "status": "in.(completed,failed,cancelled)",
        "select": "id",
        "order": "id.desc",
        "limit": last,
    }
    if since is not None:
        query["created_at"] = f"gte.{since}"
    rows = client.select("executions", query)
    if not rows:
        raise UsageProblemError(f"no execution of {workflow!r} has ended", hint="flowgres executions list")
    return [str(row["id"]) for row in rows]


def backtest(
    client: Client,
    draft: Draft,
    execution_ids: Sequence[str],
    *,
    timeout_seconds: float,
    database_url: str | None,
    on_verdict: Callable[[Verdict], None],
) -> list[Verdict]:
    """Run recorded executions on a draft; the verdicts in the order of the executions."""
    verdicts: dict[str, Verdict] = {}

    def tell(verdict: Verdict) -> None:
        verdicts[verdict.execution_id] = verdict
        on_verdict(verdict)

    with tempfile.TemporaryDirectory(prefix="flowgres-backtest-") as folder:
        (Path(folder) / "draft.json").write_text(json.dumps(draft.document), encoding="utf-8")
        reader = Reader()
        ready: dict[str, tuple[Case, Recorded, Run]] = {}
        for number, execution_id in enumerate(execution_ids):
            found = _prepare(client, draft, execution_id, reader, Path(folder) / f"{number}.test.json")
            if isinstance(found, Verdict):
                tell(found)
            else:
                ready[found[0].source.file] = found

        def on_result(result: Result) -> None:
            tell(_judge(draft, result, *ready[result.case.source.file][1:]))

        if ready:
            with signals_as_interrupt(), throw_away_database(database_url) as database:
                harness = Harness(database, run_types=(), timeout_seconds=timeout_seconds, on_result=on_result)
                asyncio.run(harness.run([case for case, _, _ in ready.values()]))
    return [verdicts[execution_id] for execution_id in execution_ids if execution_id in verdicts]


def _prepare(
    client: Client, draft: Draft, execution_id: str, reader: Reader, file: Path
) -> tuple[Case, Recorded, Run] | Verdict:
    version = 0
    try:
        run = fetch_run(client, execution_id)
        version = int(run.execution["version"])
        obstacle = find_obstacle(run, draft.document)
        if obstacle is not None:
            return Verdict(execution_id, version, UNKNOWN, reasons=(obstacle,))
        recorded = record_for(run, draft.document, "draft.json")
    except CliError as error:
        # Not to be replayed at all, or gone since it was listed.
        if error.code not in ("execution_not_recordable", "execution_not_found"):
            raise
        return Verdict(execution_id, version, UNKNOWN, reasons=(error.message,))
    file.write_text(json.dumps(recorded.document), encoding="utf-8")
    cases, findings = reader.read(str(file))
    if not cases:
        reasons = tuple(f"{one.path}: {one.message}" for one in findings if one.severity == "error")
        return Verdict(execution_id, version, UNKNOWN, reasons=reasons)
    return cases[0], recorded, run


def _judge(draft: Draft, result: Result, recorded: Recorded, run: Run) -> Verdict:
    id, version = str(run.execution["id"]), int(run.execution["version"])
    if result.outcome is None or result.is_given_up:
        return Verdict(id, version, UNKNOWN, reasons=tuple(failure.message for failure in result.failures))
    reasons = unanswered(recorded, run, draft.document, result.outcome)
    if reasons:
        return Verdict(id, version, UNKNOWN, reasons=reasons, notes=recorded.notes)
    differences = (*recorded.differences, *(as_difference(failure) for failure in result.failures))
    verdict = DIFFERS if differences else SAME
    return Verdict(id, version, verdict, differences, notes=recorded.notes)
