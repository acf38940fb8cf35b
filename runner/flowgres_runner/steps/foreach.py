"""`foreach`: the hidden beginning of a step that runs once for each item of a list."""

from __future__ import annotations

from flowgres_runner.steps.base import Expanded, Failed, Handler, Outcome, StepError, StepTask

MAX_ITEMS = 10_000


class ForeachHandler(Handler):
    """Its configuration is the `items` of the step; rendered, that has to be a list, and the database does the rest."""

    type = "foreach"
    is_hidden = True

    def _run_now(self, task: StepTask) -> Outcome:
        """Answer with the list."""
        items = task.config
        if not isinstance(items, list):
            message = "the items of a foreach are a list, and these are not"
            return Failed(StepError("items_not_list", message, "expression"))
        if len(items) > MAX_ITEMS:
            message = f"{len(items)} items are more than the {MAX_ITEMS:,} of one foreach"
            return Failed(StepError("too_many_items", message, "validation"))
        return Expanded(items)
