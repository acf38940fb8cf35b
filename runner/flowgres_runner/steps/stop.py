"""`stop`: end the execution."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask
from flowgres_runner.steps.failures import as_object


class StopHandler(Handler):
    """The execution ends with `status` (completed by default), and with `output` or the error that `message` tells of.

    Output: {status, output, message}; the database does the rest when the step completes.
    """

    type = "stop"

    def _run_now(self, task: StepTask) -> Outcome:
        """Say how."""
        config = as_object(task.config)
        said: dict[str, Json] = {"status": config.get("status", "completed")}
        if config.get("output") is not None:
            said["output"] = config["output"]
        if "message" in config:
            said["message"] = config["message"]
        return Completed(said)
