"""Step types: one module each. A package that brings one of its own imports what is named here, and nothing else."""

from flowgres_runner.steps.base import (
    ChildStarted,
    Completed,
    ConfigInvalidError,
    Failed,
    HttpAnswer,
    HttpFailedError,
    Json,
    Outcome,
    StepError,
    StepHttp,
    StepLog,
    StepTask,
    StepType,
    Suspended,
)

__all__ = [
    "ChildStarted",
    "Completed",
    "ConfigInvalidError",
    "Failed",
    "HttpAnswer",
    "HttpFailedError",
    "Json",
    "Outcome",
    "StepError",
    "StepHttp",
    "StepLog",
    "StepTask",
    "StepType",
    "Suspended",
]
