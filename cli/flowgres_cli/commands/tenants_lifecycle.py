"""flowgres tenants show, suspend, restore, delete, purge, export, verify: what operators do to whole tenants."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flowgres_cli.output import say
from flowgres_cli.session import Session, output_option, pass_session

Json = Any
_WAIT_SECONDS = 0.25
_MAX_WAITS = 240
"""Calls in a row that cancel nothing, of a deletion: then something holds on to what is open."""

_MOST_COUNTED = 10_000
"""How far the database counts what is open."""

_dsn_option = click.option(
    "--dsn", metavar="DSN", help="Database, as an operator (environment: DATABASE_DIRECT_URL, else DATABASE_URL)."
)
_reason_option = click.option("--reason", metavar="TEXT", help="Why, for the audit log.")


def _caller(dsn: str | None) -> Callable[..., Json]:
    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.operator import call_as_operator

    target = named_dsn(dsn)

    def call(function: str, tenant: str, reason: str | None) -> Json:
        queries = {
            "suspend": "select flowgres_api.suspend_tenant(tenant => %(tenant)s, reason => %(reason)s)",
            "restore": "select flowgres_api.restore_tenant(tenant => %(tenant)s, reason => %(reason)s)",
            "delete": "select flowgres_api.delete_tenant(tenant => %(tenant)s, reason => %(reason)s)",
            "purge": "select flowgres_api.purge_tenant(tenant => %(tenant)s, reason => %(reason)s)",
        }
        return call_as_operator(target, queries[function], {"tenant": tenant, "reason": reason})

    return call


@click.command("show", epilog="Example: flowgres tenants show acme")
@click.argument("slug")
@_dsn_option
@output_option
@pass_session
def show(session: Session, slug: str, dsn: str | None) -> None:
    """Show one tenant: its status, whether it is deleted, and how much of it has not ended."""
    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.operator import call_as_operator

    query = "select flowgres.show_tenant(p_slug => %(tenant)s)"
    session.output.record(call_as_operator(named_dsn(dsn), query, {"tenant": slug}), id_field="slug")


@click.command("suspend", epilog="Example: flowgres tenants suspend acme --reason unpaid")
@click.argument("slug")
@_reason_option
@_dsn_option
@output_option
@pass_session
def suspend(session: Session, slug: str, reason: str | None, dsn: str | None) -> None:
    """Refuse keys, tokens, starts and webhooks of a tenant. What runs goes on."""
    session.output.record(_caller(dsn)("suspend", slug, reason), id_field="slug")


@click.command("restore", epilog="Example: flowgres tenants restore acme")
@click.argument("slug")
@_reason_option
@_dsn_option
@output_option
@pass_session
def restore(session: Session, slug: str, reason: str | None, dsn: str | None) -> None:
    """Take back that a tenant was suspended or deleted. What was cancelled stays cancelled."""
    session.output.record(_caller(dsn)("restore", slug, reason), id_field="slug")


@click.command("delete", epilog="Example: flowgres tenants delete acme --reason 'contract ended'")
@click.argument("slug")
@_reason_option
@_dsn_option
@output_option
@pass_session
def delete(session: Session, slug: str, reason: str | None, dsn: str | None) -> None:
    """Suspend a tenant and cancel what has not ended.

    Its rows stay, and so does its slug, until it is purged; until then `tenants restore` takes it back.
    """
    from flowgres_cli.errors import ConflictError

    call = _caller(dsn)
    answer = call("delete", slug, reason)
    waits = 0
    while before := answer["open_executions"]:
        # Restored by another meanwhile: one more call would delete it again.
        if not answer["deleted_at"]:
            raise ConflictError(f"{slug} was restored while it was being deleted", code="tenant_not_deleted")
        if waits == _MAX_WAITS:
            raise ConflictError(
                f"{before} executions of {slug} do not end",
                code="tenant_still_open",
                hint="It is deleted and starts nothing. Call it again to go on; flowgres doctor looks at the server.",
            )
        say(f"cancelling {before} executions")
        answer = call("delete", slug, reason)
        # Counted up to a number only: what is counted whole and is no less was not cancelled.
        waits = waits + 1 if before == answer["open_executions"] < _MOST_COUNTED else 0
        if waits:
            time.sleep(_WAIT_SECONDS)
    session.output.record(answer, id_field="slug")


@click.command("purge", epilog="Example: flowgres tenants purge acme --yes")
@click.argument("slug")
@click.option("--yes", "is_confirmed", is_flag=True, help="Needed: what is purged comes back by a backup alone.")
@_reason_option
@_dsn_option
@output_option
@pass_session
def purge(session: Session, slug: str, is_confirmed: bool, reason: str | None, dsn: str | None) -> None:
    """Remove everything of a deleted tenant. One line of the audit log stays, with its id.

    It goes piece by piece, each committed by itself: stop it at any time, and the next call goes on.
    """
    from flowgres_cli.errors import UsageProblemError

    if not is_confirmed:
        raise UsageProblemError(
            f"a purge of {slug} cannot be undone",
            hint=f"Export it first: flowgres tenants export {slug} -f {slug}.jsonl; then give --yes.",
        )
    call = _caller(dsn)
    told: tuple[Json, ...] = ()
    while not (answer := call("purge", slug, reason))["is_done"]:
        if answer["waits_for"]:
            now: tuple[Json, ...] = ("waits", answer["waits_for"])
            words = f"waiting for {answer['waits_for']} transactions that began before"
            time.sleep(_WAIT_SECONDS)
        else:
            now = (answer["step"], answer["deleted"] // 10_000)
            words = f"{answer['step']}: {answer['deleted']} deleted"
        if now != told:
            told = now
            say(words)
    session.output.record(answer, id_field="tenant_id")


@click.command("export", epilog="Example: flowgres tenants export acme -f acme.jsonl")
@click.argument("slug")
@click.option("-f", "--file", "path", type=click.Path(path_type=Path, dir_okay=False), required=True, help="Where to.")
@_dsn_option
@output_option
@pass_session
def export(session: Session, slug: str, path: Path, dsn: str | None) -> None:
    """Write everything of a tenant as JSON lines, as it is at this moment.

    Values of secrets, keys and addresses of webhooks are left out. The last line has counts and hashes of all others:
    `tenants verify` compares them.
    """
    from flowgres_cli.dsn import named_dsn
    from flowgres_cli.exporting import write_export
    from flowgres_cli.operator import as_operator

    # Beside its place until it is whole: a file of that name is an export that was finished. Nobody else may read it.
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    # Made here, or refused: what another puts in its place meanwhile, a link too, is not written to.
    descriptor = os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
    try:
        with (
            open(descriptor, "w", encoding="utf-8") as file,
            as_operator(named_dsn(dsn), {"tenant": slug}) as connection,
        ):
            manifest = write_export(connection, slug, file.write)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    session.output.record(
        {"tenant": slug, "file": str(path), "rows": manifest["rows"], "sha256": manifest["sha256"]}, id_field="file"
    )


@click.command("verify", epilog="Example: flowgres tenants verify acme.jsonl")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@output_option
@pass_session
def verify(session: Session, path: Path) -> None:
    """Check that an export is whole and as it was written. No server is asked."""
    from flowgres_cli.exporting import check_export

    with path.open(encoding="utf-8", newline="\n") as file:
        answer = check_export(file)
    session.output.record(
        {"tenant": answer["tenant"], "file": str(path), "rows": answer["rows"], "sha256": answer["sha256"]},
        id_field="file",
    )


COMMANDS = (show, suspend, restore, delete, purge, export, verify)
