"""Checking the expressions of definitions that came in by SQL alone."""

from __future__ import annotations

from typing import Any

from flowgres_runner.steps.base import Json


def check_definition(definition: Any) -> list[Json]:
    """Problems of a canonical definition as {path, code, message}; empty when it may run."""
    # Here, because most runners never need it.
    from flowgres_definitions import checks

    return [problem.as_json() for problem in checks.check_definition(definition) if problem.severity == "error"]
