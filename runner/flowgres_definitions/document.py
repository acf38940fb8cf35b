"""Build a plain JSON document from a stream of values, with the limits and the positions of its text."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from .language import MAX_DEPTH, MAX_NUMBER_CHARACTERS
from .problems import DefinitionError, Json, Path, Problem, format_path

MAX_VALUES = 100_000

Mark = tuple[int, int]
"""Line and column, from 1."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A document and where its values stand in the text; `source` is the name of the file, or ""."""

    document: dict[str, Json]
    positions: dict[Path, Mark]
    source: str = ""


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not come yet."""

    value: dict[str, Json] | list[Json]
    path: Path
    key: str | None = None
    key_mark: Mark = (0, 0)


@dataclass(slots=True)
class DocumentBuilder:
    """Takes the values of a text in their order; never recurses, so depth costs nothing before it is refused."""

    source: str
    positions: dict[Path, Mark] = field(default_factory=dict)
    document: Json = None
    _open: list[_Open] = field(default_factory=list)
    _values: int = 0

    def fail(self, code: str, message: str, mark: Mark, hint: str = "", path: Path | None = None) -> DefinitionError:
        """An error at a mark; raise it."""
        where = self._next_path() if path is None else path
        line, column = mark
        problem = Problem(path=format_path(where), code=code, message=message, hint=hint, line=line, column=column)
        return DefinitionError(problem, self.source)

    @property
    def expects_key(self) -> bool:
        """The next scalar is the key of a mapping."""
        return bool(self._open) and isinstance(self._open[-1].value, dict) and self._open[-1].key is None

    def add_key(self, key: Json, mark: Mark) -> None:
        """The key of the next value."""
        top = self._open[-1]
        if not isinstance(key, str):
            raise self.fail("key_not_text", "keys are texts", mark, "put the key in quotes", top.path)
        self._check_text(key, mark)
        if key in top.value:
            line = self.positions[(*top.path, key)][0]
            raise self.fail(
                "duplicate_key", f"the key {key[:60]!r} is given twice (first in line {line})", mark, "", top.path
            )
        top.key, top.key_mark = key, mark

    def add_value(self, value: Json, mark: Mark) -> None:
        """A scalar."""
        if isinstance(value, str):
            self._check_text(value, mark)
        elif isinstance(value, float) and not math.isfinite(value):
            raise self.fail("number_invalid", "the number is not finite", mark, "quote it if it is text")
        self._put(value, mark)

    def begin(self, value: dict[str, Json] | list[Json], mark: Mark) -> None:
        """A mapping or a list begins; its members follow."""
        if self.expects_key:
            raise self.fail("key_not_text", "keys are texts, not lists or mappings", mark)
        if len(self._open) >= MAX_DEPTH:
            raise self.fail("definition_too_deep", f"values are nested at most {MAX_DEPTH} levels deep", mark, "", ())
        self._open.append(_Open(value, self._put(value, mark)))

    def end(self) -> None:
        """The innermost mapping or list is complete."""
        self._open.pop()

    def number(self, text: str, base: int, mark: Mark) -> int | float:
        """The number that a literal stands for, if a double can hold its magnitude."""
        if len(text) <= MAX_NUMBER_CHARACTERS:
            try:
                value = int(text, base) if base else float(text)
                if math.isfinite(float(value)):
                    return value
            except (ValueError, OverflowError):
                pass
        raise self.fail("number_invalid", "the number is too large", mark, "quote it if it is text")

    def finish(self, mark: Mark = (1, 1)) -> Loaded:
        """The document, which must be a mapping."""
        if not isinstance(self.document, dict):
            found = (
                "empty" if self.document is None else "a list" if isinstance(self.document, list) else "a single value"
            )
            raise self.fail(
                "definition_not_object", f"a definition is a mapping, this is {found}", mark, "begin with `name:`", ()
            )
        return Loaded(self.document, self.positions, self.source)

    def _next_path(self) -> Path:
        if not self._open:
            return ()
        top = self._open[-1]
        if isinstance(top.value, list):
            return (*top.path, len(top.value))
        return top.path if top.key is None else (*top.path, top.key)

    def _put(self, value: Json, mark: Mark) -> Path:
        self._values += 1
        if self._values > MAX_VALUES:
            raise self.fail("definition_too_large", f"a definition has at most {MAX_VALUES:,} values", mark, "", ())
        path = self._next_path()
        if not self._open:
            self.document = value
        else:
            top = self._open[-1]
            if isinstance(top.value, list):
                top.value.append(value)
            elif top.key is not None:
                top.value[top.key] = value
                mark = top.key_mark
                top.key = None
        self.positions[path] = mark
        return path

    def _check_text(self, text: str, mark: Mark) -> None:
        if "\0" in text:
            raise self.fail("invalid_character", "a text holds a NUL character, which cannot be stored", mark)
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise self.fail("invalid_character", "a text holds half of a surrogate pair", mark) from None
