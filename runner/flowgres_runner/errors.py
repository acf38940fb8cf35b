"""What can go wrong in a runner.

    ProcessError                        of flowgres_process, which has SettingsError and SecretError beside
    └── RunnerError
        ├── DatabaseError                   a call of the database gave no answer (connection.classified says which)
        │   ├── DatabaseUnreachableError    no connection, or it broke: the call may or may not have happened
        │   ├── DatabaseContendedError      it gave way to somebody: the same call may succeed in a moment
        │   ├── DatabaseExhaustedError      the server lacks something that it may have again
        │   ├── DatabaseUnfitError          the installation is not what this runner needs: functions, rights
        │   └── DatabaseRefusedError        the call as such was refused: what it says cannot be
        ├── RegistrationError               this database does not want this runner
        ├── OutputError                     an output cannot be stored
        ├── RenderError                     an expression has no value (evaluator.values)
        ├── EvaluatorError                  no process can be started that evaluates (evaluator.pool)
        ├── ChildDiedError                  one ended, or answered nonsense (evaluator.process)
        └── AttemptError                    why an attempt failed, with a class that retries go by
            ├── StepError                       as handlers say it (steps.base)
            ├── HttpError                       a request (http.failures)
            └── BodyError                       the body of its answer (payloads.failures)

Outcomes of steps are values (`steps.base`), not exceptions: what is raised on the way becomes one. Each error has a
stable word, a sentence, and a hint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from flowgres_process.errors import ProcessError


class RunnerError(ProcessError):
    """Base of all errors of the runner; `code` is stable, `hint` says what to do."""

    code = "runner_error"


class DatabaseError(RunnerError):
    """A call of the database gave no answer; `sqlstate` is PostgreSQL's word for why, where it had one."""

    code = "database_error"

    def __init__(self, message: str, *, hint: str = "", code: str | None = None, sqlstate: str | None = None) -> None:
        super().__init__(message, hint=hint, code=code)
        self.sqlstate = sqlstate


class DatabaseUnreachableError(DatabaseError):
    """No connection to PostgreSQL could be made, or the one in use broke; the call may or may not have happened."""

    code = "database_unreachable"


class DatabaseContendedError(DatabaseError):
    """Nothing happened, because somebody else was at it: lock timeout, deadlock, serialization, statement cancelled."""

    code = "database_contended"


class DatabaseExhaustedError(DatabaseError):
    """Nothing happened, because the server lacks disk, memory, connections or a file, and may have it again."""

    code = "database_exhausted"


class DatabaseUnfitError(DatabaseError):
    """Nothing happened, because of the installation: a function or a right is missing, as during an upgrade."""

    code = "database_unfit"


class DatabaseRefusedError(DatabaseError):
    """Nothing happened, and never will: bad values, constraints, limits, refusals by our own functions.

    Of the latter `code`, `message` and `hint` are the function's own.
    """

    code = "database_refused"


class RegistrationError(RunnerError):
    """The database refused this runner: another environment, another protocol, or no schema."""

    code = "runner_refused"


class OutputError(RunnerError):
    """An output that cannot be stored: not JSON as PostgreSQL keeps it, too deep, or too large.

    `error_class` is that of the failure which it makes of its step.
    """

    code = "output_not_storable"

    def __init__(
        self, message: str, *, hint: str = "", code: str | None = None, error_class: str = "validation"
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.error_class = error_class


@dataclass(eq=False)
class AttemptError(RunnerError):
    """Why an attempt failed; `error_class` is what a step's `retry.errors` is matched with."""

    code: str = field()
    message: str = field()
    error_class: str = "step_error"

    def __str__(self) -> str:
        return self.message
