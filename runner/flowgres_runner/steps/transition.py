"""`transition`: move an instance of a state machine."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask, TransitionAsked
from flowgres_runner.steps.failures import as_object


class TransitionHandler(Handler):
    """Move `instance`, or that of `entity_id` of `entity_table` in `workflow`, to the state `to`.

    The database does it as it takes the report, under the lease: once, however often the step is run. Output:
    {instance_id, from_state, to_state, transition_name}. A refusal fails the step with its code and status.
    """

    type = "transition"
    resumes_unrendered = True

    def _run_now(self, task: StepTask) -> Outcome:
        """Ask for it, or take what came of it."""
        if isinstance(task.resume, dict) and task.resume.get("status") == "moved":
            return Completed(task.resume.get("output"))
        return TransitionAsked(as_object(task.config))
