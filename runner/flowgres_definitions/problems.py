"""What can be wrong with a definition, and where: one value type, one exception.

ValueError
└── DefinitionError     the text cannot be read at all (syntax, limits, duplicate keys ...)
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

Json = Any
"""A plain JSON value: None, bool, int, float, str, list or dict with text keys."""

Path = tuple[str | int, ...]
"""Where a value is in a document: ("steps", 2, "config", "url")."""

Positions = Mapping[Path, tuple[int, int]]
"""Line and column, both from 1, of the values of a loaded text; of the key for members of a mapping."""


_WORD = re.compile(r"[A-Za-z0-9_-]+")
_PATH_PART = re.compile(r'\.?([A-Za-z0-9_-]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]')


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a definition.

    `code` is a stable word, `message` a sentence that never quotes input data of an execution, `hint` how to fix it
    ("" when there is none). `line` and `column` start at 1 and are 0 when the document has no text.
    """

    path: str
    code: str
    message: str
    hint: str = ""
    severity: Literal["error", "warning"] = "error"
    line: int = 0
    column: int = 0

    def as_json(self) -> dict[str, Json]:
        """The members that `validate_workflow` answers with; those without a value are left out."""
        result: dict[str, Json] = {"path": self.path, "code": self.code, "message": self.message}
        if self.hint:
            result["hint"] = self.hint
        if self.line:
            result["line"], result["column"] = self.line, self.column
        return result

    def describe(self, source: str = "") -> str:
        """One line for a person: `file:line:column: path: message (hint)`."""
        place = ":".join(str(part) for part in (source, self.line, self.column) if part)
        prefix = ": ".join(part for part in (place, self.path) if part)
        text = f"{prefix}: {self.message}" if prefix else self.message
        return f"{text} ({self.hint})" if self.hint else text


class DefinitionError(ValueError):
    """The text of a definition cannot be read; `problem` says where and why."""

    def __init__(self, problem: Problem, source: str = "") -> None:
        self.problem = problem
        self.source = source
        super().__init__(problem.describe(source))

    @property
    def code(self) -> str:
        return self.problem.code

    @property
    def path(self) -> str:
        return self.problem.path

    @property
    def line(self) -> int:
        return self.problem.line

    @property
    def column(self) -> int:
        return self.problem.column

    @property
    def message(self) -> str:
        return self.problem.message

    @property
    def hint(self) -> str:
        return self.problem.hint


def format_path(path: Iterable[str | int]) -> str:
    """Write a path as people write it: `steps[2].config.url`; the empty path is ""."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _WORD.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f'["{part[:60]}"]'
    return text


def parse_path(text: str) -> Path:
    """The parts of a path as problems write it: steps[2].config.url."""
    parts: list[str | int] = []
    for match in _PATH_PART.finditer(text):
        word, index, quoted = match.groups()
        parts.append(int(index) if index is not None else word if word is not None else quoted)
    return tuple(parts)


def locate(path: Path, positions: Positions | None) -> tuple[int, int]:
    """Line and column of a path, or of the nearest parent that the text knows; (0, 0) without a text."""
    if positions:
        for end in range(len(path), -1, -1):
            found = positions.get(path[:end])
            if found is not None:
                return found
    return 0, 0


def place(problem: Problem, path: Path, positions: Positions | None) -> Problem:
    """The same problem at a path of the document, with the line and column that the text gives it."""
    line, column = locate(path, positions)
    return replace(problem, path=format_path(path), line=line, column=column)


def is_one_of(value: Json, words: Set[str]) -> bool:
    """Whether a value of any kind is one of these words. Lists and mappings cannot even be looked up in a set."""
    return isinstance(value, str) and value in words


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint that names the closest known word, else a few of them, else "".

    Only short words are compared: difflib is quadratic and the words are an author's.
    """
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6) if len(word) <= 64 else []
    if close:
        return f'Did you mean "{close[0]}"?'
    return f"One of: {', '.join(choices)}." if 0 < len(choices) <= 20 else ""
