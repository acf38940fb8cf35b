"""What the tools do: calls of the API, and their answers as JSON. Nothing here knows the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.definitions import check_text, server_findings
from flowgres_cli.errors import UsageProblemError, WaitTimeoutError
from flowgres_cli.watching import Watcher

Json = Any
MOST_LISTED = 200
MOST_EVENTS = 1000
MOST_WAIT_SECONDS = 60
_LISTED = "id,name,title,status,active_version,latest_version"


class Tools:
    """The tools on one client. Every failure is a CliError."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list_workflows(self) -> list[dict[str, Json]]:
        """Workflows by name, MOST_LISTED at most, with their status and versions."""
        return self._client.select("workflows", {"select": _LISTED, "order": "name.asc", "limit": MOST_LISTED})

    def validate_workflow(self, text: str) -> dict[str, Json]:
        """{valid, problems}: all that is wrong with a definition in YAML or JSON, each with line and column."""
        definition, found = check_text(text.encode("utf-8", errors="surrogatepass"))
        if definition is not None and not any(one.severity == "error" for one in found):
            answer = self._client.call("validate_workflow", {"definition": definition.document})
            known = {(one.path, one.code) for one in found}
            found += [one for one in server_findings(definition, answer) if (one.path, one.code) not in known]
        return {
            "valid": not any(one.severity == "error" for one in found),
            "problems": [{name: value for name, value in one.as_json().items() if name != "file"} for one in found],
        }

    def run_workflow(
        self, workflow: str, input: Mapping[str, Json], *, idempotency_key: str | None, wait_seconds: float
    ) -> dict[str, Json]:
        """The execution when it has ended, or as it is when that takes longer than `wait_seconds`."""
        arguments: dict[str, Json] = {"workflow": workflow, "input": dict(input)}
        if idempotency_key is not None:
            arguments["idempotency_key"] = idempotency_key
        execution_id = str(self._client.call("start_execution", arguments)["execution_id"])
        watcher = Watcher(self._client, execution_id, timeout_seconds=wait_seconds)
        try:
            for snapshot in watcher.snapshots():
                if snapshot.has_ended:
                    return snapshot.document
        except WaitTimeoutError:
            pass
        return self.get_execution(execution_id)

    def get_execution(self, execution_id: str) -> dict[str, Json]:
        """An execution with every step."""
        found: dict[str, Json] = self._client.call("get_execution", {"execution_id": execution_id})
        return found

    def why(self, execution_id: str) -> list[dict[str, Json]]:
        """Why its steps do not move, a row for each; of one that failed or was cancelled one row, of another none."""
        # Also refuses an execution that does not exist, which has no rows.
        self.get_execution(execution_id)
        return self._client.select(
            "execution_why", {"execution_id": f"eq.{execution_id}", "order": "since.asc", "limit": MOST_LISTED}
        )

    def get_logs(self, execution_id: str, *, after: int, limit: int) -> list[dict[str, Json]]:
        """Its events in order, those behind the number `after`."""
        # Also refuses an execution that does not exist, which has no events.
        self.get_execution(execution_id)
        return self._client.select(
            "execution_events",
            {"execution_id": f"eq.{execution_id}", "seq": f"gt.{after}", "order": "seq.asc", "limit": limit},
        )

    def list_approvals(self, execution_id: str | None) -> list[dict[str, Json]]:
        """What is pending, the newest first, MOST_LISTED at most: of one execution, or of all."""
        parameters: dict[str, str | int] = {"status": "eq.pending", "order": "requested_at.desc", "limit": MOST_LISTED}
        if execution_id is not None:
            parameters["execution_id"] = f"eq.{execution_id}"
        return self._client.select("approvals", parameters)

    def cancel_execution(self, execution_id: str, *, reason: str | None) -> dict[str, Json]:
        """The execution as it is then."""
        arguments = {"execution_id": execution_id} | ({"reason": reason} if reason is not None else {})
        found: dict[str, Json] = self._client.call("cancel_execution", arguments)
        return found

    def retry_execution(self, execution_id: str, *, reason: str | None, version: int | None) -> dict[str, Json]:
        """The execution as it is then: it goes on from the steps that failed."""
        arguments: dict[str, str | int] = {"execution_id": execution_id}
        arguments |= {"reason": reason} if reason is not None else {}
        arguments |= {"version": version} if version is not None else {}
        found: dict[str, Json] = self._client.call("retry_execution", arguments)
        return found


def checked_execution_id(text: str) -> str:
    """An id as it is. Raises UsageProblemError for what is none: the server would call it a wrong argument."""
    return _checked_id(text, "execution", "run_workflow answers with one, as `id`.")


def checked_instance_id(text: str) -> str:
    """As checked_execution_id, of an instance."""
    return _checked_id(text, "instance", "list_instances and start_instance answer with it, as `id`.")


def _checked_id(text: str, kind: str, hint: str) -> str:
    import uuid

    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise UsageProblemError(f"{text!r} is no {kind} id", code="argument_invalid", hint=hint) from None
