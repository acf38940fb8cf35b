"""Sending definitions to a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.definitions import DefinitionFile, Finding, server_findings
from flowgres_cli.errors import CliError

Json = Any


def import_definition(client: Client, definition: DefinitionFile, *, activate: bool = True) -> dict[str, Json]:
    """Upload the text as it is; the front checks all of it and answers workflow, version, and whether it is new."""
    try:
        answer: dict[str, Json] = client.front(
            "POST",
            "/workflows",
            content=definition.raw,
            content_type=definition.media_type,
            parameters={} if activate else {"activate": "false"},
        )
    except CliError as error:
        error.where = error.where or definition.file
        raise
    return {"file": definition.file, **answer}


def tell_triggers(answer: Mapping[str, Json], front_url: str) -> list[str]:
    """A line for each trigger that an import has made active, and for whom its executions are told of.

    Nothing where another version is active: the answer then lists the triggers of that one.
    """
    if answer.get("active_version") != answer.get("version"):
        return []
    lines = [f"fires {one['in_words']}" for one in answer.get("schedules", ())]
    lines += [
        f"hears {front_url.rstrip('/')}{one['named_path'] or one['path']}, signed as {one['scheme']}"
        for one in answer.get("webhooks", ())
    ]
    for one in answer.get("subscriptions", ()):
        if one["kind"] == "event":
            lines.append(f"hears the event {one['name']}")
        else:
            lines.append(f"hears {' and '.join(one['changes'])} of the table {one['name']}")
            if not one["is_installed"]:
                lines[-1] += f", once an operator has run: flowgres triggers install {one['name']} --yes"
    lines += [f"tells {one['url']} of {' and '.join(one['events'])}" for one in answer.get("notifications", ())]
    return [f"{answer['name']} {line}" for line in lines]


def foresee(client: Client, definition: DefinitionFile) -> tuple[dict[str, Json], list[Finding]]:
    """What an import would do, and what the server finds wrong. Changes nothing."""
    from flowgres_definitions.machines import is_machine

    findings = server_findings(definition, client.call("validate_workflow", {"definition": definition.document}))
    name = definition.name
    found = client.select("workflows", {"name": f"eq.{name}", "select": "id,latest_version", "limit": 1})
    latest = found[0].get("latest_version") if found else None
    if any(finding.severity == "error" for finding in findings):
        action = "refused"
    elif latest is None:
        action = "new state machine" if is_machine(definition.document) else "new workflow"
    else:
        rows = client.select(
            "workflow_versions",
            {"workflow_id": f"eq.{found[0]['id']}", "version": f"eq.{latest}", "select": "source", "limit": 1},
        )
        action = "unchanged" if rows and rows[0].get("source") == definition.translation.source else "new version"
    version = latest if action == "unchanged" else (latest or 0) + 1
    return {"file": definition.file, "name": name, "version": version, "action": action}, findings
