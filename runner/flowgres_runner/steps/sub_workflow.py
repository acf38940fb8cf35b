"""`sub_workflow`: run another workflow and go on with its output."""

from __future__ import annotations

from typing import cast

from flowgres_runner.steps.base import ChildStarted, Completed, Failed, Handler, Json, Outcome, StepError, StepTask
from flowgres_runner.steps.failures import as_object


class SubWorkflowHandler(Handler):
    """Start `workflow` (its active version, or `version`) with `input`; the child's output is the step's.

    With `detach` nobody waits for it, and the output is {execution_id}.
    """

    type = "sub_workflow"
    resumes_unrendered = True

    def _run_now(self, task: StepTask) -> Outcome:
        """Ask for the child, or take what it ended with."""
        if isinstance(task.resume, dict) and "status" in task.resume:
            return _ended(task, task.resume)
        config = as_object(task.config)
        version = config.get("version")
        return ChildStarted(
            workflow=str(config["workflow"]),
            version=None if version is None else int(cast("float", version)),
            input=config.get("input", {}),
            is_detached=config.get("detach") is True,
        )


def _ended(task: StepTask, child: dict[str, Json]) -> Outcome:
    status = child["status"]
    child_id = child.get("execution_id")
    if status == "detached":
        return Completed({"execution_id": child_id})
    if status == "completed":
        return Completed(child.get("output"), detail={"execution_id": child_id})
    if status == "timed_out":
        message = f"the sub-workflow took longer than {task.timeout_seconds:g} s"
        return Failed(StepError("step_timeout", message, "timeout"), detail={"execution_id": child_id})
    cancelled = status == "cancelled"
    return Failed(
        StepError(
            code="child_cancelled" if cancelled else "child_failed",
            message=f"the sub-workflow {'was cancelled' if cancelled else 'failed'}",
            error_class="child",
            details={"execution_id": child_id, "error": child.get("error")},
        ),
        detail={"execution_id": child_id},
    )
