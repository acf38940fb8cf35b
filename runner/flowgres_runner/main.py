"""The command `flowgres-runner`."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from flowgres_process.errors import ProcessError, SettingsError
from flowgres_process.logs import configure_logs, get_logger
from flowgres_runner.failpoints import arm_failpoint
from flowgres_runner.settings import RunnerSettings

if TYPE_CHECKING:
    from flowgres_runner.http import EgressPolicy

EXIT_FAILED = 1
EXIT_KILLED_BY_SECOND_SIGNAL = 130

log = get_logger(__name__)


@click.command("flowgres-runner")
@click.option("--name", help="Name of this runner (RUNNER_NAME; default: the host's name).")
@click.option("--concurrency", type=click.IntRange(1, 10_000), help="Waiting steps at once (RUNNER_CONCURRENCY, 100).")
@click.option("--labels", help="Labels, separated by commas (RUNNER_LABELS).")
def main(name: str | None, concurrency: int | None, labels: str | None) -> None:
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
        import uvloop

        # By measurement: a runner of http steps needs an eighth less CPU than on the loop of asyncio.
        uvloop.run(_run(settings, environment))
    except ProcessError as error:
        click.echo(f"flowgres-runner: {error.message} [{error.code}]", err=True)
        if error.hint:
            click.echo(f"  {error.hint}", err=True)
        sys.exit(EXIT_FAILED)


async def _run(settings: RunnerSettings, environment: Mapping[str, str]) -> None:
    """Run until a signal; a second one ends the process at once."""
    # Imported here, so that --help and errors of settings are quick.
    from flowgres_runner.runner import Runner

    runner = Runner(settings, http_policy=_egress_policy(environment))
    is_stopping = False

    def on_signal() -> None:
        nonlocal is_stopping
        if is_stopping:
            os._exit(EXIT_KILLED_BY_SECOND_SIGNAL)
        is_stopping = True
        runner.request_stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    await runner.run()


def _egress_policy(environment: Mapping[str, str]) -> EgressPolicy:
    """What HTTP steps may call."""
    from flowgres_runner.http import EgressPolicy

    private = environment.get("HTTP_ALLOW_PRIVATE_NETWORKS", "").strip().lower()
    if private not in ("", "true", "false", "1", "0", "yes", "no", "on", "off"):
        raise SettingsError("HTTP_ALLOW_PRIVATE_NETWORKS must be true or false")
    hosts = [host.strip() for host in environment.get("HTTP_ALLOWED_HOSTS", "").split(",") if host.strip()]
    return EgressPolicy(allow_private_networks=private in ("true", "1", "yes", "on"), allowed_hosts=tuple(hosts))
