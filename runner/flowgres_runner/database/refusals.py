"""Why a database does not want a runner."""

from __future__ import annotations

from flowgres_runner.errors import DatabaseError, RegistrationError


def refusal_of(error: DatabaseError) -> RegistrationError:
    """Why the database refused, in words for the operator."""
    if (error.sqlstate or "").startswith("FG"):
        return RegistrationError(error.message, hint=error.hint, code=error.code)
    if error.sqlstate == "42501":
        return RegistrationError(
            f"this login may not work as a runner: {error.message}",
            hint="Log in as flowgres_runner, or grant that role; flowgres db status tells which rights differ.",
            code="right_missing",
        )
    return RegistrationError(error.message, hint=error.hint, code=error.code)
