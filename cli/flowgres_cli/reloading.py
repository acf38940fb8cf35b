"""Importing definitions of a folder, and again whenever they change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.definitions import SERVER_DECIDES, STDIN, check_file, find_files, in_dependency_order
from flowgres_cli.errors import CliError, UsageProblemError
from flowgres_cli.importing import import_definition
from flowgres_cli.output import say

Json = Any
_Fingerprint = tuple[int, int]


class Reloader:
    """Knows when which file was imported, by its time of change and size: polled, which works on every file system.

    `base` is left out where files are named.
    """

    def __init__(self, client: Client, paths: Sequence[str], *, base: str = "") -> None:
        if STDIN in paths:
            raise UsageProblemError("stdin cannot be watched", hint="Name files or directories.")
        self._client = client
        self._paths = paths
        self._base = base
        self._known: dict[str, _Fingerprint] = {}

    def import_changed(self) -> int:
        """Import what is new or changed; problems are said, never raised. Returns how many went in."""
        changed = self._changed()
        definitions, count = [], 0
        for file in changed:
            try:
                definition, findings = check_file(file)
            except CliError as error:  # it vanished between two looks
                say(f"{file}: {error.message}")
                continue
            findings = [finding for finding in findings if finding.code not in SERVER_DECIDES]
            for finding in findings:
                say(finding.describe())
            if definition is not None and not any(finding.severity == "error" for finding in findings):
                definitions.append(definition)
        for definition in in_dependency_order(definitions):
            try:
                answer = import_definition(self._client, definition)
            except CliError as error:
                say(f"{definition.file}: {error.message}" + (f" ({error.hint})" if error.hint else ""))
                continue
            count += 1
            word = "imported" if answer.get("created") else "unchanged"
            file = definition.file.removeprefix(self._base)
            say(f"{word}  {file}: {answer.get('name')} version {answer.get('version')}")
        return count

    def _changed(self) -> list[str]:
        try:
            files = find_files(self._paths).files
        except UsageProblemError:  # nothing in it is a workflow any more, or it is gone for the moment
            files = []
        # What was one stays one while it is being edited, however broken it is.
        files = list(dict.fromkeys([*files, *self._known]))
        changed = []
        for file in files:
            try:
                status = os.stat(file)
            except OSError:
                continue
            fingerprint = (status.st_mtime_ns, status.st_size)
            if self._known.get(file) != fingerprint:
                self._known[file] = fingerprint
                changed.append(file)
        return changed
