"""`notify`: tell somebody. For now the telling is a line in the history of the execution."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, as_text


class NotifyHandler(Handler):
    """Write the notification as an event; nothing is sent. Output: {channel, recipient, sent: false, mode: "log"}."""

    type = "notify"

    def _run_now(self, task: StepTask) -> Outcome:
        """Hand the line to the engine."""
        config = as_object(task.config)
        channel, recipient = config["channel"], config.get("recipient")
        line = f"{channel} to {recipient or 'nobody in particular'}: {as_text(config['message'])}"
        return Completed(
            {"channel": channel, "recipient": recipient, "sent": False, "mode": "log"}, logs=(("info", line),)
        )
