"""flowgres runner."""

from __future__ import annotations

import os
import sys

import click

from flowgres_cli.errors import UsageProblemError
from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

_COLUMNS = (
    Column("id", "ID"),
    Column("name", "NAME"),
    Column("status", "STATUS"),
    Column("version", "VERSION", is_optional=True),
    Column("concurrency", "CONCURRENCY", justify="right", is_optional=True),
    Column("labels", "LABELS", lambda value: ", ".join(value or ()), is_optional=True, is_prose=True),
    Column("started_at", "STARTED", moment, is_optional=True),
    Column("seen_at", "SEEN", moment),
)


@click.group()
def runner() -> None:
    """Start and list runners."""


@runner.command(
    "start", epilog="Example: flowgres runner start --dsn postgresql://flowgres_runner@db/flowgres --concurrency 200"
)
@click.option("--dsn", metavar="DSN", help="Database, as the login flowgres_runner (environment: DATABASE_URL).")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Steps at once (environment: RUNNER_CONCURRENCY).")
@click.option(
    "--label", "labels", multiple=True, help="A label of this runner (environment: RUNNER_LABELS). Repeatable."
)
@click.option(
    "--types", metavar="TYPE,...", help="Serve only these step types; core is all that every runner has (RUNNER_TYPES)."
)
def start_runner(dsn: str | None, concurrency: int | None, labels: tuple[str, ...], types: str | None) -> None:
    """Run a runner in the foreground until Ctrl-C or SIGTERM; every other setting comes from the environment."""
    environment = dict(os.environ)
    if dsn is not None:
        # What was said here must not be overruled by a variable that happens to be set.
        environment["DATABASE_URL"] = dsn
        environment.pop("DATABASE_DIRECT_URL", None)
    if not environment.get("DATABASE_URL"):
        raise UsageProblemError("no database is named", hint="Give --dsn, or set DATABASE_URL.")
    if concurrency is not None:
        environment["RUNNER_CONCURRENCY"] = str(concurrency)
    if labels:
        environment["RUNNER_LABELS"] = ",".join(labels)
    if types is not None:
        environment["RUNNER_TYPES"] = types
    sys.stdout.flush()
    # In our place, so that a supervisor's signals reach the runner itself.
    os.execve(sys.executable, [sys.executable, "-m", "flowgres_runner"], environment)  # noqa: S606


@runner.command("list", epilog="Example: flowgres runner list")
@server_options
@output_option
@pass_session
def list_runners(session: Session) -> None:
    """List runners, those seen last first."""
    rows = session.client.select("runners", {"order": "seen_at.desc", "limit": 200})
    session.output.rows(rows, _COLUMNS, empty="no runners; start one with: flowgres runner start")
