"""flowgres db: install and upgrade the schema."""

from __future__ import annotations

import os

import click

from flowgres_cli.output import say
from flowgres_cli.session import Session, output_option, pass_session

dsn_option = click.option(
    "--dsn", metavar="DSN", help="Database, as its owner (environment: DATABASE_DIRECT_URL, else DATABASE_URL)."
)


@click.group()
def db() -> None:
    """Install and upgrade the schema in a PostgreSQL database."""


@db.command("install", epilog="Example: flowgres db install --dsn postgresql://owner@db/flowgres --create-database")
@dsn_option
@click.option("--create-database", is_flag=True, help="Create the database when it does not exist.")
@output_option
@pass_session
def install(session: Session, dsn: str | None, create_database: bool) -> None:
    """Install flowgres, or bring it to this version.

    Passwords of the login roles come from the environment: FLOWGRES_RUNNER_PASSWORD, FLOWGRES_FRONT_PASSWORD,
    FLOWGRES_AUTHENTICATOR_PASSWORD, FLOWGRES_OPERATOR_PASSWORD, FLOWGRES_SQL_PASSWORD. Limits are seeded from it too.
    """
    from flowgres_cli import migrate

    target = _target(dsn)
    if create_database and migrate.create_database(target):
        say("database created")
    _apply(session, target)


@db.command("upgrade", epilog="Example: flowgres db upgrade --dsn postgresql://owner@db/flowgres")
@dsn_option
@output_option
@pass_session
def upgrade(session: Session, dsn: str | None) -> None:
    """Apply what this version adds; refuses a database without flowgres."""
    from flowgres_cli import migrate
    from flowgres_cli.errors import NotFoundError

    target = _target(dsn)
    if not migrate.status(target).is_installed:
        raise NotFoundError("flowgres is not installed in this database", hint="Install it: flowgres db install")
    _apply(session, target)


@db.command("roles", epilog="Example: flowgres db roles --dsn postgresql://owner@newhost/flowgres")
@dsn_option
def roles(dsn: str | None) -> None:
    """Create the roles and nothing else: on a new server, before a dump is restored.

    As the login that will own the database. Passwords come from the environment, as for flowgres db install.
    """
    from flowgres_cli import migrate
    from flowgres_cli.installation import login_passwords

    migrate.create_roles(_target(dsn), passwords=login_passwords(os.environ))
    say("the roles are there")


@db.command("status", epilog="Example: flowgres db status -o json")
@dsn_option
@output_option
@pass_session
def status(session: Session, dsn: str | None) -> None:
    """Show what is installed and what is still to do; exit 1 when something is.

    Problems are owners, rights, policies and search paths that are not as they should be, as after a restore:
    flowgres db install mends them.
    """
    from flowgres_cli import migrate

    found = migrate.status(_target(dsn))
    session.output.record(
        {
            "server_version": found.server_version,
            "is_installed": found.is_installed,
            "is_current": found.is_current,
            "applied_migrations": len(found.applied),
            "pending_migrations": [file.name for file in found.pending],
            "changed_schema_files": [file.name for file in found.changed],
            "problems": [str(problem) for problem in found.problems],
        }
    )
    if found.problems:
        say(f"{len(found.problems)} owners, rights or policies differ: flowgres db install mends them")
    if not found.is_current:
        raise click.exceptions.Exit(1)


@db.command("sql", epilog="Example: flowgres db sql > install.sql && psql -f install.sql")
@dsn_option
@click.option("--pending", "is_pending_only", is_flag=True, help="Only what the database still lacks.")
def print_sql(dsn: str | None, is_pending_only: bool) -> None:
    """Print the installation as one script for psql."""
    from flowgres_cli import migrate

    pending = migrate.status(_target(dsn)) if is_pending_only else None
    click.echo(migrate.script(pending_only=pending))


def _target(dsn: str | None) -> str:
    from flowgres_cli.dsn import checked_dsn
    from flowgres_cli.errors import UsageProblemError

    found = dsn or os.environ.get("DATABASE_DIRECT_URL") or os.environ.get("DATABASE_URL")
    if not found:
        raise UsageProblemError("no database is named", hint="Give --dsn, or set DATABASE_URL.")
    return checked_dsn(found, where="--dsn" if dsn else "DATABASE_URL")


def _apply(session: Session, target: str) -> None:
    from flowgres_cli import migrate
    from flowgres_cli.installation import login_passwords, seeded_settings

    is_shown = session.output.is_table
    applied = migrate.upgrade(
        target,
        passwords=login_passwords(os.environ),
        settings=seeded_settings(os.environ),
        on_file=(lambda file: say(f"applying {file.name}")) if is_shown else None,
    )
    found = migrate.status(target)
    session.output.record(
        {
            "applied": [file.name for file in applied],
            "is_current": found.is_current,
            "server_version": found.server_version,
        }
    )
