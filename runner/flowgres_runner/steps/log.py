"""`log`: write a line into the history of the execution."""

from __future__ import annotations

from collections.abc import Mapping

from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, as_text, invalid_config

LEVELS = ("debug", "info", "warning", "error")


CONFIG_SCHEMA: Mapping[str, Json] = {
    "type": "object",
    "properties": {"level": {"type": "string"}, "message": {}},
    "required": ["message"],
    "additionalProperties": False,
}


class LogHandler(Handler):
    """`message` at `level` becomes an event of the execution. Output: {level, message}."""

    type = "log"
    config_schema: Mapping[str, Json] = CONFIG_SCHEMA

    def run_now(self, task: StepTask) -> Outcome:
        """Hand the line to the engine."""
        config = as_object(task.config)
        level = str(config.get("level") or "info").lower()
        level = "warning" if level == "warn" else level
        if level not in LEVELS:
            return invalid_config(f"the level of a log must be one of {', '.join(LEVELS)}")
        message = as_text(config.get("message"))
        return Completed({"level": level, "message": message}, logs=((level, message),))
