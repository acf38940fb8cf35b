"""`log`: write a line into the history of the execution."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, as_text, invalid_config

LEVELS = ("debug", "info", "warning", "error")


class LogHandler(Handler):
    """`message` at `level` becomes an event of the execution. Output: {level, message}."""

    type = "log"

    def run_now(self, task: StepTask) -> Outcome:
        """Hand the line to the engine."""
        config = as_object(task.config)
        level = str(config.get("level") or "info").lower()
        level = "warning" if level == "warn" else level
        if level not in LEVELS:
            return invalid_config(f"the level of a log must be one of {', '.join(LEVELS)}")
        message = as_text(config.get("message"))
        return Completed({"level": level, "message": message}, logs=((level, message),))
