"""`sql`: call a function of the user's own in the database."""

from __future__ import annotations

from typing import Any

import psycopg

from flowgres_runner.database.calls import MAX_ROWS, Called, Lost, SqlCalls, TooLarge, TooManyRows, Unreachable
from flowgres_runner.steps.base import Completed, Failed, Handler, Json, Outcome, StepError, StepTask

MAX_TEXT = 500
"""Characters of what an error says in each of its fields."""


class SqlStep(Handler):
    """Call `function` with `args`. What it does and what it returned are committed together, under the lease.

    So it is done once, however often the step is run: where the runner is lost after that, the step goes on with what
    was returned. Output: a scalar, an object for a row, an array for rows, null for nothing.
    """

    type = "sql"
    waits = True
    is_bounded = True  # the call has its own limits, and knows when it is too late to give up
    is_optional = True
    resumes_unrendered = True

    def __init__(self, calls: SqlCalls) -> None:
        self._calls = calls

    async def _run(self, task: StepTask) -> Outcome:
        """Call it, or take what it returned before."""
        if isinstance(task.resume, dict) and task.resume.get("status") == "called":
            return Completed(task.resume.get("output"))
        config: Any = task.config
        try:
            given = await self._calls.call(
                task.lease, config["function"], config.get("args", {}), seconds=task.timeout_seconds
            )
        except psycopg.Error as error:
            return Failed(failure_of(error, task.timeout_seconds))
        except TooManyRows:
            message = f"the function returned more than {MAX_ROWS:,} rows"
            return Failed(StepError("too_many_rows", message, "sql", retryable=False))
        except TooLarge as error:
            hint: Json = {"hint": "Return less, such as a key under which the rest is found."}
            message = f"the output is larger than {error} bytes"
            return Failed(StepError("output_too_large", message, "sql", details=hint, retryable=False))
        except Lost:
            message = "the step was taken away while its function ran, and what that had done is undone"
            return Failed(StepError("sql_lease_lost", message, "conflict"))
        except Unreachable as error:
            return Failed(StepError("sql_unreachable", f"the database could not be reached: {error}", "connect"))
        except TimeoutError:
            message = f"no connection for the call was free within {task.timeout_seconds:g} s"
            details: Json = {"hint": "RUNNER_SQL_CONNECTIONS says how many functions a runner calls at once."}
            return Failed(StepError("sql_busy", message, "timeout", details=details))
        if isinstance(given, Called):
            return Completed(given.output)
        details = None if given.hint is None else {"hint": given.hint}
        return Failed(StepError(given.code, given.message, "validation", details=details, retryable=False))


def failure_of(error: psycopg.Error, seconds: float) -> StepError:
    """What an error of SQL is to a step: its own words, and whether it can pass."""
    state, diag = error.sqlstate or "", error.diag
    message = _short(diag.message_primary or str(error)) or type(error).__name__
    if state == "57014" or isinstance(error, psycopg.errors.QueryCanceled):
        return StepError("sql_timeout", f"the function took longer than {seconds:g} s", "timeout")
    details: dict[str, Json] = {"sqlstate": state or None, "hint": _short(diag.message_hint)}
    if state.startswith("40") or state == "55P03":
        return StepError("sql_conflict", message, "conflict", details=_known(details), retryable=True)
    if state.startswith("FG") and state[2:].isdigit():
        # A function of flowgres, called by theirs, has refused something.
        details["status"] = int(state[2:])
        return StepError(diag.constraint_name or "sql_failed", message, "sql", details=_known(details))
    if state.startswith("23"):
        details |= {"table": diag.table_name, "constraint": diag.constraint_name, "column": diag.column_name}
    elif state.startswith("P0") or state[:1] not in "0123456789FXH":
        # What the function raised itself; the server's own details quote rows.
        details["detail"] = _short(diag.message_detail)
    return StepError("sql_failed", message, "sql", details=_known(details))


def _known(details: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in details.items() if value is not None}


def _short(text: str | None) -> str | None:
    return None if not text else " ".join(text.split())[:MAX_TEXT]
