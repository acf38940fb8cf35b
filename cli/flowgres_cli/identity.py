"""Which installation a database is, told by the database itself, with no right on anything of flowgres.

The API says the same of itself (`installation` of /rpc/health), so the two can be compared before something is sent to
the wrong server.
"""

from __future__ import annotations

import hashlib

from flowgres_cli.connecting import connected, told
from flowgres_cli.dsn import checked_dsn
from flowgres_cli.errors import CliError, NotFoundError

# The same two numbers that flowgres.installation_mark() takes.
_IS_TOLD = "select pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'execute')"
_NUMBER = "select s.system_identifier::text from pg_catalog.pg_control_system() as s"
_DATABASE = """
select d.oid, pg_catalog.to_regnamespace('flowgres_api') is not null
from pg_catalog.pg_database as d
where d.datname = pg_catalog.current_database()
"""


def installation_of(dsn: str, *, where: str) -> str:
    """The installation in this database. Raises a CliError when it cannot be asked, or has none.

    `where` is who named the database, for the errors.
    """
    target = checked_dsn(dsn, where=where)
    try:
        with connected(target, application_name="flowgres-cli") as connection, told():
            is_told = connection.execute(_IS_TOLD).fetchone() == (True,)
            server = connection.execute(_NUMBER).fetchone() if is_told else ("unknown",)
            database = connection.execute(_DATABASE).fetchone()
    except CliError as error:
        message = f"the database that {where} names cannot be asked which it is: {error.message}"
        raise type(error)(message, code=error.code, hint=error.hint) from error
    if server is None or database is None or not database[1]:
        raise NotFoundError(f"the database that {where} names has no flowgres", hint="Install it: flowgres db install")
    return hashlib.sha256(f"{server[0]}/{database[0]}".encode()).hexdigest()[:16]
