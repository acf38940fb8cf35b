"""The command `flowgres-runner`: a runner, and the front beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import click

from flowgres_runner.errors import RunnerError, SettingsError
from flowgres_runner.failpoints import arm_failpoint
from flowgres_runner.logs import configure_logs, get_logger
from flowgres_runner.settings import RunnerSettings

if TYPE_CHECKING:
    from flowgres_runner.http import EgressPolicy

EXIT_FAILED = 1
EXIT_KILLED_BY_SECOND_SIGNAL = 130

log = get_logger(__name__)


@click.command("flowgres-runner")
@click.option(
    "--front/--no-front",
    "front",
    default=None,
    help="Serve the HTTP front on HOST:PORT too (default: when PGRST_JWT_SECRET is set).",
)
@click.option("--only-front", is_flag=True, help="Serve the front and run no steps.")
@click.option("--name", help="Name of this runner (RUNNER_NAME; default: the host's name).")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Waiting steps at once (RUNNER_CONCURRENCY, 100).")
@click.option("--labels", help="Labels, separated by commas (RUNNER_LABELS).")
def main(front: bool | None, only_front: bool, name: str | None, concurrency: int | None, labels: str | None) -> None:
    """Run steps of flowgres workflows from DATABASE_URL until SIGTERM.

    All else is read from the environment; deploy/.env.example explains each variable.
    """
    environment = dict(os.environ)
    for variable, value in (("RUNNER_NAME", name), ("RUNNER_CONCURRENCY", concurrency), ("RUNNER_LABELS", labels)):
        if value is not None:
            environment[variable] = str(value)
    try:
        settings = RunnerSettings.from_environment(environment)
        configure_logs(level=settings.log_level, output_format=settings.log_format)
        try:
            arm_failpoint(settings.failpoint)
        except ValueError as error:
            raise SettingsError(str(error)) from error
        for notice in settings.notices:
            log.warning("setting_notice", notice=notice)
        with_front = only_front or (bool(environment.get("PGRST_JWT_SECRET")) if front is None else front)
        asyncio.run(_serve(settings, environment, with_front=with_front, with_runner=not only_front))
    except RunnerError as error:
        click.echo(f"flowgres-runner: {error.message} [{error.code}]", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(EXIT_FAILED)


async def _serve(
    settings: RunnerSettings, environment: Mapping[str, str], *, with_front: bool, with_runner: bool
) -> None:
    """Run until a signal; a second one ends the process at once."""
    # Imported here, so that --help and errors of settings are quick.
    from flowgres_runner.runner import Runner

    runner = Runner(settings, http_policy=_egress_policy(environment)) if with_runner else None
    stopped = asyncio.Event()

    def on_signal() -> None:
        if stopped.is_set():
            os._exit(EXIT_KILLED_BY_SECOND_SIGNAL)
        stopped.set()
        if runner is not None:
            runner.request_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    front_task = None
    if with_front:
        front_task = asyncio.create_task(_serve_front(environment, stopped))
    try:
        if runner is None:
            waiting = asyncio.create_task(stopped.wait())
            assert front_task is not None  # noqa: S101 - a process with neither is refused by the options
            await asyncio.wait([waiting, front_task], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
        else:
            work = asyncio.create_task(runner.run())
            if front_task is not None:
                await asyncio.wait([work, front_task], return_when=asyncio.FIRST_COMPLETED)
                # A front that cannot start (a taken port) must be seen; it never ends otherwise before a signal.
                if front_task.done():
                    runner.request_stop()
            await work
    finally:
        stopped.set()
        if front_task is not None:
            await front_task


async def _serve_front(environment: Mapping[str, str], stopped: asyncio.Event) -> None:
    """Serve the front in this loop until `stopped`. Raises RunnerError when it cannot start."""
    from flowgres_runner.front.server import server_config
    from flowgres_runner.front.settings import FrontSettings

    front_settings = FrontSettings.from_environment(environment)
    # Here, because the library is slow to import and a runner without a front does not need it.
    import uvicorn

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Signals are the runner's."""
            yield

    place = f"{front_settings.host}:{front_settings.port}"
    try:
        # Bound here: uvicorn would end the process on a port that is taken.
        listening = socket.create_server((front_settings.host, front_settings.port), backlog=512)
    except OSError as error:
        raise RunnerError(
            f"the front cannot listen on {place}: {error.strerror or error}",
            hint="Set HOST and PORT, or start with --no-front.",
            code="front_unavailable",
        ) from error
    server = Server(server_config(front_settings))
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    waiting = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await serving
        if not server.started and not stopped.is_set():
            raise RunnerError("the front did not start", hint="The log says why.", code="front_unavailable")
    finally:
        waiting.cancel()
        listening.close()
    log.info("front_stopped", address=place)


def _egress_policy(environment: Mapping[str, str]) -> EgressPolicy:
    """What HTTP steps may call."""
    from flowgres_runner.http import EgressPolicy

    private = environment.get("HTTP_ALLOW_PRIVATE_NETWORKS", "").strip().lower()
    if private not in ("", "true", "false", "1", "0", "yes", "no", "on", "off"):
        raise SettingsError("HTTP_ALLOW_PRIVATE_NETWORKS must be true or false")
    hosts = [host.strip() for host in environment.get("HTTP_ALLOWED_HOSTS", "").split(",") if host.strip()]
    return EgressPolicy(allow_private_networks=private in ("true", "1", "yes", "on"), allowed_hosts=tuple(hosts))
