"""Why a body cannot be read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False)
class BodyError(Exception):
    """A body that cannot become an output; `error_class` decides about retries, as that of a step's error."""

    code: str
    message: str
    error_class: str = "validation"

    def __str__(self) -> str:
        return self.message


class BodyTooLargeError(BodyError):
    """Beyond a limit of size."""

    def __init__(self, message: str) -> None:
        super().__init__("response_too_large", message)
