"""`approval`: ask people to decide, and go on with what they say."""

from __future__ import annotations

from typing import cast

from flowgres_runner.steps.base import Completed, Failed, Json, Outcome, Parked, StepError, StepTask
from flowgres_runner.steps.failures import as_object
from flowgres_runner.steps.parking import ParkingHandler


class ApprovalHandler(ParkingHandler):
    """`title` and `message` are shown to those who are asked: callers with a `role`, and `approvers` by name.

    Who may decide, when it is decided, and what the form takes is the database's to say. Output: {decision, data,
    notes, decided_by, decided_at, decisions}; a rejection is no failure.
    """

    type = "approval"

    def _park(self, task: StepTask) -> Parked | Failed:
        """Ask."""
        config = as_object(task.config)
        asked: dict[str, Json] = {**config, "role": _listed(config, "role"), "approvers": _listed(config, "approvers")}
        approvers, quorum = set(map(str, _listed(config, "approvers"))), int(cast("float", config.get("quorum", 1)))
        if approvers and not asked["role"] and quorum > len(approvers):
            message = f"{quorum} people have to approve, and {len(approvers)} are asked"
            return Failed(StepError("config_invalid", message, "validation", details={"path": "quorum"}))
        return Parked("approval", asked)

    def _woken(self, task: StepTask, resume: dict[str, Json]) -> Outcome:
        """Give what was decided."""
        return Completed(resume.get("output"))


def _listed(config: dict[str, Json], key: str) -> list[Json]:
    """What an expression gave in place of a list may be one of them."""
    value = config.get(key, [])
    return value if isinstance(value, list) else [value]
