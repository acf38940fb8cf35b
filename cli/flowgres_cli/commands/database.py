"""flowgres db: install and upgrade the schema."""

from __future__ import annotations

import os

import click

from flowgres_cli.commands.functions import functions
from flowgres_cli.dsn import named_dsn
from flowgres_cli.output import say
from flowgres_cli.session import Session, output_option, pass_session

dsn_option = click.option(
    "--dsn", metavar="DSN", help="Database, as its owner (environment: DATABASE_DIRECT_URL, else DATABASE_URL)."
)


environment_option = click.option(
    "--change-environment", is_flag=True, help="Change the environment of an installation to ENV, and mean it."
)
passwords_option = click.option(
    "--change-passwords", is_flag=True, help="Change the logins' passwords although other databases share the logins."
)
COPY = (
    "this is a copy of an installation: runners are refused until an operator says flowgres db adopt"
    " (once the original runs no more)"
)


@click.group()
def db() -> None:
    """Install and upgrade the schema in a PostgreSQL database."""


db.add_command(functions)


@db.command("install", epilog="Example: flowgres db install --dsn postgresql://owner@db/flowgres --create-database")
@dsn_option
@click.option("--create-database", is_flag=True, help="Create the database when it does not exist.")
@environment_option
@passwords_option
@output_option
@pass_session
def install(
    session: Session, dsn: str | None, create_database: bool, change_environment: bool, change_passwords: bool
) -> None:
    """Install flowgres, or bring it to this version.

    Passwords of the login roles come from the environment: FLOWGRES_RUNNER_PASSWORD, FLOWGRES_FRONT_PASSWORD,
    FLOWGRES_AUTHENTICATOR_PASSWORD, FLOWGRES_OPERATOR_PASSWORD, FLOWGRES_SQL_PASSWORD. Limits are seeded from it too,
    and ENV says which environment this is: runners of another one are refused.
    """
    from flowgres_cli import migrate

    target = named_dsn(dsn)
    if create_database and migrate.create_database(target):
        say("database created")
    _apply(session, target, change_environment=change_environment, change_passwords=change_passwords)


@db.command("upgrade", epilog="Example: flowgres db upgrade --dsn postgresql://owner@db/flowgres")
@dsn_option
@environment_option
@passwords_option
@output_option
@pass_session
def upgrade(session: Session, dsn: str | None, change_environment: bool, change_passwords: bool) -> None:
    """Apply what this version adds; refuses a database without flowgres."""
    from flowgres_cli import migrate
    from flowgres_cli.errors import NotFoundError

    target = named_dsn(dsn)
    if not migrate.status(target).is_installed:
        raise NotFoundError("flowgres is not installed in this database", hint="Install it: flowgres db install")
    _apply(session, target, change_environment=change_environment, change_passwords=change_passwords)


@db.command("roles", epilog="Example: flowgres db roles --dsn postgresql://owner@newhost/flowgres")
@dsn_option
@passwords_option
def roles(dsn: str | None, change_passwords: bool) -> None:
    """Create the roles and nothing else: on a new server, before a dump is restored.

    As the login that will own the database. Passwords come from the environment, as for flowgres db install.
    """
    from flowgres_cli import migrate
    from flowgres_cli.installation import login_passwords

    migrate.create_roles(named_dsn(dsn), passwords=login_passwords(os.environ), changes_passwords=change_passwords)
    say("the roles are there")


@db.command("adopt", epilog="Example: flowgres db adopt --dsn postgresql://owner@newhost/flowgres")
@dsn_option
@output_option
@pass_session
def adopt(session: Session, dsn: str | None) -> None:
    """Let runners work in a copy of an installation: a restored dump, a database made from a template.

    They are refused there until then, as the original may have done what waits in the copy. Make sure that it runs no
    more, or cancel what waits. Also once after pg_upgrade. As an operator or the owner; it is audited.
    """
    from flowgres_cli import migrate

    answer = migrate.adopt(named_dsn(dsn))
    session.output.record(answer, id_field="installation_id")
    say("runners may work here" if answer.get("is_adopted") else "this is the original: nothing was to do")


@db.command("status", epilog="Example: flowgres db status -o json")
@dsn_option
@output_option
@pass_session
def status(session: Session, dsn: str | None) -> None:
    """Show what is installed and what is still to do; exit 1 when something is, or runners may not work.

    Problems are owners, rights, policies and search paths that are not as they should be, as after a restore:
    flowgres db install mends them. Triggers on tables of applications are told with the command that helps; what
    workflows ask for is no reason to exit 1.
    """
    from flowgres_cli import migrate
    from flowgres_cli.table_triggers import amiss

    found = migrate.status(named_dsn(dsn))
    itself = found.installation
    session.output.record(
        {
            "version": itself.version if itself else None,
            "environment": itself.environment if itself else None,
            "installation": itself.id if itself else None,
            "is_copy": itself.is_copy if itself else None,
            "server_version": found.server_version,
            "is_installed": found.is_installed,
            "is_current": found.is_current,
            "applied_migrations": len(found.applied),
            "pending_migrations": [file.name for file in found.pending],
            "changed_schema_files": [file.name for file in found.changed],
            "problems": [str(problem) for problem in found.problems],
            "table_triggers": [str(triggers) for triggers in found.table_triggers],
        }
    )
    if found.problems:
        say(f"{len(found.problems)} owners, rights or policies differ: flowgres db install mends them")
    if found.is_installed and (found.pending or found.changed):
        say(f"{len(found.pending) + len(found.changed)} files behind this version: flowgres db upgrade")
    elif not found.is_installed:
        say("flowgres is not installed here: flowgres db install")
    wrong, more = amiss(found.table_triggers)
    for triggers in wrong:
        say(f"{triggers}: {triggers.fix}")
    if more:
        say(f"and {more} more: flowgres triggers list")
    if itself and itself.is_copy:
        say(COPY)
    if not found.is_current or (itself and itself.is_copy):
        raise click.exceptions.Exit(1)


@db.command("sql", epilog="Example: flowgres db sql > install.sql && psql -f install.sql")
@dsn_option
@click.option("--pending", "is_pending_only", is_flag=True, help="Only what the database still lacks.")
def print_sql(dsn: str | None, is_pending_only: bool) -> None:
    """Print the installation as one script for psql."""
    from flowgres_cli import migrate

    pending = migrate.status(named_dsn(dsn)) if is_pending_only else None
    click.echo(migrate.script(pending_only=pending))


def _apply(session: Session, target: str, *, change_environment: bool, change_passwords: bool) -> None:
    from flowgres_cli import migrate
    from flowgres_cli.installation import login_passwords, seeded_settings

    applied = migrate.upgrade(
        target,
        passwords=login_passwords(os.environ),
        settings=seeded_settings(os.environ, is_change=change_environment),
        changes_environment=change_environment,
        changes_passwords=change_passwords,
    )
    found = migrate.status(target)
    itself = found.installation
    session.output.record(
        {
            "version": itself.version if itself else None,
            "environment": itself.environment if itself else None,
            "migrations": sum(file.number is not None for file in applied),
            "schema_files": sum(file.number is None for file in applied),
            "is_current": found.is_current,
            "is_copy": itself.is_copy if itself else None,
            "server_version": found.server_version,
        }
    )
    if itself and itself.is_copy:
        say(COPY)
    elif any(file.number == 1 for file in applied):
        say("next: flowgres tenants register NAME --dsn DSN, and flowgres runner start")
    elif applied:
        say("runners of an older version go on; restart them when it suits you")
    else:
        say("it was up to date")
