"""flowgres tenants, keys and token: who may call."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.output import say
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any


@click.group()
def tenants() -> None:
    """Register tenants."""


@tenants.command("register", epilog="Example: flowgres tenants register 'Acme Corp'")
@click.argument("name")
@click.option(
    "--dsn",
    metavar="DSN",
    help="Register as an operator through the database, which works with self-registration switched off.",
)
@server_options
@output_option
@pass_session
def register_tenant(session: Session, name: str, dsn: str | None) -> None:
    """Make a tenant and its first API key.

    The key is shown this once. Over HTTP this needs the setting self_registration_enabled.
    """
    if dsn is None:
        answer = session.client.call("register_tenant", {"name": name})
    else:
        from flowgres_cli.operator import call_as_operator

        answer = call_as_operator(dsn, "select flowgres_api.register_tenant(name => %s)", [name])
    session.output.record(answer, id_field="tenant_id")
    say("The API key is not shown again; keep it, for example: export FLOWGRES_API_KEY=...")


@click.group()
def keys() -> None:
    """Create API keys."""


@keys.command("create", epilog="Example: flowgres keys create ci --role member --expires-at 2027-01-01T00:00:00Z")
@click.argument("name")
@click.option("--role", type=click.Choice(("viewer", "member", "admin")), default="member", show_default=True)
@click.option("--expires-at", metavar="TIME", help="When it ends (ISO 8601); never when absent.")
@server_options
@output_option
@pass_session
def create_key(session: Session, name: str, role: str, expires_at: str | None) -> None:
    """Make an API key of this tenant; it is shown this once."""
    arguments = {"name": name, "role": role} | ({"expires_at": expires_at} if expires_at is not None else {})
    session.output.record(session.client.call("create_api_key", arguments), id_field="api_key")
    say("The API key is not shown again.")


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
