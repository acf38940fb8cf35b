"""`switch`: choose one of several branches by a value."""

from __future__ import annotations

from flowgres_definitions.strict_json import is_same
from flowgres_runner.steps.base import Completed, Handler, Outcome, StepTask
from flowgres_runner.steps.failures import as_object, invalid_config


class SwitchHandler(Handler):
    """The first of `cases` whose `equals` is the `value` is taken, else `default`.

    Output: {value, branch: "case 1" | ... | "default"}. The steps of its `next`, or of `default`, are the taken ones.
    """

    type = "switch"

    def run_now(self, task: StepTask) -> Outcome:
        """Decide."""
        config = as_object(task.config)
        cases, value = config.get("cases"), config.get("value")
        if not isinstance(cases, list):
            return invalid_config("a switch needs cases")
        branch, taken = "default", config.get("default")
        for number, case in enumerate(cases, 1):
            if isinstance(case, dict) and "equals" in case and is_same(value, case["equals"]):
                branch, taken = f"case {number}", case.get("next")
                break
        steps = tuple(str(step) for step in taken) if isinstance(taken, list) else ()
        return Completed({"value": value, "branch": branch}, taken=steps)
