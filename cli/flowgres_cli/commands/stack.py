"""flowgres dev and flowgres demo: a private server with one command."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from flowgres_cli.config import DATA_DIRECTORY_NAME
from flowgres_cli.output import Output, say, seconds_text
from flowgres_cli.session import Session, output_option, pass_session
from flowgres_cli.signals import signals_as_interrupt, signals_ignored

if TYPE_CHECKING:
    from flowgres_cli.development import Addresses, DevelopmentServer
    from flowgres_cli.reloading import Reloader

DEMO_WORKFLOW = "parallel_report"
_LOOK_SECONDS = 0.5
_port = click.IntRange(1, 65535)


@click.command(epilog="Examples: flowgres dev · flowgres dev workflows/ order.yaml --api-port 3100")
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(exists=True))
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(DATA_DIRECTORY_NAME),
    show_default=True,
    help="Where the database and the keys live.",
)
@click.option("--api-port", type=_port, help="Port of PostgREST (3000, or the next free one).")
@click.option("--front-port", type=_port, help="Port of the front (8000, or the next free one).")
@click.option("--database-port", type=_port, help="Port of PostgreSQL (15432, or the next free one).")
@click.option(
    "--allow-private-networks",
    is_flag=True,
    help="Let http steps call loopback and private addresses (off by default).",
)
def dev(
    paths: tuple[str, ...],
    data_dir: Path,
    api_port: int | None,
    front_port: int | None,
    database_port: int | None,
    allow_private_networks: bool,
) -> None:
    """Run a private server: PostgreSQL, PostgREST, a runner and the front.

    Imports the definitions at PATH, and again whenever they change. Ctrl-C stops everything; the next start finds the
    same data. In this folder the other commands reach it without any setting.
    """
    from flowgres_cli.client import Client
    from flowgres_cli.development import DevelopmentServer, Ports
    from flowgres_cli.reloading import Reloader

    server = DevelopmentServer(
        data_dir,
        ports=Ports(api=api_port, front=front_port, database=database_port),
        runner_environment={"HTTP_ALLOW_PRIVATE_NETWORKS": "true"} if allow_private_networks else {},
        on_started=_report_part,
    )
    with signals_as_interrupt():
        try:
            with server, Client(server.addresses.config()) as client:
                reloader = Reloader(client, paths) if paths else None
                if reloader is not None:
                    reloader.import_changed()
                _print_addresses(server.addresses)
                say("Ctrl-C stops it.")
                _stay(reloader)
        except KeyboardInterrupt:
            say("stopped")


@click.command(epilog="Example: flowgres demo --keep")
@click.option("--keep", is_flag=True, help="Stay up afterwards, until Ctrl-C.")
@output_option
@pass_session
def demo(session: Session, keep: bool) -> None:
    """See an execution from start to end, on a server that is gone afterwards.

    Starts PostgreSQL, PostgREST, a runner and the front in a temporary place, imports the examples, runs one and shows
    it live.
    """
    from flowgres_cli.development import DevelopmentServer
    from flowgres_cli.stack.postgres import THROW_AWAY_OPTIONS

    with signals_as_interrupt(), _temporary_directory() as directory:
        server = DevelopmentServer(
            directory, database_options=THROW_AWAY_OPTIONS, is_temporary=True, on_started=_report_part
        )
        with server:
            _show(session.output, server)
            if keep:
                say("")
                _print_addresses(server.addresses, to_stderr=not session.output.is_table)
                say("Ctrl-C stops it.")
                with contextlib.suppress(KeyboardInterrupt):
                    _stay(None)
    say("Everything was stopped and removed.")
    _print_next_steps()


@contextlib.contextmanager
def _temporary_directory() -> Iterator[Path]:
    """A directory that is gone afterwards, also when Ctrl-C is pressed again and again."""
    path = Path(tempfile.mkdtemp(prefix="flowgres-demo-"))
    try:
        yield path
    finally:
        with signals_ignored():
            shutil.rmtree(path, ignore_errors=True)


def _show(output: Output, server: DevelopmentServer) -> None:
    from importlib.resources import as_file, files

    from flowgres_cli.client import Client
    from flowgres_cli.errors import CliError
    from flowgres_cli.following import print_result, show_tree
    from flowgres_cli.output import is_interactive
    from flowgres_cli.reloading import Reloader
    from flowgres_cli.watching import Watcher, outcome_error, result_of

    with as_file(files("flowgres_examples")) as examples, Client(server.addresses.config()) as client:
        say("")
        paths = [str(path) for path in _definitions(examples)]
        if Reloader(client, paths, base=f"{examples}/").import_changed() == 0:
            raise CliError("no example could be imported", hint="This is a fault of this installation; see above.")
        say("")
        started = client.call("start_execution", {"workflow": DEMO_WORKFLOW})
        watcher = Watcher(client, str(started["execution_id"]), timeout_seconds=60)
        if output.is_table and is_interactive():
            final = show_tree(watcher, output)
            print_result(final, output)
        else:
            final = list(watcher.snapshots())[-1]
            if output.is_table:
                from flowgres_cli.output import console
                from flowgres_cli.tree import render

                console(output.stdout).print(render(watcher.read(with_children=True)))
                print_result(final, output)
            else:
                output.record(result_of(final.document), id_field="execution_id")
        problem = outcome_error(final.document)
        if problem is not None:
            raise problem


def _print_next_steps() -> None:
    from importlib.resources import files

    say("")
    say("Next:")
    say(f"  flowgres dev {shlex.quote(str(files('flowgres_examples') / 'hello'))}")
    say("      a server that stays, for this folder, with a workflow to change")
    say("  flowgres run hello -f name=Ann      in a second terminal, in the same folder")
    say("  flowgres executions list            what ran, and how it ended")
    say("  flowgres --help                     everything else")
    say("")


def _definitions(examples: Path) -> Iterator[Path]:
    """One form of each example that runs: some exist as YAML and as JSON.

    State machines run nothing by themselves, and one of them has the name of a workflow with steps. What needs tables
    of its own is left out.
    """
    from flowgres_cli.definitions import CASE_SUFFIXES

    for folder in sorted(path for path in examples.iterdir() if path.is_dir() and not path.name.startswith((".", "_"))):
        if (folder / "schema.sql").exists():
            continue
        names = [path for path in folder.glob("*.yaml") if not path.name.endswith(CASE_SUFFIXES)]
        found = sorted(path for path in names if path.name != "machine.yaml")
        yield from found or sorted(folder.glob("workflow.json"))


def _report_part(part: str, detail: str, seconds: float) -> None:
    say(f"  {part:<11} {detail:<28} {seconds_text(seconds):>8}")


def _print_addresses(addresses: Addresses, *, to_stderr: bool = False) -> None:
    rows = {
        "API": addresses.api,
        "Front": addresses.front,
        "Docs": addresses.docs,
        "Database": addresses.database,
        "API key": addresses.api_key,
    }
    for name, value in rows.items():
        if to_stderr:
            say(f"{name:<9} {value}")
        else:
            click.echo(f"{name:<9} {value}")


def _stay(reloader: Reloader | None) -> None:
    while True:
        time.sleep(_LOOK_SECONDS)
        if reloader is not None:
            reloader.import_changed()
