"""`log`: write a line into the history of the execution."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, as_text


class LogHandler(Handler):
    """`message` at `level` becomes an event of the execution. Output: {level, message}."""

    type = "log"

    def _run_now(self, task: StepTask) -> Outcome:
        """Hand the line to the engine."""
        config = as_object(task.config)
        level, message = str(config.get("level", "info")), as_text(config["message"])
        return Completed({"level": level, "message": message}, logs=((level, message),))
