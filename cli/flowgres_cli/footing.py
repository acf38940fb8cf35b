"""What an installation needs of a database and a login, looked at before anything is tried, and said in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowgres_cli.ledger import MigrationError, has_ledger
from flowgres_cli.logins import databases_beside, named

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

OWNING_ROLES = ("flowgres_owner", "flowgres_definer", "flowgres_engine")

_FACTS = """
select
  r.rolname, r.rolsuper, r.rolcreaterole, current_database(), pg_is_in_recovery(),
  current_setting('default_transaction_read_only')::boolean, current_setting('server_encoding'),
  has_database_privilege(current_database(), 'CREATE'),
  array(select o.rolname::text from pg_catalog.pg_roles as o where o.rolname = any(%s)),
  array(
    select o.rolname::text from pg_catalog.pg_roles as o
    where o.rolname = any(%s) and pg_has_role(o.oid, 'MEMBER')),
  array(
    select o.rolname::text from pg_catalog.pg_roles as o
    where o.rolname = any(%s) and pg_has_role(o.oid, 'MEMBER WITH ADMIN OPTION'))
from pg_catalog.pg_roles as r
where r.rolname = current_user
"""


def check_footing(connection: Connection) -> None:
    """Raise MigrationError, with what to do about it, when this login cannot install or upgrade here."""
    row = connection.execute(_FACTS, [list(OWNING_ROLES)] * 3).fetchone()
    assert row is not None  # noqa: S101 - the current role is a role
    login, is_superuser, makes_roles, database, is_standby, is_read_only, encoding, creates, there, member, admin = row
    if is_standby:
        raise MigrationError(
            "database_read_only",
            "This server is a standby: it only reads.",
            hint="Name the primary in the connection string.",
        )
    if is_read_only:
        raise MigrationError(
            "database_read_only",
            f"Transactions of {login} in {database} only read: default_transaction_read_only is on.",
            hint=f"alter database {database} reset default_transaction_read_only; or the same of the role.",
        )
    if has_ledger(connection):
        return
    if encoding != "UTF8":
        raise MigrationError(
            "encoding_refused",
            f"The database {database} has the encoding {encoding}, and flowgres needs UTF8.",
            hint=f"create database {database} encoding 'UTF8' template template0;",
        )
    if not creates:
        raise MigrationError(
            "database_not_yours",
            f"{login} may not create schemas in the database {database}.",
            hint=f"As its owner: alter database {database} owner to {login};",
        )
    if is_superuser:
        return
    others = databases_beside(connection)
    if there and (
        (others and "flowgres_owner" not in member)
        or (connection.info.server_version >= 160000 and not set(there) <= set(member) | set(admin))
    ):
        used = f" {named(others).capitalize()} uses them." if others else ""
        raise MigrationError(
            "roles_of_another",
            f"The roles of flowgres belong to the whole server, and another login than {login} made them.{used}",
            hint=f"Install as that login, or on another server. Who shares the roles reaches both installations; where"
            f" that is meant: grant {', '.join(OWNING_ROLES)} to {login} with admin option;",
        )
    if len(there) < len(OWNING_ROLES) and not makes_roles:
        raise MigrationError(
            "createrole_missing",
            f"{login} may not create roles, and flowgres needs some of its own.",
            hint=f"As a superuser: alter role {login} createrole; or print the installation for one: flowgres db sql",
        )
