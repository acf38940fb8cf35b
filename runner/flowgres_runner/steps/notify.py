"""`notify`: tell somebody. For now the telling is a line in the history of the execution."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, as_text, invalid_config


class NotifyHandler(Handler):
    """Write the notification as an event; nothing is sent. Output: {channel, recipient, sent: false, mode: "log"}."""

    type = "notify"

    def run_now(self, task: StepTask) -> Outcome:
        """Hand the line to the engine."""
        config = as_object(task.config)
        channel = config.get("channel")
        if not isinstance(channel, str) or not channel:
            return invalid_config("a notify needs a channel")
        recipient = config.get("recipient")
        line = f"{channel} to {as_text(recipient) if recipient is not None else 'nobody in particular'}"
        line = f"{line}: {as_text(config.get('message'))}"
        return Completed(
            {"channel": channel, "recipient": recipient, "sent": False, "mode": "log"}, logs=(("info", line),)
        )
