"""Instances of state machines, as commands name and find them."""

from __future__ import annotations

import uuid
from typing import Any

import click

from flowgres_cli.session import Session

Json = Any
FIELDS = (
    "id", "workflow_name", "workflow_version", "entity_table", "entity_id", "current_state", "status", "metadata",
    "started_at", "updated_at", "completed_at", "due_at",
)  # fmt: skip


def instance_id(value: str) -> str:
    """The id in canonical form: refused here, so that a typing mistake is a usage error and costs no request."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no instance id; list them with: flowgres instances list") from None


def is_uuid(text: str) -> bool:
    """Whether a text is an id in its written form: a name may be 32 hexadecimal digits."""
    try:
        return str(uuid.UUID(text)) == text.lower()
    except ValueError:
        return False


def find_instance(session: Session, instance: str) -> dict[str, Json]:
    """The instance with this id, or NotFoundError."""
    found = session.client.select("entity_workflows", {"id": f"eq.{instance}", "limit": 1})
    if not found:
        from flowgres_cli.errors import NotFoundError
        from flowgres_cli.refusals import advice

        code = "instance_not_found"
        raise NotFoundError(f"instance {instance} does not exist", code=code, hint=advice(code, None))
    return found[0]
