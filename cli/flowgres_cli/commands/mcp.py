"""flowgres mcp: the server of the Model Context Protocol, over stdin and stdout."""

from __future__ import annotations

import sys

import click

from flowgres_cli.session import Session, pass_session, server_options


@click.command(
    epilog='Example, in a client: {"command": "flowgres", "args": ["mcp"]} (/mcp.json of the front has more)'
)
@server_options
@pass_session
def mcp(session: Session) -> None:
    """Serve models: validate and run workflows, read and cancel executions, move instances of state machines.

    It speaks the Model Context Protocol over stdin and stdout, and is started by its client. It needs the extra `mcp`
    of flowgres, and acts with the credentials that other commands would act with.
    """
    from flowgres_cli.errors import CliError

    try:
        from flowgres_cli.mcp.server import make_server
    except ModuleNotFoundError as error:
        if error.name not in ("mcp", "pydantic"):
            raise
        raise CliError(
            "the Model Context Protocol is not installed here",
            code="extra_missing",
            hint=f"It is the extra `mcp` of flowgres: {sys.executable} -m pip install 'mcp>=2.3,<3'",
        ) from error
    make_server(session.client).run("stdio")
