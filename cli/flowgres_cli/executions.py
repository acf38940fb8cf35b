"""How the commands name executions."""

from __future__ import annotations

import uuid

import click


# A function, and no ParamType: that one is generic in later versions of click only, where mypy wants to know of what.
def execution_id(value: str) -> str:
    """The id in canonical form: refused here, so that a typing mistake is a usage error and costs no request."""
    try:
        return str(uuid.UUID(value))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no execution id; list them with: flowgres executions list") from None
