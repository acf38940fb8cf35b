"""Connection strings as somebody wrote them, checked before anybody quotes them."""

from __future__ import annotations

import os

from flowgres_cli.config import environment_dsn
from flowgres_cli.errors import UsageProblemError


def checked_dsn(text: str, *, where: str) -> str:
    """The connection string, when it is one.

    Raises UsageProblemError without a word of it. A password with a character that is not percent-encoded ends up in
    the host, the port or the name of the database, which the errors of a failed connect would quote.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        parts = {"host": "@"}
    host, port, name = (str(parts.get(key) or "") for key in ("host", "port", "dbname"))
    if "@" in host + name or (not port.replace(",", "0").isdecimal() and port):
        raise UsageProblemError(
            "this is no connection string of PostgreSQL",
            where=where,
            hint="Give it as postgresql://user:password@host:5432/database; in the password percent-encode what is no"
            " letter or digit.",
        )
    return text


def named_dsn(given: str | None) -> str:
    """The database of --dsn, else that of the environment, past a pooler where it says how."""
    found = given or environment_dsn(os.environ)
    if not found:
        raise UsageProblemError("no database is named", hint="Give --dsn, or set DATABASE_URL.")
    return checked_dsn(found, where="--dsn" if given else "DATABASE_URL")
