"""`switch`: choose one of several branches by a value."""

from __future__ import annotations

from typing import cast

from flowgres_definitions.strict_json import is_same
from flowgres_runner.steps.base import Completed, Handler, Json, Outcome, StepTask
from flowgres_runner.steps.failures import as_object


class SwitchHandler(Handler):
    """The first of `cases` whose `equals` is the `value` is taken, else `default`.

    Output: {value, branch: "case 1" | ... | "default"}. The steps of its `next`, or of `default`, are the taken ones.
    """

    type = "switch"

    def _run_now(self, task: StepTask) -> Outcome:
        """Decide."""
        config = as_object(task.config)
        value, branch, taken = config["value"], "default", config.get("default")
        for number, case in enumerate(cast("list[dict[str, Json]]", config["cases"]), 1):
            if is_same(value, case["equals"]):
                branch, taken = f"case {number}", case["next"]
                break
        steps = tuple(str(step) for step in taken) if isinstance(taken, list) else ()
        return Completed({"value": value, "branch": branch}, taken=steps)
