"""`stop`: end the execution."""

from __future__ import annotations

from flowgres_runner.json_values import encode_json
from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, invalid_config

STATUSES = ("completed", "failed", "cancelled")


class StopHandler(Handler):
    """The execution ends with `status` (completed by default), and with `output` or the error that `message` tells of.

    Output: {status, output, message}; the database does the rest when the step completes.
    """

    type = "stop"

    def run_now(self, task: StepTask) -> Outcome:
        """Say how."""
        config = as_object(task.config)
        status, message = config.get("status", "completed"), config.get("message")
        if status not in STATUSES:
            return invalid_config("the status of a stop is completed, failed or cancelled")
        said: dict[str, Json] = {"status": status}
        if config.get("output") is not None:
            said["output"] = config["output"]
        if message is not None:
            said["message"] = message if isinstance(message, str) else encode_json(message)
        return Completed(said)
