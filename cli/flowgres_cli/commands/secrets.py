"""flowgres secrets."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from flowgres_cli.output import Column, moment, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

_COLUMNS = (
    Column("name", "NAME"),
    Column("created_at", "CREATED", moment, is_optional=True),
    Column("updated_at", "UPDATED", moment, is_optional=True),
    Column("updated_by", "BY", is_optional=True, is_prose=True),
)


@click.group()
def secrets() -> None:
    """Set, list and delete secrets; no command shows a value."""


@secrets.command(
    "set", epilog="Examples: flowgres secrets set STRIPE_KEY (asks) · pass stripe | flowgres secrets set STRIPE_KEY"
)
@click.argument("name")
@click.option(
    "--from-file", type=click.Path(dir_okay=False, path_type=Path), help="Read the value from a file, as it is."
)
@click.option("--allow-short", is_flag=True, help="Take less than 8 characters, which are then masked nowhere.")
@server_options
@output_option
@pass_session
def set_secret(session: Session, name: str, from_file: Path | None, allow_short: bool) -> None:
    """Store a secret.

    The value comes from a prompt, or from stdin (one line end at its end is dropped), never from the arguments, which
    every user of the machine can see.
    """
    body: dict[str, Any] = {"value": _read_value(name, from_file)}
    if allow_short:
        body["allow_short"] = True
    session.client.front("PUT", f"/secrets/{quote(name, safe='')}", json_body=body)
    say(f"secret {name} stored")


@secrets.command("list", epilog="Example: flowgres secrets list -o id")
@server_options
@output_option
@pass_session
def list_secrets(session: Session) -> None:
    """List the names of secrets."""
    rows = session.client.select("secrets", {"order": "name.asc"})
    session.output.rows(rows, _COLUMNS, id_field="name", empty="no secrets")


@secrets.command("delete", epilog="Example: flowgres secrets delete STRIPE_KEY --yes")
@click.argument("name")
@click.option("--yes", "is_confirmed", is_flag=True, help="Do not ask.")
@server_options
@output_option
@pass_session
def delete_secret(session: Session, name: str, is_confirmed: bool) -> None:
    """Delete a secret; steps that name it fail from now on."""
    if not is_confirmed:
        click.confirm(f"Delete secret {name}?", abort=True, err=True)
    session.client.front("DELETE", f"/secrets/{quote(name, safe='')}")
    say(f"secret {name} deleted")


def _read_value(name: str, from_file: Path | None) -> str:
    import sys

    from flowgres_cli.errors import UsageProblemError

    try:
        if from_file is not None:
            value = from_file.read_bytes().decode()
        elif sys.stdin.isatty():
            value = click.prompt(f"Value of {name}", hide_input=True, confirmation_prompt=True, err=True)
        else:
            value = sys.stdin.buffer.read().decode()
            value = value.removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise UsageProblemError(
            "the value is no UTF-8 text", hint="Encode binary values, for example with base64."
        ) from error
    if not value:
        raise UsageProblemError("the value is empty", hint=f"To remove a secret: flowgres secrets delete {name}")
    return value
