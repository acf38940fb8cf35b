"""flowgres db functions: which functions of the database sql steps may call."""

from __future__ import annotations

from typing import Any

import click

from flowgres_cli.dsn import named_dsn
from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
_OPERATOR_DSN = "Database, as an operator (environment: DATABASE_DIRECT_URL, else DATABASE_URL)."


def _arguments(value: Json) -> str:
    """step text, quantity integer = ?: an argument that may be left out has a default."""
    return ", ".join(f"{one['name']} {one['type']}{'' if one['required'] else ' = ?'}" for one in value or ())


_COLUMNS = (
    Column("name", "FUNCTION"),
    Column("arguments", "ARGUMENTS", _arguments, is_prose=True),
    Column("result_type", "RETURNS", lambda value: value or "is gone"),
    Column("tenant", "TENANT", lambda value: value or "all"),
    Column("created_at", "ALLOWED", moment, is_optional=True),
)
_LIST = """
select coalesce(jsonb_agg(to_jsonb(f) || jsonb_build_object('tenant', t.slug) order by f.signature, t.slug), '[]')
from flowgres_api.sql_functions as f left join flowgres.tenants as t on t.tenant_id = f.tenant_id and not f.for_all
"""


@click.group("functions")
def functions() -> None:
    """Say which functions of the database sql steps may call."""


@functions.command("allow", epilog="Example: flowgres db functions allow 'shop.reserve(uuid, integer)' --tenant acme")
@click.argument("signature")
@click.option("--tenant", metavar="SLUG", help="Only for the steps of this tenant; those of all otherwise.")
@click.option("--dsn", metavar="DSN", help=_OPERATOR_DSN)
@output_option
@pass_session
def allow(session: Session, signature: str, tenant: str | None, dsn: str | None) -> None:
    """Let sql steps call the function SIGNATURE: schema, name and, where there are several, types.

    It is called as flowgres_sql, who needs usage on its schema and execute on it. One that is SECURITY DEFINER runs
    with its owner's rights; flowgres.tenant_id() is the tenant of the step.
    """
    from flowgres_cli.operator import call_as_operator

    query = "select flowgres_api.allow_function(signature => %(signature)s, tenant => %(tenant)s)"
    answer = call_as_operator(named_dsn(dsn), query, {"signature": signature, "tenant": tenant})
    session.output.record(answer, id_field="signature")


@functions.command("list", epilog="Example: flowgres db functions list --dsn postgresql://flowgres_operator@db/app")
@click.option("--dsn", metavar="DSN", help="Database, as an operator, who sees those of all tenants.")
@server_options
@output_option
@pass_session
def list_functions(session: Session, dsn: str | None) -> None:
    """List the functions that your steps may call, or with --dsn those of all tenants."""
    if dsn is None:
        rows = session.client.select("sql_functions", {"order": "signature.asc"})
        rows = [row | {"tenant": None if row["for_all"] else "own"} for row in rows]
    else:
        from flowgres_cli.operator import call_as_operator

        rows = call_as_operator(named_dsn(dsn), _LIST)
    session.output.rows(rows, _COLUMNS, id_field="signature", empty="no functions; see flowgres db functions allow")


@functions.command("remove", epilog="Example: flowgres db functions remove 'shop.reserve(uuid, integer)'")
@click.argument("signature")
@click.option("--tenant", metavar="SLUG", help="The tenant that it was allowed for.")
@click.option("--dsn", metavar="DSN", help=_OPERATOR_DSN)
@output_option
@pass_session
def remove(session: Session, signature: str, tenant: str | None, dsn: str | None) -> None:
    """Take that back: steps that call it fail from their next call on."""
    from flowgres_cli.operator import call_as_operator

    query = "select flowgres_api.disallow_function(signature => %(signature)s, tenant => %(tenant)s)"
    answer = call_as_operator(named_dsn(dsn), query, {"signature": signature, "tenant": tenant})
    session.output.record(answer, id_field="signature")
