"""`outputs`: the hidden last step that makes the execution's output."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask


class OutputsHandler(Handler):
    """Its configuration is the `outputs` of the definition; rendered, that is the answer."""

    type = "outputs"
    is_hidden = True

    def output_path(self, config: Json) -> tuple[str, ...] | None:
        """All of it."""
        return ()

    def _run_now(self, task: StepTask) -> Outcome:
        """Answer with the rendered outputs."""
        return Completed(task.config)
