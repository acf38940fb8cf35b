"""Errors of the stack.

StackError (a CliError)
├── ComponentMissingError    a program that has to be on the machine is not
└── ProcessFailedError       a program did not start, or did not become ready in time
"""

from __future__ import annotations

from flowgres_cli.errors import CliError


class StackError(CliError):
    """A part of the private stack cannot be had: a stable `code`, a sentence, and a `hint` that says what to do."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ComponentMissingError(StackError):
    """A program that has to be on the machine is not; the hint holds the exact command that gets it."""


class ProcessFailedError(StackError):
    """A program did not start, or did not become ready in time; the message ends with the tail of its log."""
