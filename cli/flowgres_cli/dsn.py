"""Connection strings as somebody wrote them, checked before anybody quotes them."""

from __future__ import annotations

import os

from flowgres_cli.config import environment_dsn
from flowgres_cli.errors import UsageProblemError


def checked_dsn(text: str, *, where: str) -> str:
    """The connection string, when it is one.

    Raises UsageProblemError without a word of it, for a password may be anywhere in it.
    """
    from flowgres_postgres.dsn import is_dsn

    if not is_dsn(text):
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
