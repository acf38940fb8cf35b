"""Steps that wait until somebody wakes them: what they have in common."""

from __future__ import annotations

from flowgres_runner.steps.base import Completed, Failed, Handler, Json, Outcome, Parked, StepError, StepTask


class ParkingHandler(Handler):
    """Parks the step, and says what becomes of it when it is woken, or when its time is over.

    A type says in `_park` what it waits for, and in `_woken` what it gives. At its time it completes with what
    `on_timeout` says, else it fails: with `timeout_code`, which is not tried again, as `timeout` bounds the whole wait.
    """

    resumes_unrendered = True
    timeout_code = "timeout"

    def _run_now(self, task: StepTask) -> Outcome:
        """Park the step, or take what it was resumed with."""
        resume = task.resume
        if not isinstance(resume, dict) or "status" not in resume:
            return self._park(task)
        if resume["status"] != "timed_out":
            return self._woken(task, resume)
        if resume.get("is_handled"):
            # Rendered in place of the configuration.
            return Completed(task.config, is_final=True)
        return self._timed_out(task, resume)

    def _park(self, task: StepTask) -> Parked | Failed:
        """What the step waits for."""
        raise NotImplementedError

    def _woken(self, task: StepTask, resume: dict[str, Json]) -> Outcome:
        """What the step gives, now that somebody has woken it with this."""
        raise NotImplementedError

    def _timed_out(self, task: StepTask, resume: dict[str, Json]) -> Outcome:
        """What becomes of the step when nobody has, and it has no `on_timeout`."""
        message = f"nobody came within the {task.timeout_seconds:g} s that the step waits"
        return Failed(StepError(self.timeout_code, message, "timeout", retryable=False))
