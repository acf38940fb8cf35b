"""The command `flowgres-front`."""

from __future__ import annotations

import os
import signal
import sys

import click

from flowgres_front.settings import FrontSettings
from flowgres_process.errors import ProcessError, SettingsError
from flowgres_process.logs import configure_logs, get_logger

EXIT_FAILED = 1
EXIT_SETTINGS = 2

log = get_logger(__name__)


@click.command("flowgres-front")
def main() -> None:
    """Serve what PostgREST cannot do on HOST:PORT until SIGTERM.

    All is read from the environment; deploy/.env.example explains each variable.
    """
    try:
        settings = FrontSettings.from_environment(os.environ)
        configure_logs(level=settings.log_level, output_format=settings.log_format)
        _serve(settings)
    except ProcessError as error:
        click.echo(f"flowgres-front: {error.message} [{error.code}]", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(EXIT_SETTINGS if isinstance(error, SettingsError) else EXIT_FAILED)


def _serve(settings: FrontSettings) -> None:
    """Serve until a signal. Raises ProcessError when it cannot begin."""
    # Imported here, so that --help and errors of settings are quick.
    from flowgres_front.server import FrontServer, listen, server_config

    config = server_config(settings)
    place = f"{settings.host}:{settings.port}"
    try:
        # Bound here: uvicorn would say it less plainly.
        listening = listen(settings.host, settings.port)
    except OSError as error:
        raise ProcessError(
            f"the front cannot listen on {place}: {os.strerror(error.errno or 0).lower()}",
            hint="Set HOST and PORT.",
            code="front_unavailable",
        ) from error
    # uvicorn serves what is under way, and then hands the signal on to whoever had it before.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    server = FrontServer(config)
    log.info("front_started", address=place)
    try:
        server.run(sockets=[listening])
    finally:
        listening.close()
        log.info("front_stopped", address=place)
    if not server.started:
        raise ProcessError("the front did not start", hint="The log says why.", code="front_unavailable")
