"""Calls through the database, for operators: what needs a DSN instead of an API key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

from flowgres_cli.dsn import checked_dsn
from flowgres_cli.errors import AuthError, CliError, ConflictError, NotFoundError, UnreachableError

Json = Any
_BY_STATUS: dict[str, type[CliError]] = {"401": AuthError, "403": AuthError, "404": NotFoundError, "409": ConflictError}


def call_as_operator(dsn: str, query: LiteralString, parameters: Sequence[Json]) -> Json:
    """Run one call and return its value. Refusals of the engine (SQLSTATE FG<status>) become CliErrors."""
    import psycopg

    try:
        connection = psycopg.connect(
            checked_dsn(dsn, where="--dsn"), connect_timeout=10, application_name="flowgres-cli"
        )
    except psycopg.OperationalError as error:
        if "password" in str(error) or "authentication" in str(error):
            raise AuthError(f"the database refused the login: {str(error).strip()}", hint="Check the DSN.") from error
        raise UnreachableError(f"the database does not answer: {str(error).strip()}", hint="Check the DSN.") from error
    try:
        with connection:
            row = connection.execute(query, parameters).fetchone()
    except psycopg.Error as error:
        raise _translated(error) from error
    return row[0] if row is not None else None


def _translated(error: Exception) -> CliError:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return CliError(str(error))
    state = error.sqlstate or ""
    if state in ("3F000", "42883", "42P01"):
        return NotFoundError("flowgres is not installed in this database", hint="Install it: flowgres db install")
    if state == "42501":
        return AuthError(error.diag.message_primary or str(error), hint="Connect as flowgres_operator or as the owner.")
    kind = _BY_STATUS.get(state.removeprefix("FG"), CliError)
    return kind(error.diag.message_primary or str(error), code=error.diag.constraint_name, hint=error.diag.message_hint)
