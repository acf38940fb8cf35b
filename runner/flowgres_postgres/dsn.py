"""Connection strings as somebody wrote them."""

from __future__ import annotations

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict


def is_dsn(text: str) -> bool:
    """Whether this is a connection string of PostgreSQL, as far as that is known before anybody connects.

    A password with a character that is not percent-encoded ends up in the host, the port or the name of the database,
    which the errors of a failed connect would quote. So whoever asks says nothing of a text that is none.
    """
    try:
        parts = conninfo_to_dict(text)
    except ProgrammingError:
        return False
    host, port, database = (str(parts.get(key) or "") for key in ("host", "port", "dbname"))
    # Not every libpq refuses spaces in an address by itself.
    has_space = not host.startswith("/") and any(character.isspace() for character in host)
    return "@" not in host + database and not has_space and (not port or port.replace(",", "0").isdecimal())
