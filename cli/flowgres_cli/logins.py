"""The login roles and their passwords. Roles belong to the whole server: other databases of it may use the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flowgres_cli.ledger import MigrationError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

LOGIN_ROLES = ("flowgres_authenticator", "flowgres_runner", "flowgres_front", "flowgres_operator", "flowgres_sql")

# What a role owns in which database is known to the whole server.
_OTHERS = """
select d.datname
from pg_catalog.pg_shdepend as s join pg_catalog.pg_database as d on d.oid = s.dbid
where s.refclassid = 'pg_catalog.pg_authid'::regclass and s.refobjid = to_regrole('flowgres_owner')
  and s.deptype = 'o' and d.datname <> current_database()
group by d.datname
order by d.datname
"""


def databases_beside(connection: Connection) -> list[str]:
    """The other databases of this server in which flowgres is installed, by the roles that own things there."""
    return [row[0] for row in connection.execute(_OTHERS)]


def check_passwords(connection: Connection, dsn: str, passwords: Mapping[str, str]) -> None:
    """Refuse passwords that would lock out the programs of another installation on the same server.

    Raises MigrationError unless each of them is the one that its login has already, or nobody else uses the logins.
    """
    for role in passwords:
        if role not in LOGIN_ROLES:
            raise MigrationError("unknown_role", f"{role} is no login role of flowgres.", hint=", ".join(LOGIN_ROLES))
    others = databases_beside(connection)
    if not others:
        return
    wrong = [role for role, password in passwords.items() if not _logs_in(dsn, role, password)]
    if wrong:
        raise MigrationError(
            "passwords_shared",
            f"Logins belong to the whole server, and flowgres is also installed in {named(others)} of it: other"
            f" passwords than theirs were given for {', '.join(wrong)}, and setting them would lock its programs out.",
            hint="Give the same passwords, or none. To change them for all: flowgres db install --change-passwords.",
        )


def set_passwords(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Give login roles their passwords, hashed here, so that no log of the server ever holds one in clear."""
    from psycopg import sql

    for role, password in passwords.items():
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(
            sql.SQL("alter role {} with login password {}").format(sql.Identifier(role), sql.Literal(verifier))
        )


def named(databases: Sequence[str]) -> str:
    """Some names, as a part of a sentence."""
    shown = ", ".join(databases[:3])
    more = f" and {len(databases) - 3} more" if len(databases) > 3 else ""
    return f"the database{'s' if len(databases) > 1 else ''} {shown}{more}"


def _logs_in(dsn: str, role: str, password: str) -> bool:
    import psycopg
    from psycopg.conninfo import make_conninfo

    try:
        psycopg.connect(make_conninfo(dsn, user=role, password=password), connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True
