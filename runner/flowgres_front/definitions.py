"""What the front does to a definition before SQL sees it: read it, move an inline secret out, check all that parses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from flowgres_definitions.custom_types import CustomType
from flowgres_definitions.loader import load_definition
from flowgres_definitions.problems import DefinitionError, Problem, locate
from flowgres_definitions.validation import validate_document

_SECRET_SUFFIX = "_WEBHOOK_SECRET"  # noqa: S105 - the end of a name
_MAX_SECRET_NAME = 63
_PATH_PART = re.compile(r'\.?([A-Za-z0-9_-]+)|\[(\d+)\]|\["((?:[^"\\]|\\.)*)"\]')


@dataclass(frozen=True, slots=True)
class InlineSecret:
    """A secret that stood in the definition, and the name it is stored under."""

    name: str
    value: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reading:
    """A definition as it was read: what to import, the secret that was in it, and what is wrong."""

    document: dict[str, Any]
    secret: InlineSecret | None
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """All but the document, which travels as text."""
        return {
            "is_readable": bool(self.document),
            "secret": None if self.secret is None else [self.secret.name, self.secret.value],
            "errors": self.errors,
            "warnings": self.warnings,
        }


def read_definition(
    raw: bytes, *, format: Literal["yaml", "json"], custom_types: Mapping[str, Any], max_steps: int
) -> Reading:
    """Load and check a definition; a text that cannot be read at all is a Reading with that one error.

    `custom_types` are as the database tells of them: {type: {config_schema, secret_places}}.
    Takes as long as a megabyte of YAML takes, so it belongs in a process of its own.
    """
    try:
        loaded = load_definition(raw, format=format)
    except DefinitionError as error:
        return Reading({}, None, [error.problem.as_json()], [])
    document, secret = move_inline_secret(loaded.document)
    types = {name: CustomType.from_json(name, value) for name, value in custom_types.items()}
    problems = validate_document(document, loaded.positions, custom_types=types, max_steps=max_steps)
    errors = [problem.as_json() for problem in problems if problem.severity == "error"]
    warnings = [problem.as_json() for problem in problems if problem.severity == "warning"]
    return Reading(document, secret, errors, warnings)


def place_problems(
    raw: bytes, *, format: Literal["yaml", "json"], found: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What SQL found in a definition that can be read, with the line and column of each path."""
    positions = load_definition(raw, format=format).positions
    placed = []
    for item in found:
        line, column = locate(parse_path(str(item.get("path", ""))), positions)
        problem = Problem(
            path=str(item.get("path", "")),
            code=str(item.get("code", "invalid")),
            message=str(item.get("message", "")),
            hint=str(item.get("hint") or ""),
            line=line,
            column=column,
        )
        placed.append(problem.as_json())
    return placed


def unknown_problems(ours: Sequence[dict[str, Any]], from_sql: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that only SQL found."""
    known = {(problem["path"], problem["code"]) for problem in ours}
    return [item for item in from_sql if (str(item.get("path", "")), str(item.get("code", "invalid"))) not in known]


def move_inline_secret(document: dict[str, Any]) -> tuple[dict[str, Any], InlineSecret | None]:
    """Replace the `webhook_secret: text` of the shorthand by a trigger that names a secret.

    Anything else stays as it is: an inline secret in another place is refused by the checks.
    """
    value = document.get("webhook_secret")
    name = document.get("name")
    is_webhook = document.get("trigger_type", "webhook") == "webhook" and "triggers" not in document
    if not isinstance(value, str) or not value or not isinstance(name, str) or not is_webhook:
        return document, None
    secret = InlineSecret(secret_name(name), value)
    # trigger_type stays: it says that this is the shorthand, where a branch may lead nowhere.
    moved = {key: item for key, item in document.items() if key != "webhook_secret"}
    return {**moved, "triggers": [{"type": "webhook", "secret": secret.name}]}, secret


def secret_name(workflow: str) -> str:
    """`Order Pipeline` becomes ORDER_PIPELINE_WEBHOOK_SECRET: a name that an expression can use."""
    plain = unicodedata.normalize("NFKD", workflow).encode("ascii", "ignore").decode()
    words = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_").upper()[: _MAX_SECRET_NAME - len(_SECRET_SUFFIX) - 2]
    if not words[:1].isalpha():
        words = f"W_{words}".rstrip("_")
    return words + _SECRET_SUFFIX


def parse_path(path: str) -> tuple[str | int, ...]:
    """The parts of a path as problems write it: steps[2].config.url."""
    parts: list[str | int] = []
    for match in _PATH_PART.finditer(path):
        word, index, quoted = match.groups()
        parts.append(int(index) if index is not None else word if word is not None else quoted)
    return tuple(parts)
