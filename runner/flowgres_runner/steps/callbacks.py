"""The second half of an `http` step with `callback`: it waits until the address that it sent along is called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flowgres_runner.json_values import LARGE_BYTES, weight_of
from flowgres_runner.payloads.texts import JsonText
from flowgres_runner.steps.base import Completed, Failed, Json, Outcome, Parked, StepError, StepTask

DEFAULT_SECONDS = 7 * 86_400.0

UNAVAILABLE = Failed(
    StepError(
        "callback_unavailable",
        "this runner has no address at which a step can be called: set PUBLIC_URL and FLOWGRES_SECRET_KEY",
        "definition",
        retryable=False,
    )
)


def parked(answered: Completed, how: Mapping[str, Any]) -> Parked:
    """Wait to be called, now that the request was answered. Of the answer no more than 64 KiB are kept meanwhile."""
    output = answered.output
    answer: Any = json.loads(output.data) if isinstance(output, JsonText) else output
    if isinstance(answer, dict) and weight_of(json.dumps(answer)) > LARGE_BYTES:
        answer = {**answer, "body": None, "body_dropped": True}
    return Parked("callback", {}, float(how.get("timeout", DEFAULT_SECONDS)), kept={"request": answer})


def resumed(task: StepTask, resume: Mapping[str, Json]) -> Outcome:
    """What a call, or the end of the time, makes of the step."""
    if resume["status"] == "timed_out":
        if resume.get("is_handled"):
            # Rendered in place of the configuration.
            return Completed(task.config, is_final=True, detail=resume.get("record"))
        message = "nobody has called the address of the step in its time"
        error = StepError("callback_timeout", message, "timeout", retryable=False)
        return Failed(error, detail=resume.get("record"))
    payload = resume.get("payload")
    if not isinstance(payload, dict):
        message = "what woke the step is not kept any more"
        return Failed(StepError("signal_expired", message, "internal", retryable=False))
    called: dict[str, Json] = {**payload, "received_at": resume.get("received_at")}
    return Completed({"request": resume.get("request"), "callback": called}, detail=resume.get("record"))
