"""Why a body cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

from flowgres_runner.errors import AttemptError


@dataclass(eq=False)
class BodyError(AttemptError):
    """A body that cannot become an output; `error_class` decides about retries, as that of a step's error."""

    error_class: str = "validation"


class BodyTooLargeError(BodyError):
    """Beyond a limit of size."""

    def __init__(self, message: str) -> None:
        super().__init__("response_too_large", message)
