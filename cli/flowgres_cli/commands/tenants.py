"""flowgres tenants: who is served, and which database logins work for whom."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.commands.control import pause_tenant, resume_tenant
from flowgres_cli.commands.tenants_lifecycle import COMMANDS
from flowgres_cli.output import Column, moment, say, warn
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_COLUMNS = (
    Column("slug", "SLUG"),
    Column("name", "NAME"),
    Column("status", "STATUS"),
    Column("tenant_id", "ID", is_optional=True),
    Column("created_at", "REGISTERED", moment, is_optional=True),
)
_LOGIN_COLUMNS = (
    Column("login", "LOGIN"),
    Column("tenant", "TENANT"),
    Column("role", "ROLE", lambda role: role or "none"),
    Column("created_at", "ADDED", moment, is_optional=True),
)
_OPERATOR_DSN = "Database, as an operator (environment: DATABASE_DIRECT_URL, else DATABASE_URL)."


@click.group()
def tenants() -> None:
    """Register tenants, map database logins to them, and suspend, export, delete and purge them."""


tenants.add_command(pause_tenant)
tenants.add_command(resume_tenant)


@tenants.command("register", epilog="Example: flowgres tenants register 'Acme Corp' --slug acme")
@click.argument("name")
@click.option("--slug", metavar="SLUG", help="The short name; refused when it is taken. Made from NAME when absent.")
@click.option(
    "--dsn",
    metavar="DSN",
    help="Register as an operator through the database, which works with self-registration switched off.",
)
@server_options
@output_option
@pass_session
def register_tenant(session: Session, name: str, slug: str | None, dsn: str | None) -> None:
    """Make a tenant and its first API key.

    The key is shown this once. Over HTTP this needs the setting self_registration_enabled.
    """
    arguments = {"name": name} | ({"slug": slug} if slug is not None else {})
    if dsn is None:
        client = session.client
        # A tenant of the wrong server is found late: where the database cannot tell, the server has to be named.
        client.installation(is_strict=True)
        answer = client.call("register_tenant", arguments)
        where = session.config.server(str(session.config.api_url))
    else:
        from flowgres_cli.operator import call_as_operator

        query = "select flowgres_api.register_tenant(name => %(name)s, slug => %(slug)s)"
        answer = call_as_operator(dsn, query, {"slug": None, **arguments})
        where = "the database of --dsn"
    session.output.record(answer, id_field="tenant_id")
    if answer.get("slug_taken"):
        warn(f"another tenant has the slug {answer['slug_taken']}: this one is {answer['slug']}")
    say(f"Registered at {where}. The API key is not shown again; keep it: export FLOWGRES_API_KEY=...")


@tenants.command("list", epilog="Example: flowgres tenants list --dsn postgresql://flowgres_operator@db/flowgres")
@click.option("--dsn", metavar="DSN", help="Database, as an operator, who sees all.")
@server_options
@output_option
@pass_session
def list_tenants(session: Session, dsn: str | None) -> None:
    """List tenants: your own, or with --dsn all."""
    if dsn is None:
        rows = session.client.select("tenants", {"order": "slug.asc"})
    else:
        from flowgres_cli.operator import call_as_operator

        query = "select coalesce(jsonb_agg(to_jsonb(t) order by t.slug), '[]') from flowgres_api.tenants as t"
        rows = call_as_operator(dsn, query)
    session.output.rows(rows, _COLUMNS, id_field="slug", empty="no tenants")


@tenants.group("logins")
def logins() -> None:
    """Map database logins of applications to tenants, so that they start executions in their own transactions."""


@logins.command("add", epilog="Example: flowgres tenants logins add app --tenant acme --dsn postgresql://owner@db/app")
@click.argument("login")
@click.option("--tenant", required=True, metavar="SLUG", help="The tenant that it works for.")
@click.option(
    "--role", type=click.Choice(("viewer", "member", "admin")), default="member", show_default=True,
    help="What it may do: it is granted flowgres_ROLE, unless it has that already.",
)  # fmt: skip
@click.option("--dsn", metavar="DSN", help=_OPERATOR_DSN)
@output_option
@pass_session
def add_login(session: Session, login: str, tenant: str, role: str, dsn: str | None) -> None:
    """Let the database login LOGIN work for a tenant.

    From then on `select flowgres_api.start_execution(...)` works in its own transactions: what it starts belongs to the
    tenant, and a rollback leaves nothing. Granting the role takes the owner's login; the mapping takes an operator.
    """
    import psycopg
    from psycopg import sql

    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.errors import AuthError
    from flowgres_cli.operator import as_operator

    arguments = {"login": login, "tenant": tenant}
    query = "select flowgres_api.add_tenant_login(login => %(login)s, tenant => %(tenant)s)"
    held = "select pg_has_role(%(login)s, %(role)s, 'usage')"
    with as_operator(named_dsn(dsn), arguments) as connection:
        answer = connection.execute(query, arguments).fetchone()[0]  # type: ignore[index]  # a function gives a row
        if not connection.execute(held, {"login": login, "role": f"flowgres_{role}"}).fetchone()[0]:  # type: ignore[index]
            grant = sql.SQL("grant {} to {}").format(sql.Identifier(f"flowgres_{role}"), sql.Identifier(login))
            try:
                connection.execute(grant)
            except psycopg.errors.InsufficientPrivilege as error:
                raise AuthError(
                    f"this login may not grant flowgres_{role}; nothing was changed",
                    hint=f"Run in SQL as the owner: {grant.as_string(connection)}; then this command again.",
                ) from error
            answer["role"] = role
    session.output.record(answer, id_field="login")


@logins.command("list", epilog="Example: flowgres tenants logins list --tenant acme")
@click.option("--tenant", metavar="SLUG", help="Only of this tenant.")
@click.option("--dsn", metavar="DSN", help=_OPERATOR_DSN)
@output_option
@pass_session
def list_logins(session: Session, tenant: str | None, dsn: str | None) -> None:
    """List the logins that work for tenants, and the role that each has been granted."""
    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.operator import call_as_operator

    query = "select flowgres.list_tenant_logins(p_slug => %(tenant)s)"
    rows = call_as_operator(named_dsn(dsn), query, {"tenant": tenant})
    session.output.rows(rows, _LOGIN_COLUMNS, id_field="login", empty="no logins")


@logins.command("remove", epilog="Example: flowgres tenants logins remove app")
@click.argument("login")
@click.option("--dsn", metavar="DSN", help=_OPERATOR_DSN)
@output_option
@pass_session
def remove_login(session: Session, login: str, dsn: str | None) -> None:
    """End that a login works for its tenant; the role that it was granted stays, and reaches no tenant any more."""
    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.operator import call_as_operator

    query = "select flowgres_api.remove_tenant_login(login => %(login)s)"
    session.output.record(call_as_operator(named_dsn(dsn), query, {"login": login}), id_field="login")


for _command in COMMANDS:
    tenants.add_command(_command)
