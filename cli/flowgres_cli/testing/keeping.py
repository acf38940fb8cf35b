"""Getting a real run from the API, and writing the file of cases that is made of it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flowgres_cli.client import Client
from flowgres_cli.definitions import SUFFIXES, check_file, find_files
from flowgres_cli.errors import CliError, UsageProblemError
from flowgres_cli.output import say
from flowgres_cli.testing.recording import Run, record_cases

Json = Any
_PAGE = 1_000
# What reads as a number, a boolean or null by YAML 1.2, and perhaps not by the 1.1 of the library that writes it.
_AMBIGUOUS = re.compile(r"[-+.0-9~].*|null|true|false|", re.IGNORECASE | re.DOTALL)


def record_execution(client: Client, execution_id: str, *, workflow: str | None, target: str | None) -> str:
    """The text of a file of cases for an execution; with `target` it is written there, and "" is returned.

    `workflow` is the file of its workflow. Otherwise that is looked for beside the target, and written there when it is
    not there. Raises CliError.
    """
    run = fetch_run(client, execution_id)
    folder = Path(target).parent if target is not None else Path()
    name = str(run.definition["name"])
    file = Path(workflow) if workflow is not None else _find_workflow(folder, name)
    if file is None:
        file = folder / f"{name}.yaml"
        if target is None:
            say(f"the case names {file}, which is not here; --output-file writes it along with the case")
        else:
            _write(file, as_yaml(run.definition))
    elif not file.is_file():
        raise UsageProblemError("no such file", where=str(file))
    first = f"# Recorded from execution {run.execution['id']}, version {run.execution['version']} of {name}.\n"
    text = first + as_yaml(record_cases(run, os.path.relpath(file, folder)))
    if target is None:
        return text
    _write(Path(target), text)
    return ""


def fetch_run(client: Client, execution_id: str) -> Run:
    """A run with all that is told of it."""
    execution = client.call("get_execution", {"execution_id": execution_id})
    of_it = {"execution_id": f"eq.{execution_id}"}
    versions = client.select(
        "workflow_versions",
        {
            "workflow_id": f"eq.{execution['workflow_id']}",
            "version": f"eq.{execution['version']}",
            "select": "definition",
        },
    )
    if not versions:
        raise CliError("the version that was run is not there any more", code="execution_not_recordable")
    return Run(
        execution=execution,
        attempts=_select_all(client, "attempts", {**of_it, "order": "step,iteration,attempt"}),
        items=_select_all(client, "step_executions", {**of_it, "iteration": "not.is.null", "order": "step,iteration"}),
        definition=versions[0]["definition"],
        is_repaired=bool(
            client.select("execution_events", {**of_it, "type": "eq.step_repaired", "select": "seq", "limit": 1})
        ),
    )


def as_yaml(document: Mapping[str, Json]) -> str:
    """YAML that our loader reads as the same document."""
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Without aliases, and with quotes around whatever could be taken for something else than a text."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.Node:
    style = '"' if _AMBIGUOUS.fullmatch(text) else "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def _select_all(client: Client, view: str, parameters: Mapping[str, str | int]) -> list[dict[str, Json]]:
    rows: list[dict[str, Json]] = []
    while True:
        page = client.select(view, {**parameters, "limit": _PAGE, "offset": len(rows)})
        rows += page
        if len(page) < _PAGE:
            return rows


def _find_workflow(folder: Path, name: str) -> Path | None:
    """The definition of a workflow in a folder."""
    beside = [str(path) for path in sorted(folder.iterdir()) if path.suffix in SUFFIXES] if folder.is_dir() else []
    if not beside:
        return None
    try:
        files = find_files(beside).files
    except UsageProblemError:
        return None
    for file in files:
        definition, _ = check_file(file)
        if definition is not None and definition.name == name and not file.partition(".test.")[1]:
            return Path(file)
    return None


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CliError(f"cannot write the file: {error.strerror}", where=str(path)) from error
    say(f"{path} written")
