"""What can go wrong at the command line, and the exit code of each.

    CliError                      1    anything else that failed, in words
    ├── UsageProblemError         2    the call itself is wrong
    ├── NotFoundError             3
    ├── InvalidDefinitionError    4
    ├── AuthError                 5
    ├── ConflictError             6
    ├── ExecutionFailedError      7
    ├── ExecutionCancelledError   8
    ├── UnreachableError          9    no server, or one that is not ready
    ├── WaitTimeoutError        124
    └── StoppedByUserError      130

Every error says what happened; `where` (file:line:col or an address) and `hint` (how to fix it) when they are known.
"""

from __future__ import annotations

from typing import ClassVar


class CliError(Exception):
    """Something failed for a reason that the user can read; never shown with a traceback."""

    exit_code: ClassVar[int] = 1

    def __init__(
        self, message: str, *, code: str | None = None, where: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.where = where
        self.hint = hint


class UsageProblemError(CliError):
    """The call is wrong: a bad value in the environment, a profile or an argument."""

    exit_code = 2


class NotFoundError(CliError):
    """What was named does not exist, or not for this tenant."""

    exit_code = 3


class InvalidDefinitionError(CliError):
    """A workflow definition has errors."""

    exit_code = 4


class AuthError(CliError):
    """No credentials, wrong ones, or not enough rights."""

    exit_code = 5


class ConflictError(CliError):
    """It clashes with what is there: a name taken, a workflow in use, a key used for another payload."""

    exit_code = 6


class ExecutionFailedError(CliError):
    """The execution ran and failed."""

    exit_code = 7


class ExecutionCancelledError(CliError):
    """The execution was cancelled."""

    exit_code = 8


class UnreachableError(CliError):
    """Nothing answers at the address, or what answers is not ready."""

    exit_code = 9


class WaitTimeoutError(CliError):
    """The time given to wait is over; the execution goes on."""

    exit_code = 124


class StoppedByUserError(CliError):
    """Ctrl-C while something goes on elsewhere."""

    exit_code = 130
