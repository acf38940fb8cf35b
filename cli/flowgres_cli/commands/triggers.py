"""flowgres triggers: what has to stand on tables of applications for their changes to start workflows."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, say
from flowgres_cli.session import Session, output_option, pass_session

Json = Any
_COLUMNS = (
    Column("table", "TABLE"),
    Column("event", "EVENT"),
    Column("tenant", "TENANT"),
    Column("status", "STATUS"),
    Column("workflows", "WORKFLOWS", lambda names: ", ".join(names)),
    Column("relation", "ON", lambda name: name or "", is_optional=True),
)
_LIST = "select flowgres.list_table_triggers(p_slug => %(tenant)s, p_table => %(table)s)"
_dsn = click.option(
    "--dsn", metavar="DSN", help="Database, as an operator (environment: DATABASE_DIRECT_URL, else DATABASE_URL)."
)
_tenant = click.option("--tenant", metavar="SLUG", help="Only of this tenant.")
_yes = click.option("--yes", is_flag=True, help="Run the SQL that is shown.")


@click.group()
def triggers() -> None:
    """List, install and remove the triggers on tables that workflows ask for.

    A workflow with a trigger of type table starts nothing until an operator, who may create triggers on that table, has
    installed it. Whoever may write the table then starts executions of that tenant by writing.
    """


@triggers.command("list", epilog="Example: flowgres triggers list --tenant acme")
@click.argument("table", required=False)
@_tenant
@_dsn
@output_option
@pass_session
def list_triggers(session: Session, table: str | None, tenant: str | None, dsn: str | None) -> None:
    """List the triggers that workflows ask for, and those that there are.

    A status other than installed says what is amiss: missing, no_table, unused (no workflow asks for it), disabled,
    renamed (the table has another name now), inactive (so are its workflows).
    """
    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.operator import call_as_operator

    rows = call_as_operator(named_dsn(dsn), _LIST, {"tenant": tenant, "table": table})
    session.output.rows(rows, _COLUMNS, id_field="table", empty="no workflow asks for a trigger on a table")


@triggers.command("install", epilog="Example: flowgres triggers install shop.orders --yes")
@click.argument("table", required=False)
@_tenant
@_yes
@_dsn
@pass_session
def install_triggers(session: Session, table: str | None, tenant: str | None, yes: bool, dsn: str | None) -> None:
    """Show the SQL of the triggers that are missing, of TABLE or of all; with --yes, run it.

    All or none, in one transaction that waits no longer than five seconds for who writes the table.
    """
    _change(session, "install", {"tenant": tenant, "table": table}, dsn, is_confirmed=yes, statuses=())


@triggers.command("remove", epilog="Example: flowgres triggers remove shop.orders --yes")
@click.argument("table", required=False)
@_tenant
@_yes
@_dsn
@pass_session
def remove_triggers(session: Session, table: str | None, tenant: str | None, yes: bool, dsn: str | None) -> None:
    """Show the SQL that removes triggers: those of TABLE, else all that no workflow asks for; with --yes, run it."""
    statuses = () if table is not None else ("unused",)
    _change(session, "remove", {"tenant": tenant, "table": table}, dsn, is_confirmed=yes, statuses=statuses)


def _change(
    session: Session,
    act: str,
    named: dict[str, Json],
    dsn: str | None,
    *,
    is_confirmed: bool,
    statuses: tuple[str, ...],
) -> None:
    import psycopg

    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.errors import AuthError
    from flowgres_cli.operator import as_operator

    with as_operator(named_dsn(dsn), named) as connection:
        rows = connection.execute(_LIST, named).fetchone()[0]  # type: ignore[index]  # a function gives a row
        found = [row for row in rows if row[act] and (not statuses or row["status"] in statuses)]
        for row in found:
            session.output.line(f"{row[act]};")
        if not found:
            say(f"Nothing to {act}.")
        elif not is_confirmed:
            say("Nothing was changed; --yes runs this.")
        else:
            connection.execute("set local lock_timeout = '5s'")
            try:
                for row in found:
                    connection.execute(row[act])
            except psycopg.errors.InsufficientPrivilege as error:
                raise AuthError(
                    f"this login may not change the triggers of {row['table']}; nothing was changed",
                    hint="Use a login that owns the table and is a member of flowgres_operator,"
                    " or grant it: grant trigger on the table.",
                ) from error
            say(
                f"{len(found)} {'trigger' if len(found) == 1 else 'triggers'} {act}{'ed' if act == 'install' else 'd'}."
            )
