"""flowgres keys and token: what a tenant's callers prove themselves with."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import Column, moment, say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_COLUMNS = (
    Column("prefix", "PREFIX"),
    Column("name", "NAME"),
    Column("role", "ROLE"),
    Column("roles", "BUSINESS", ", ".join, is_optional=True),
    Column("status", "STATUS"),
    Column("expires_at", "EXPIRES", moment),
    Column("created_at", "CREATED", moment, is_optional=True),
    Column("created_by", "BY", is_optional=True, is_prose=True),
)


@click.group()
def keys() -> None:
    """Create, list, rotate and revoke API keys."""


@keys.command("create", epilog="Example: flowgres keys create ci --role member --expires-at 2027-01-01T00:00:00Z")
@click.argument("name")
@click.option("--role", type=click.Choice(("viewer", "member", "admin", "worker")), default="member", show_default=True)
@click.option("--business-role", "roles", multiple=True, metavar="NAME", help="One for decisions. Repeatable.")
@click.option("--queue", "queues", multiple=True, metavar="NAME", help="Of a worker: one that it serves. Repeatable.")
@click.option("--expires-at", metavar="TIME", help="When it ends (ISO 8601); never when absent.")
@server_options
@output_option
@pass_session
def create_key(
    session: Session, name: str, role: str, roles: tuple[str, ...], queues: tuple[str, ...], expires_at: str | None
) -> None:
    """Make an API key of this tenant; it is shown this once.

    That of a worker may claim, extend, complete and fail the tasks of its queues, and nothing else.
    """
    given = {
        "name": name,
        "role": role,
        "roles": list(roles) or None,
        "queues": list(queues) or None,
        "expires_at": expires_at,
    }
    arguments: dict[str, Json] = {key: value for key, value in given.items() if value is not None}
    session.output.record(session.client.call("create_api_key", arguments), id_field="api_key")
    say("The API key is not shown again.")


@keys.command("list", epilog="Example: flowgres keys list")
@server_options
@output_option
@pass_session
def list_keys(session: Session) -> None:
    """List the API keys of this tenant by their prefixes; no command shows a key again."""
    rows = session.client.select("api_keys", {"order": "created_at.desc"})
    session.output.rows(rows, _COLUMNS, id_field="prefix", empty="no keys")


@keys.command("rotate", epilog="Example: flowgres keys rotate 135f6ffe --grace-seconds 3600")
@click.argument("prefix")
@click.option("--grace-seconds", type=click.IntRange(0, 2_592_000), help="How long the old one works on (a day).")
@server_options
@output_option
@pass_session
def rotate_key(session: Session, prefix: str, grace_seconds: int | None) -> None:
    """Replace the key with this prefix by a new one like it, which is shown this once."""
    arguments = {"prefix": prefix} | ({"grace_seconds": grace_seconds} if grace_seconds is not None else {})
    session.output.record(session.client.call("rotate_api_key", arguments), id_field="api_key")
    say("The API key is not shown again.")


@keys.command("revoke", epilog="Example: flowgres keys revoke 135f6ffe")
@click.argument("prefix")
@click.option("--force", "is_forced", is_flag=True, help="Also the last key of an administrator.")
@server_options
@output_option
@pass_session
def revoke_key(session: Session, prefix: str, is_forced: bool) -> None:
    """End the key with this prefix at once.

    The last key of an administrator is refused (exit 6): without one only an operator can make a new one.
    """
    arguments = {"prefix": prefix} | ({"force": True} if is_forced else {})
    answer = session.client.call("revoke_api_key", arguments)
    session.output.record(answer, id_field="prefix", fields=("prefix", "name", "role", "revoked_at"))


@click.command(epilog='Example: curl -H "Authorization: Bearer $(flowgres token)" $FLOWGRES_API_URL/executions')
@server_options
@output_option
@pass_session
def token(session: Session) -> None:
    """Exchange the API key for a bearer token of at most 15 minutes, and print it."""
    from flowgres_cli.errors import AuthError

    key = session.config.api_key
    if key is None:
        raise AuthError("there is no API key to exchange", hint="Set FLOWGRES_API_KEY, or name a profile that has one.")
    answer: dict[str, Json] = session.client.front("POST", "/token")
    bearer = str(answer.get("access_token") or answer.get("token"))
    # Bare text unless a form was asked for: it is made for $(flowgres token).
    if session.config.output in ("json", "jsonl", "yaml"):
        session.output.record(answer)
    else:
        session.output.line(bearer)
