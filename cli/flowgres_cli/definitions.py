"""Definition files on disk: finding them, reading them, and telling what is wrong with them."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flowgres_cli.errors import UsageProblemError

if TYPE_CHECKING:
    from flowgres_definitions.custom_types import CustomType
    from flowgres_definitions.dialects import Translation

Json = Any
SUFFIXES = frozenset({".yaml", ".yml", ".json"})
CASE_SUFFIXES = (".test.yaml", ".test.yml", ".test.json")
"""Files of cases, for `flowgres test`: no definitions, though they lie beside them."""
STDIN = "-"
# A little above the loader's own limit, so that it is the loader that refuses, with its own words.
_MOST_BYTES = (1 << 20) + 4096
# What only the server knows: custom step types of its runners, and limits that an operator may have raised.
SERVER_DECIDES = frozenset({"unknown_step_type", "too_many_steps"})
_YAML_BODY = re.compile(rb"""^(["']?)(?:steps|states|workflow)\1[ \t]*:""", re.MULTILINE)
"""What makes a YAML text a definition, told without parsing, as the text may be broken."""

_SKIPPED_DIRECTORIES = frozenset({"node_modules", "__pycache__"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong in one file; `line` and `column` are 0 when the text has no place for it."""

    file: str
    line: int
    column: int
    path: str
    code: str
    message: str
    hint: str
    severity: str

    def describe(self) -> str:
        """file:line:col: message (hint)."""
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        prefix = f"{place}: " + (f"{self.path}: " if self.path else "")
        word = "warning: " if self.severity == "warning" else ""
        return f"{prefix}{word}{self.message}" + (f" ({self.hint})" if self.hint else "")

    def as_json(self) -> dict[str, Json]:
        """All members."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class DefinitionFile:
    """A file that could be read: its bytes as they are, the document in our words, and where its values stand."""

    file: str
    raw: bytes
    translation: Translation
    positions: Mapping[tuple[str | int, ...], tuple[int, int]]

    @property
    def document(self) -> dict[str, Json]:
        """The definition in our words, as the database takes it."""
        return self.translation.document

    @property
    def name(self) -> str:
        """The name that the workflow gets."""
        return str(self.document.get("name"))

    @property
    def media_type(self) -> str:
        """What the front is told about the text."""
        return "application/json" if self.raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else "application/yaml"


@dataclass(frozen=True, slots=True)
class Found:
    """Files with definitions, and YAML and JSON that was met on the way and is something else."""

    files: list[str]
    foreign: list[str]

    def describe_foreign(self) -> str:
        """One line about what was passed over; empty when nothing was that somebody may have meant.

        JSON lies beside definitions as their inputs and results; in YAML a workflow is what people expect.
        """
        names = [name for name in self.foreign if not name.endswith(".json")]
        if not names:
            return ""
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return f"passed over, as there is no workflow in it: {shown}"


def find_files(paths: Sequence[str]) -> Found:
    """The files of these paths: a file as it is, a directory walked for YAML and JSON definitions, `-` for stdin.

    Raises UsageProblemError for a path that does not exist, and when nothing is found.
    """
    found: dict[str, None] = {}
    foreign: dict[str, None] = {}
    for path in paths:
        if path == STDIN or Path(path).is_file():
            # `*.yaml` of a shell names those with cases as well.
            (foreign if path.endswith(CASE_SUFFIXES) else found)[path] = None
        elif Path(path).is_dir():
            for file in _walk(Path(path)):
                (found if _may_be_definition(file) else foreign)[str(file)] = None
        else:
            raise UsageProblemError("no such file or directory", where=path)
    if not found:
        what = "no file with a workflow" if foreign else "no YAML or JSON file"
        raise UsageProblemError(
            f"{what} in {', '.join(paths)}",
            hint="Definitions end in .yaml, .yml or .json and have steps or states. A file that is named is checked.",
        )
    return Found(list(found), list(foreign))


def read_bytes(file: str) -> bytes:
    """The bytes of a file or of stdin, cut a little above what a definition may have."""
    if file == STDIN:
        return sys.stdin.buffer.read(_MOST_BYTES)
    try:
        with Path(file).open("rb") as stream:
            return stream.read(_MOST_BYTES)
    except OSError as error:
        raise UsageProblemError(f"cannot read the file: {error.strerror}", where=file) from error


def check_file(file: str) -> tuple[DefinitionFile | None, list[Finding]]:
    """Read and check one file; without a definition when the text itself is broken."""
    return check_text(read_bytes(file), file=file)


def check_text(raw: bytes, *, file: str = STDIN) -> tuple[DefinitionFile | None, list[Finding]]:
    """Check the text of one file; without a definition when the text itself is broken."""
    from flowgres_definitions.dialects import translate
    from flowgres_definitions.loader import load_definition
    from flowgres_definitions.problems import DefinitionError
    from flowgres_definitions.validation import validate_document

    try:
        loaded = load_definition(raw, source="" if file == STDIN else file)
    except DefinitionError as error:
        return None, [_finding(file, error.problem)]
    definition = DefinitionFile(file, raw, translate(loaded.document), loaded.positions)
    problems = validate_document(loaded.document, positions=loaded.positions, custom_types=installed_types())
    return definition, [_finding(file, problem) for problem in problems]


@cache
def installed_types() -> Mapping[str, CustomType]:
    """Step types that packages have brought into this environment; one that cannot be used is told once."""
    from flowgres_cli.output import say
    from flowgres_definitions.custom_types import find_installed_types

    return find_installed_types(
        lambda name, fault: say(f"warning: the installed step type {name} cannot be used: {fault}")
    )


def server_findings(definition: DefinitionFile, answer: Mapping[str, Json]) -> list[Finding]:
    """The errors and warnings that validate_workflow answered with, placed in the file."""
    from flowgres_definitions.problems import Problem, parse_path

    findings = []
    severity: Literal["error", "warning"]
    for severity, member in (("error", "errors"), ("warning", "warnings")):
        for told in answer.get(member) or ():
            known = told if isinstance(told, dict) else {"message": str(told)}
            problem = Problem(
                path="",
                code=str(known.get("code") or "invalid"),
                message=str(known.get("message") or known.get("code")),
                hint=str(known.get("hint") or ""),
                severity=severity,
            )
            path = parse_path(str(known.get("path") or ""))
            findings.append(
                _finding(definition.file, definition.translation.place(problem, path, definition.positions))
            )
    return findings


def in_dependency_order(definitions: Sequence[DefinitionFile]) -> list[DefinitionFile]:
    """Workflows before those that call or start them; otherwise, and around cycles, the order as given."""
    by_name: dict[str, DefinitionFile] = {}
    for definition in definitions:
        by_name.setdefault(definition.name, definition)
    ordered: dict[str, DefinitionFile] = {}
    visiting: set[str] = set()
    for first in definitions:
        stack: list[tuple[DefinitionFile, Iterator[str]]] = []
        if first.file not in ordered and first.file not in visiting:
            visiting.add(first.file)
            stack.append((first, iter(sorted(called_workflows(first.document)))))
        while stack:
            definition, names = stack[-1]
            name = next(names, None)
            if name is None:
                ordered[definition.file] = definition
                stack.pop()
                continue
            child = by_name.get(name)
            if child is not None and child.file not in visiting:
                visiting.add(child.file)
                stack.append((child, iter(sorted(called_workflows(child.document)))))
    return list(ordered.values())


def called_workflows(document: Mapping[str, Json]) -> set[str]:
    """Names that sub_workflow and transition steps, and transitions that start one, give as plain text."""
    steps = _objects(document.get("steps"))
    calls = [one.get("config") for one in steps if one.get("type") in ("sub_workflow", "transition")]
    calls += [one.get("start") for one in _objects(document.get("transitions"))]
    return {call["workflow"] for call in _objects(calls) if isinstance(call.get("workflow"), str)}


def _objects(values: Json) -> list[dict[str, Json]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def named_secrets(document: Json) -> set[str]:
    """Secrets that the expressions of a definition name."""
    from flowgres_definitions.expressions import find_references, texts_with_expressions

    return {
        name
        for text in texts_with_expressions(document)
        for name in find_references(text, secrets_allowed=True).secrets
    }


def left_to_server(definitions: Sequence[DefinitionFile]) -> str | None:
    """What no file can tell of these, as a sentence; None when they name nothing that is elsewhere."""
    own = {definition.name for definition in definitions}
    called = {name for one in definitions for name in called_workflows(one.document) if "{{" not in name} - own
    secrets = {name for one in definitions for name in named_secrets(one.document)}
    parts = [
        f"the {word}{'s' * (len(names) > 1)} {', '.join(sorted(names))}"
        for word, names in (("workflow", called), ("secret", secrets))
        if names
    ]
    told = []
    if parts:
        told.append(
            f"Only a server can tell whether {' and '.join(parts)} {_are(called | secrets)} there: --server asks it."
        )
    if any("guard" in transition for one in definitions for transition in _objects(one.document.get("transitions"))):
        told.append("Only a server can read the guards of transitions: --server asks it.")
    return " ".join(told) or None


def _are(names: set[str]) -> str:
    return "are" if len(names) > 1 else "is"


def print_findings(findings: Iterable[Finding]) -> tuple[int, int]:
    """Say each one on stderr; return the number of errors and of warnings."""
    from flowgres_cli.output import say

    errors = warnings = 0
    for finding in findings:
        say(finding.describe())
        errors, warnings = errors + (finding.severity == "error"), warnings + (finding.severity == "warning")
    return errors, warnings


def _finding(file: str, problem: Any) -> Finding:
    return Finding(
        file="stdin" if file == STDIN else file,
        line=problem.line,
        column=problem.column,
        path=problem.path,
        code=problem.code,
        message=problem.message,
        hint=problem.hint,
        severity=problem.severity,
    )


def _walk(root: Path) -> Iterator[Path]:
    for folder, directories, files in os.walk(root):
        directories[:] = sorted(d for d in directories if not d.startswith(".") and d not in _SKIPPED_DIRECTORIES)
        for name in sorted(files):
            path = Path(folder) / name
            if path.suffix.lower() in SUFFIXES and not name.startswith(".") and not name.endswith(CASE_SUFFIXES):
                yield path


def _may_be_definition(path: Path) -> bool:
    """False for what is plainly something else, such as the input of an example: it was found, not named.

    A definition has a list of steps or states, or a header under `workflow`; the steps of an execution, as an
    expected result has them, are an object. A text that is broken may be a definition: its mistake has to be told.
    """
    try:
        raw = path.read_bytes()[:_MOST_BYTES]
    except OSError:
        return True
    if path.suffix.lower() != ".json" and raw.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] != b"{":
        return _YAML_BODY.search(raw) is not None
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError):
        return True
    if not isinstance(document, dict):
        return False
    has_body = isinstance(document.get("steps"), list) or isinstance(document.get("states"), list)
    return has_body or isinstance(document.get("workflow"), dict) or ("name" in document and "steps" in document)
