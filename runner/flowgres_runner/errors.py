"""What can go wrong in a runner.

    RunnerError
    ├── SettingsError              the environment of the process is wrong
    ├── DatabaseUnreachableError   no connection, or it broke
    ├── RegistrationError          this database does not want this runner
    ├── OutputError                an output cannot be stored
    └── SecretError                a secret cannot be read or written

Outcomes of steps are values (`steps.base`), not exceptions. Each error has a stable word, a sentence, and a hint.
"""

from __future__ import annotations


class RunnerError(Exception):
    """Base of all errors of the runner; `code` is stable, `hint` says what to do."""

    code = "runner_error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class SettingsError(RunnerError):
    """A variable of the environment is missing or has a value that cannot be used; the message names it."""

    code = "settings_invalid"


class DatabaseUnreachableError(RunnerError):
    """No connection to PostgreSQL could be made, or the one in use broke; the call may or may not have happened."""

    code = "database_unreachable"


class RegistrationError(RunnerError):
    """The database refused this runner: another environment, another protocol, or no schema."""

    code = "runner_refused"


class OutputError(RunnerError):
    """An output that cannot be stored: not JSON as PostgreSQL keeps it, too deep, or too large."""

    code = "output_not_storable"


class SecretError(RunnerError):
    """A secret is missing, or no key that this process has opens it."""

    code = "secret_unreadable"
