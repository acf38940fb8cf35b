"""What the tools do with instances of state machines: calls of the API, and their answers as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.errors import NotFoundError
from flowgres_cli.refusals import advice

Json = Any
MOST_LISTED = 200
MOST_EXECUTIONS = 50
MOST_HISTORY = 1000


class InstanceTools:
    """The tools on one client. Every failure is a CliError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def find(self, given: Mapping[str, str | None], *, limit: int) -> list[dict[str, Json]]:
        """Instances, the one that moved last first; `given` are values of columns of entity_workflows."""
        filters: dict[str, str | int] = {column: f"eq.{value}" for column, value in given.items() if value is not None}
        return self._client.select("entity_workflows", filters | {"order": "updated_at.desc", "limit": limit})

    def get(self, instance_id: str) -> dict[str, Json]:
        """An instance, with where it may go and what its transitions have started."""
        found = self._client.select("entity_workflows", {"id": f"eq.{instance_id}", "limit": 1})
        if not found:
            code = "instance_not_found"
            raise NotFoundError(f"instance {instance_id} does not exist", code=code, hint=advice(code, None))
        query: dict[str, str | int] = {
            "instance_id": f"eq.{instance_id}",
            "order": "seq.desc",
            "limit": MOST_EXECUTIONS,
        }
        return {
            **found[0],
            "transitions": self._client.call("get_transitions", {"instance_id": instance_id}),
            "executions": self._client.select("instance_executions", query),
        }

    def start(
        self, workflow: str, entity_table: str, entity_id: str, *, metadata: Mapping[str, Json]
    ) -> dict[str, Json]:
        """The instance that was started for an entity."""
        arguments = {
            "workflow_name": workflow,
            "entity_table": entity_table,
            "entity_id": entity_id,
            "metadata": dict(metadata),
        }
        return self.get(str(self._client.call("start_workflow", arguments)))

    def move(self, instance_id: str, to_state: str, **told: Json) -> dict[str, Json]:
        """The instance where it has come to; what is not told is left to the server."""
        given = {name: value for name, value in told.items() if value is not None}
        self._client.call("execute_transition", {"instance_id": instance_id, "to_state": to_state, **given})
        return self.get(instance_id)

    def history(self, instance_id: str, *, limit: int) -> list[dict[str, Json]]:
        """What it went through, newest first."""
        # Also refuses an instance that does not exist, which has no history.
        self.get(instance_id)
        return self._client.select(
            "workflow_history",
            {"entity_workflow_instance_id": f"eq.{instance_id}", "order": "seq.desc", "limit": limit},
        )
