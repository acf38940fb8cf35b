"""Failures that several step types share."""

from __future__ import annotations

from flowgres_runner.errors import OutputError
from flowgres_runner.json_values import encode_json
from flowgres_runner.steps.base import Failed, Json, StepError


def invalid_config(message: str, *, details: Json = None) -> Failed:
    """The configuration, as rendered, cannot be used; trying again would not help."""
    return Failed(StepError(code="config_invalid", message=message, error_class="validation", details=details))


def output_failure(error: OutputError) -> Failed:
    """A value of the step cannot be stored, or not be read."""
    return Failed(StepError(code=error.code, message=error.message, error_class=error.error_class))


def internal_failure() -> Failed:
    """A bug of ours: the log has the traceback, the execution a fixed text."""
    return Failed(
        StepError(
            code="internal_error",
            message="the step failed because of an internal error; the runner's log has the details",
            error_class="internal",
        )
    )


def not_configured(what: str, name: str, *, setting: str, stands_for: str) -> StepError:
    """Nobody has said whose account is to be used: that is never passed over in silence."""
    return StepError(
        "provider_not_configured",
        f"{what} is not configured: the secret {name} is not stored",
        "definition",
        details={
            "hint": f"Store it: flowgres secrets set {name}. For {stands_for}: flowgres settings set {setting}."
            " An operator may share one with all tenants by SHARED_PROVIDER_KEYS=true."
        },
        retryable=False,
    )


def as_object(config: Json) -> dict[str, Json]:
    """The configuration as an object; an empty one when it is something else."""
    return config if isinstance(config, dict) else {}


def as_text(value: Json) -> str:
    """A rendered value within a sentence: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return encode_json(value)
