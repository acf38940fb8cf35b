"""`task`: have a worker outside do it, in any language."""

from __future__ import annotations

from typing import cast

from flowgres_runner.steps.base import Completed, Failed, Handler, Json, Outcome, Parked, StepError, StepTask
from flowgres_runner.steps.failures import as_object


class TaskHandler(Handler):
    """Put `payload` into `queue`, where workers claim it for `lease`; what the worker gives is the output.

    The database keeps what the worker says as it is said; here it becomes the outcome of the step, like any other. A
    lease that ran out is an attempt that is over, `lease_expired`: tried again, three times at least.
    """

    type = "task"
    resumes_unrendered = True

    def _run_now(self, task: StepTask) -> Outcome:
        """Ask for it, or take what came of it."""
        if isinstance(task.resume, dict) and "status" in task.resume:
            return _ended(task, task.resume)
        return Parked("task", as_object(task.config))


def _ended(task: StepTask, said: dict[str, Json]) -> Outcome:
    status, worker = said["status"], said.get("worker")
    detail: dict[str, Json] = {"worker": worker, "claimed_at": said.get("claimed_at")}
    if status == "completed":
        return Completed(said.get("output"), detail=detail)
    if status == "timed_out":
        message = f"the worker took longer than {task.timeout_seconds:g} s"
        return Failed(StepError("step_timeout", message, "timeout"), detail=detail)
    if status == "lease_expired":
        message = f"the lease of the worker {worker} ran out"
        return Failed(StepError("lease_expired", message, "lease_expired", retryable=True), detail=detail)
    error = as_object(said.get("error"))
    retry_after = error.get("retry_after")
    return Failed(
        StepError(
            str(error.get("code", "task_failed")),
            str(error.get("message", "the worker said no more")),
            "task",
            retry_after_seconds=None if retry_after is None else float(cast("float", retry_after)),
            details=error.get("details"),
            retryable=error.get("retryable") is not False,
        ),
        detail=detail,
    )
