"""Failures that several step types share."""

from __future__ import annotations

from flowgres_runner.json_values import encode_json
from flowgres_runner.steps.base import Failed, Json, StepError


def invalid_config(message: str, *, details: Json = None) -> Failed:
    """The configuration, as rendered, cannot be used; trying again would not help."""
    return Failed(StepError(code="config_invalid", message=message, error_class="validation", details=details))


def as_object(config: Json) -> dict[str, Json]:
    """The configuration as an object; an empty one when it is something else."""
    return config if isinstance(config, dict) else {}


def as_text(value: Json) -> str:
    """A rendered value within a sentence: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return encode_json(value)
