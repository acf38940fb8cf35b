"""What every command shares: the flags given so far, and, when first asked for, configuration, client and output."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import click

from flowgres_cli.config import OUTPUT_FORMATS, Config, load_config
from flowgres_cli.output import Output

if TYPE_CHECKING:
    from flowgres_cli.client import Client

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])
_FLAGS = "flowgres.flags"


class Session:
    """The settings of one call of the command line."""

    def __init__(self, context: click.Context) -> None:
        self._context = context

    @functools.cached_property
    def config(self) -> Config:
        """Flags, environment, profile and defaults, merged."""
        flags: dict[str, str] = self._context.meta.get(_FLAGS, {})
        return load_config(flags, os.environ, _current_folder())

    @functools.cached_property
    def output(self) -> Output:
        """Where data goes, and in which form."""
        return Output(self.config.output)

    @functools.cached_property
    def client(self) -> Client:
        """A client of the server, closed when the command ends."""
        from flowgres_cli.client import Client

        return self._context.with_resource(Client(self.config))


def pass_session(command: Callable[Concatenate[Session, P], R]) -> Callable[P, R]:
    """Give the command the session as its first argument."""

    @functools.wraps(command)
    def with_session(*args: P.args, **kwargs: P.kwargs) -> R:
        return command(Session(click.get_current_context()), *args, **kwargs)

    return with_session


def _remember(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    # The innermost command is parsed last, so what stands nearer to it wins.
    if value is not None:
        context.meta.setdefault(_FLAGS, {})[parameter.name] = value


def _option(*names: str, **attributes: Any) -> Callable[[F], F]:
    return click.option(*names, callback=_remember, expose_value=False, **attributes)


def server_options(command: F) -> F:
    """Options that say which server, and who we are."""
    for decorate in (
        _option("--token", metavar="JWT", help="Bearer token (environment: FLOWGRES_TOKEN)."),
        _option("--api-key", metavar="KEY", help="API key; other users can see arguments, so prefer FLOWGRES_API_KEY."),
        _option("--front-url", metavar="URL", help="Address of the front (environment: FLOWGRES_FRONT_URL)."),
        _option("--api-url", metavar="URL", help="Address of PostgREST (environment: FLOWGRES_API_URL)."),
        _option("--profile", metavar="NAME", help="Profile of the configuration file (environment: FLOWGRES_PROFILE)."),
    ):
        command = decorate(command)
    return command


def output_option(command: F) -> F:
    """The option -o."""
    return _option(
        "-o", "--output", type=click.Choice(OUTPUT_FORMATS), help="Form of the data: table on a terminal, else json."
    )(command)


def _current_folder() -> Path:
    try:
        return Path.cwd()
    except OSError:  # the folder was deleted under us
        return Path("/")
