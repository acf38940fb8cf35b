"""What can go wrong in any process of flowgres.

    ProcessError
    ├── SettingsError    the environment of the process is wrong
    ├── SecretError      a secret is missing, or no key that this process has opens it
    ├── RunnerError      what can go wrong in a runner (`flowgres_runner.errors`)
    └── Problem          a request that the front refuses (`flowgres_front.problems`)

Each error has a stable word, a sentence, and a hint.
"""

from __future__ import annotations


class ProcessError(Exception):
    """Base of all errors of a process; `code` is stable, `hint` says what to do."""

    code = "process_error"
    message = ""
    hint = ""

    def __init__(self, message: str, *, hint: str = "", code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class SettingsError(ProcessError):
    """A variable of the environment is missing or has a value that cannot be used; the message names it."""

    code = "settings_invalid"


class SecretError(ProcessError):
    """A secret is missing, or no key that this process has opens it."""

    code = "secret_unreadable"
