"""Whether anybody runs what an execution waits for: nothing is worse to watch than a queue that nobody empties."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from flowgres_cli.client import Client
from flowgres_cli.errors import UnreachableError

Json = Any
FIRST_LOOK_SECONDS = 1.0
CONFIRM_SECONDS = 0.4
LOOK_SECONDS = 5.0
# A runner that is restarted is back before this is over.
PATIENCE_SECONDS = 10.0
_STARTING = "Start one: flowgres runner start (or flowgres dev, which has one); the execution goes on by itself then."


class Lookout:
    """Asks every few seconds which runners are alive while an execution has not ended.

    `notice` is a sentence as long as nobody serves it. Twice in a row, because a runner may just be restarting; and
    after PATIENCE_SECONDS of that `look` gives up, unless the watching has a deadline of its own (`has_deadline`).
    """

    def __init__(self, client: Client, execution_id: str, *, has_deadline: bool) -> None:
        self.notice: str | None = None
        self._client = client
        self._execution_id = execution_id
        self._has_deadline = has_deadline
        self._next_look = time.monotonic() + FIRST_LOOK_SECONDS
        self._unserved_since: float | None = None
        self._capabilities: dict[str, str] | None = None

    def look(self, document: Mapping[str, Json]) -> None:
        """Look again when it is time. Raises UnreachableError when nobody has served the execution for too long."""
        now = time.monotonic()
        if now < self._next_look:
            return
        missing = self._missing(document)
        if missing is None:
            self.notice, self._unserved_since = None, None
            self._next_look = now + LOOK_SECONDS
            return
        if self._unserved_since is None:
            self._unserved_since = now
        else:
            self.notice = f"{missing}. {_STARTING}"
        self._next_look = now + CONFIRM_SECONDS
        if now - self._unserved_since > PATIENCE_SECONDS and not self._has_deadline:
            raise UnreachableError(
                f"{missing}; execution {self._execution_id} waits",
                code="no_runner",
                hint=f"{_STARTING} Look again: flowgres executions watch {self._execution_id}",
            )

    def _missing(self, document: Mapping[str, Json]) -> str | None:
        rows = self._client.select("runners", {"status": "in.(working,idle)", "select": "capabilities", "limit": 1000})
        if not rows:
            return "no runner is alive"
        served = {name for row in rows for name in row.get("capabilities") or ()}
        ready = {str(step["step"]) for step in document.get("steps") or () if step.get("status") == "ready"}
        for step in sorted(ready):
            capability = self._capability(document, step)
            if capability not in served:
                return f"no runner that is alive has the step type {capability}, which the step {step} is of"
        return None

    def _capability(self, document: Mapping[str, Json], step: str) -> str:
        if self._capabilities is None:
            version = {name: f"eq.{document.get(name)}" for name in ("workflow_id", "version")}
            rows = self._client.select("workflow_steps", {**version, "select": "step,capability"})
            self._capabilities = {str(row["step"]): str(row["capability"]) for row in rows}
        return self._capabilities.get(step, "core")
