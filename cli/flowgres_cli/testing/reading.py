"""Files of cases: finding them, reading them, and telling what is wrong with them before anything runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flowgres_cli.definitions import CASE_SUFFIXES, DefinitionFile, Finding, check_file, in_dependency_order, read_bytes
from flowgres_cli.errors import UsageProblemError
from flowgres_cli.testing.cases import Case, Source
from flowgres_cli.testing.checking import Workflows, find_problems
from flowgres_cli.testing.mocks import read_mock
from flowgres_definitions.description import case_description
from flowgres_definitions.document import Loaded
from flowgres_definitions.durations import parse_moment
from flowgres_definitions.form import form_value
from flowgres_definitions.loader import load_definition
from flowgres_definitions.problems import DefinitionError, Problem, place
from flowgres_definitions.problems import Path as ValuePath
from flowgres_definitions.schema import check_value

Json = Any
_SKIPPED_DIRECTORIES = frozenset({"node_modules", "__pycache__"})


def find_case_files(paths: Sequence[str]) -> list[str]:
    """The files of these paths: a file as it is, a directory walked for *.test.yaml, *.test.yml and *.test.json.

    Raises UsageProblemError for a path that does not exist, and when nothing is found.
    """
    found: dict[str, None] = {}
    for path in paths:
        if Path(path).is_file():
            found[path] = None
        elif Path(path).is_dir():
            found.update(dict.fromkeys(_walk(Path(path))))
        else:
            raise UsageProblemError("no such file or directory", where=path)
    if not found:
        hint = "Cases lie in files such as order.test.yaml. A file that is named is read whatever its name."
        raise UsageProblemError(f"no file of cases in {', '.join(paths)}", hint=hint)
    return list(found)


class Reader:
    """Reads files of cases; workflows that several of them need are read and checked once."""

    def __init__(self) -> None:
        self._definitions: dict[str, tuple[DefinitionFile | None, list[Finding]]] = {}
        self._told: set[str] = set()

    def read(self, file: str) -> tuple[list[Case], list[Finding]]:
        """The cases of a file, and all that is wrong with it and its workflows; with an error there are no cases."""
        try:
            loaded = load_definition(read_bytes(file), source=file)
        except DefinitionError as error:
            return [], [_finding(file, error.problem)]
        schema = case_description()
        given = {key: value for key, value in loaded.document.items() if key != "$schema"}
        moves: dict[ValuePath, ValuePath] = {}
        formed = form_value(given, schema, schema, (), moves)
        findings = [
            _placed(file, loaded, path, problem, moves) for path, problem in check_value(formed, schema, schema)
        ]
        if findings:
            return [], _sorted(findings)
        workflow, others, findings = self._read_workflows(file, loaded, formed, moves)
        if workflow is None or any(finding.severity == "error" for finding in findings):
            return [], findings
        definitions = tuple(in_dependency_order([workflow, *others]))
        known = Workflows.of(workflow.document, [definition.document for definition in others])
        findings += _sorted(
            [_placed(file, loaded, path, problem, moves) for path, problem in find_problems(formed, known)]
        )
        if any(finding.severity == "error" for finding in findings):
            return [], findings
        source = Source(file, loaded.positions, workflow, definitions, tuple(formed.get("run_types", ())))
        return [_case(source, formed, number) for number in range(len(formed["cases"]))], findings

    def _read_workflows(
        self, file: str, loaded: Loaded, formed: Mapping[str, Json], moves: Mapping[ValuePath, ValuePath]
    ) -> tuple[DefinitionFile | None, list[DefinitionFile], list[Finding]]:
        named: list[tuple[ValuePath, str]] = [(("workflow",), formed["workflow"])]
        named += [(("also", number), name) for number, name in enumerate(formed.get("also", ()))]
        found: list[DefinitionFile | None] = []
        findings: list[Finding] = []
        for path, name in named:
            beside = os.path.normpath(Path(file).parent / name)
            if not Path(beside).is_file():
                problem = Problem("", "file_not_found", f"there is no file {name}", "Paths are relative to this file.")
                findings.append(_placed(file, loaded, path, problem, moves))
                found.append(None)
                continue
            definition, told = self._read_definition(beside)
            findings += told
            found.append(definition)
        names = [definition.name for definition in found if definition is not None]
        for (path, _), definition in zip(named[1:], found[1:], strict=True):
            if definition is not None and names.count(definition.name) > 1:
                message = f'the workflow "{definition.name}" is named twice'
                findings.append(_placed(file, loaded, path, Problem("", "duplicate_workflow", message), moves))
                break
        return found[0], [definition for definition in found[1:] if definition is not None], findings

    def _read_definition(self, file: str) -> tuple[DefinitionFile | None, list[Finding]]:
        """A definition, and what is wrong with it: warnings once, errors to everybody who needs it."""
        if file not in self._definitions:
            self._definitions[file] = check_file(file)
        definition, findings = self._definitions[file]
        fresh = [finding for finding in findings if file not in self._told or finding.severity == "error"]
        self._told.add(file)
        return definition, fresh


def _case(source: Source, formed: Mapping[str, Json], number: int) -> Case:
    given = formed["cases"][number]
    now = given.get("now", formed.get("now"))
    path: ValuePath = ("cases", number, "mocks")
    mocks = [(mock, (*path, place)) for place, mock in enumerate(given.get("mocks", ()))]
    mocks += [(mock, ("mocks", place)) for place, mock in enumerate(formed.get("mocks", ()))]
    return Case(
        source=source,
        number=number,
        name=given["name"],
        input=given.get("input", {}),
        now=_moment(now),
        secrets={**formed.get("secrets", {}), **given.get("secrets", {})},
        mocks=tuple(read_mock(mock, source.workflow.name, path) for mock, path in mocks),
        expect=given.get("expect", {}),
    )


def _moment(text: str | None) -> datetime | None:
    return None if text is None else parse_moment(text)


def _placed(
    file: str, loaded: Loaded, path: ValuePath, problem: Problem, moves: Mapping[ValuePath, ValuePath]
) -> Finding:
    path = moves.get(path, path)
    return _finding(file, replace(place(problem, path, loaded.positions), severity=problem.severity))


def _finding(file: str, problem: Problem) -> Finding:
    return Finding(
        file, problem.line, problem.column, problem.path, problem.code, problem.message, problem.hint, problem.severity
    )


def _sorted(findings: list[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: (finding.line, finding.column))


def _walk(root: Path) -> Iterator[str]:
    for folder, directories, files in os.walk(root):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d not in _SKIPPED_DIRECTORIES)
        yield from (str(Path(folder) / name) for name in sorted(files) if name.endswith(CASE_SUFFIXES))
