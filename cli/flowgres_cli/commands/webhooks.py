"""flowgres webhooks."""

from __future__ import annotations

import os
import time
import uuid
from pathlib import Path
from typing import Any

import click

from flowgres_cli.errors import UsageProblemError
from flowgres_cli.output import Column, moment
from flowgres_cli.session import Session, output_option, pass_session, server_options

Json = Any
OUTCOMES = ("accepted", "duplicate", "answered", "failed", "rejected")
SECRET_VARIABLE = "FLOWGRES_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

_LIST_COLUMNS = (
    Column("id", "ID"),
    Column("workflow_name", "WORKFLOW"),
    Column("scheme", "SCHEME"),
    Column("is_active", "ACTIVE"),
    Column("path", "PATH"),
    Column("named_path", "NAMED PATH", is_optional=True),
    Column("secret_name", "SECRET", is_optional=True),
    Column("last_delivery_at", "LAST", moment, is_optional=True),
    Column("last_outcome", "OUTCOME", is_optional=True),
)
_DELIVERY_COLUMNS = (
    Column("id", "ID"),
    Column("received_at", "RECEIVED", moment),
    Column("outcome", "OUTCOME"),
    Column("http_status", "STATUS"),
    Column("reason", "REASON"),
    Column("execution_id", "EXECUTION", is_optional=True),
    Column("key", "KEY", is_optional=True, is_prose=True),
    Column("message", "MESSAGE", is_optional=True, is_prose=True),
)
_FIELDS = (
    "id",
    "workflow_name",
    "path",
    "named_path",
    "scheme",
    "secret_name",
    "previous_secret_name",
    "previous_until",
)
_TYPES = {
    ".json": "application/json",
    ".txt": "text/plain; charset=utf-8",
    ".xml": "text/xml",
    ".html": "text/html",
    ".form": "application/x-www-form-urlencoded",
}


@click.group()
def webhooks() -> None:
    """List and rotate the webhooks of workflows, send to them, and look at what came.

    A webhook is named by its id, or by its workflow if that has only one.
    """


@webhooks.command("list", epilog="Example: flowgres webhooks list --workflow orders -o id")
@click.option("--workflow", metavar="NAME", help="Only of this workflow.")
@click.option("--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_webhooks(session: Session, workflow: str | None, limit: int) -> None:
    """List webhooks with their addresses below that of the front."""
    parameters: dict[str, str | int] = {"order": "workflow_name.asc,place.asc", "limit": limit}
    if workflow is not None:
        parameters["workflow_name"] = f"eq.{workflow}"
    session.output.rows(
        session.client.select("webhooks", parameters),
        _LIST_COLUMNS,
        empty="no webhooks; a workflow has them as triggers of type webhook",
    )


@webhooks.command("show", epilog="Example: flowgres webhooks show orders")
@click.argument("webhook")
@server_options
@output_option
@pass_session
def show_webhook(session: Session, webhook: str) -> None:
    """Tell everything about a webhook."""
    session.output.record(_find(session, webhook))


@webhooks.command("rotate", epilog="Example: flowgres webhooks rotate orders --secret ORDERS_NEW --keep-previous 3600")
@click.argument("webhook")
@click.option("--secret", metavar="NAME", help="Check with this stored secret from now on.")
@click.option(
    "--keep-previous",
    type=click.IntRange(0, 2_592_000),
    default=86_400,
    show_default=True,
    metavar="SECONDS",
    help="For so long the secret of before is good as well.",
)
@click.option("--new-address", is_flag=True, help="Give it another address; that of before is gone at once.")
@server_options
@output_option
@pass_session
def rotate_webhook(session: Session, webhook: str, secret: str | None, keep_previous: int, new_address: bool) -> None:
    """Give a webhook another secret, or another address."""
    if secret is None and not new_address:
        raise click.UsageError("Give --secret, --new-address, or both.")
    answer = session.client.call(
        "rotate_webhook",
        {"webhook": webhook, "secret": secret, "keep_previous_seconds": keep_previous, "new_address": new_address},
    )
    session.output.record(answer, fields=_FIELDS)


@webhooks.command(
    "send",
    epilog=f"Examples: flowgres webhooks send orders order.json (asks for the secret) · "
    f"{SECRET_VARIABLE}=... flowgres webhooks send orders - --key evt_1 < order.json",
)
@click.argument("webhook")
@click.argument("file", type=click.File("rb"))
@click.option("--secret-file", type=click.Path(dir_okay=False, path_type=Path), help="Read the secret from a file.")
@click.option(
    "--content-type", metavar="TYPE", help="What the body is; by the ending of its name unless told, else JSON."
)
@click.option("--key", metavar="TEXT", help="What this delivery is called; a new one unless told.")
@server_options
@output_option
@pass_session
def send_delivery(
    session: Session, webhook: str, file: Any, secret_file: Path | None, content_type: str | None, key: str | None
) -> None:
    """Sign a file and send it to a webhook, as its sender would.

    The secret comes from --secret-file, from the environment or from a prompt, never from the arguments, which every
    user of the machine can see.
    """
    from flowgres_cli.signing import sign

    found = _find(session, webhook)
    address = found["path"] or found["named_path"]
    if address is None:
        raise UsageProblemError(
            "the address of this webhook is not for viewers", hint="Use a key of a member, or of an admin."
        )
    body = file.read()
    secret = "" if found["scheme"] == "none" else _read_secret(secret_file, found["secret_name"])
    headers = sign(found["scheme"], secret, body, key=key or str(uuid.uuid4()), at=int(time.time()))
    headers["Content-Type"] = content_type or _TYPES.get(Path(str(file.name)).suffix.lower(), "application/json")
    answer = session.client.front("POST", address, content=body, headers=headers, is_anonymous=True)
    session.output.record(answer, id_field="execution_id")


@webhooks.command("deliveries", epilog="Example: flowgres webhooks deliveries orders --outcome rejected")
@click.argument("webhook", required=False)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only with this outcome.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many.")
@server_options
@output_option
@pass_session
def list_deliveries(session: Session, webhook: str | None, outcome: str | None, limit: int) -> None:
    """List what came to webhooks and what became of it, the newest first."""
    parameters: dict[str, str | int] = {"order": "id.desc", "limit": limit}
    if webhook is not None:
        parameters["webhook_id"] = f"eq.{_find(session, webhook)['id']}"
    if outcome is not None:
        parameters["outcome"] = f"eq.{outcome}"
    session.output.rows(
        session.client.select("webhook_deliveries", parameters), _DELIVERY_COLUMNS, empty="no deliveries"
    )


@webhooks.command("redeliver", epilog="Example: flowgres webhooks redeliver 01971d5c-8a00-7c3e-9a55-3f6f5a2c1b10")
@click.argument("delivery")
@server_options
@output_option
@pass_session
def redeliver(session: Session, delivery: str) -> None:
    """Start once more what a delivery started, or would have."""
    answer = session.client.call("redeliver_webhook", {"delivery": delivery})
    session.output.record(answer, id_field="execution_id", fields=("execution_id", "status", "delivery_id"))


def _find(session: Session, webhook: str) -> dict[str, Json]:
    """The webhook with this id, or the only one of this workflow."""
    from flowgres_cli.errors import ConflictError, NotFoundError

    column = "id" if _is_uuid(webhook) else "workflow_name"
    rows = session.client.select("webhooks", {column: f"eq.{webhook}", "order": "place.asc"})
    if not rows:
        raise NotFoundError(
            f'webhook "{webhook}" does not exist',
            code="webhook_not_found",
            hint="List them with: flowgres webhooks list",
        )
    if len(rows) > 1:
        raise ConflictError(
            f'workflow "{webhook}" has {len(rows)} webhooks',
            code="webhook_ambiguous",
            hint=f"Name one by its id: flowgres webhooks list --workflow {webhook}",
        )
    return rows[0]


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return len(text) == 36


def _read_secret(secret_file: Path | None, name: str | None) -> str:
    import sys

    if secret_file is not None:
        return secret_file.read_text().removesuffix("\n")
    if (given := os.environ.get(SECRET_VARIABLE)) is not None:
        return given
    if not sys.stdin.isatty():
        raise UsageProblemError(
            f"the secret {name} is needed to sign",
            hint=f"Give --secret-file, or set {SECRET_VARIABLE}: the server shows nobody what is stored.",
        )
    return str(click.prompt(f"Value of {name}", hide_input=True, err=True))
