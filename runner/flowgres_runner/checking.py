"""Checking the expressions of definitions that came in by SQL alone."""

from __future__ import annotations

from typing import Any

from flowgres_runner.logs import get_logger
from flowgres_runner.steps.base import Json

log = get_logger(__name__)

MAX_ERRORS = 200
"""As many as the check in SQL tells: they are stored with the version."""


def check_definition(definition: Any) -> list[Json]:
    """Problems of a canonical definition as {path, code, message}; empty when it may run.

    A definition that breaks the check itself is refused like a wrong one: unanswered, it would be asked about for ever,
    and the version before it stays active.
    """
    # Here, because most runners never need it.
    from flowgres_definitions import checks

    try:
        problems = checks.check_definition(definition)
    except Exception:
        log.exception("check_failed")
        return [{"path": "", "code": "check_failed", "message": "the expressions of this definition cannot be checked"}]
    errors: list[Json] = [problem.as_json() for problem in problems if problem.severity == "error"]
    return errors[:MAX_ERRORS]
