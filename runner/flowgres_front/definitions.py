"""What the front does to a definition before SQL sees it: read it, in whose words it may be, parse its expressions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from flowgres_definitions.checks import check_definition
from flowgres_definitions.custom_types import CustomType
from flowgres_definitions.dialects import InlineSecret, translate
from flowgres_definitions.form import form_definition
from flowgres_definitions.loader import load_definition
from flowgres_definitions.machines import is_machine
from flowgres_definitions.problems import DefinitionError, Problem, parse_path, place


@dataclass(frozen=True, slots=True)
class Reading:
    """A definition as it was read: in our words and in the author's, the secret that was in it, and what is wrong."""

    document: dict[str, Any]
    source: dict[str, Any]
    secret: InlineSecret | None
    errors: list[dict[str, Any]]
    warnings: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """All but the document and its source, which travel as text."""
        return {
            "is_readable": bool(self.document),
            "secret": None if self.secret is None else [self.secret.name, self.secret.value],
            "errors": self.errors,
            "warnings": self.warnings,
        }


def read_definition(
    raw: bytes, *, format: Literal["yaml", "json"], custom_types: Mapping[str, Any], max_steps: int
) -> Reading:
    """Load a definition, read the words of other systems as ours, and check what takes a parser: expressions and cron.

    All else is checked by SQL. A text that cannot be read at all is a Reading with that one error. `custom_types` are
    as the database tells of them: {type: {config_schema, secret_places}}. Takes as long as a megabyte of YAML takes, so
    it belongs in a process of its own.
    """
    try:
        loaded = load_definition(raw, format=format)
    except DefinitionError as error:
        return Reading({}, {}, None, [error.problem.as_json()], [])
    translation = translate(loaded.document)
    ours = translation.document
    steps = ours.get("steps")
    errors: list[Problem] = []
    # Of a definition that is refused for its length nobody wants the expressions, and a state machine has none.
    if not is_machine(ours) and (not isinstance(steps, list) or len(steps) <= max_steps):
        types = {name: CustomType.from_json(name, value) for name, value in custom_types.items()}
        errors = [
            translation.place(problem, path, loaded.positions)
            for path, problem in check_definition(form_definition(ours, {}), custom_types=types)
        ]
    warnings = [place(problem, path, loaded.positions) for path, problem in translation.warnings]
    return Reading(
        ours,
        translation.source,
        translation.secret,
        [problem.as_json() for problem in errors],
        [problem.as_json() for problem in warnings],
    )


def place_problems(
    raw: bytes, *, format: Literal["yaml", "json"], found: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What SQL found in a definition that can be read, at the places of its author: path, line and column."""
    loaded = load_definition(raw, format=format)
    translation = translate(loaded.document)
    placed = []
    for item in found:
        problem = Problem(
            path="",
            code=str(item.get("code", "invalid")),
            message=str(item.get("message", "")),
            hint=str(item.get("hint") or ""),
        )
        path = parse_path(str(item.get("path", "")))
        placed.append(translation.place(problem, path, loaded.positions).as_json())
    return placed


def unknown_problems(ours: Sequence[dict[str, Any]], from_sql: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those that only SQL found."""
    known = {(problem["path"], problem["code"]) for problem in ours}
    return [item for item in from_sql if (item["path"], item["code"]) not in known]
