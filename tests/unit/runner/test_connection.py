"""What an error of the database means to whoever called it."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from flowgres_runner.database.connection import classified, is_disconnect
from flowgres_runner.errors import (
    DatabaseContendedError,
    DatabaseError,
    DatabaseExhaustedError,
    DatabaseRefusedError,
    DatabaseUnfitError,
)

EVERY = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, psycopg.Error) and getattr(error, "sqlstate", None)
]

KINDS: list[tuple[type[psycopg.Error], type[DatabaseError]]] = [
    (errors.LockNotAvailable, DatabaseContendedError),
    (errors.DeadlockDetected, DatabaseContendedError),
    (errors.SerializationFailure, DatabaseContendedError),
    (errors.QueryCanceled, DatabaseContendedError),
    (errors.ObjectInUse, DatabaseContendedError),
    (errors.DiskFull, DatabaseExhaustedError),
    (errors.OutOfMemory, DatabaseExhaustedError),
    (errors.TooManyConnections, DatabaseExhaustedError),
    (errors.IoError, DatabaseExhaustedError),
    (errors.UndefinedFunction, DatabaseUnfitError),
    (errors.InsufficientPrivilege, DatabaseUnfitError),
    (errors.InvalidSchemaName, DatabaseUnfitError),
    (errors.ReadOnlySqlTransaction, DatabaseUnfitError),
    (errors.UntranslatableCharacter, DatabaseRefusedError),
    (errors.UniqueViolation, DatabaseRefusedError),
    (errors.ProgramLimitExceeded, DatabaseRefusedError),
    (errors.RaiseException, DatabaseRefusedError),
    (errors.InternalError_, DatabaseRefusedError),
]


@pytest.mark.parametrize(("error", "kind"), KINDS, ids=[error.__name__ for error, _ in KINDS])
def test_kind_of_an_error(error: type[psycopg.Error], kind: type[DatabaseError]) -> None:
    found = classified(error("no"))
    assert type(found) is kind
    assert found.sqlstate == error.sqlstate


def test_data_are_blamed_for_nothing_but_data() -> None:
    assert len(EVERY) > 200
    blamed = {str(error.sqlstate)[:2] for error in EVERY if isinstance(classified(error("no")), DatabaseRefusedError)}
    assert blamed == {"22", "23", "54", "P0", "XX"}


@pytest.mark.parametrize(
    "error",
    [errors.AdminShutdown, errors.CannotConnectNow, errors.ConnectionFailure, errors.FeatureNotSupported,
     errors.InvalidSqlStatementName, psycopg.OperationalError, psycopg.InterfaceError],
)  # fmt: skip
def test_connection_of_no_more_use_is_left(error: type[psycopg.Error]) -> None:
    assert is_disconnect(error("gone"))


def test_standby_is_no_primary_any_more() -> None:
    class NowReadOnly(psycopg.Error):
        sqlstate = "25006"

    assert is_disconnect(NowReadOnly("no"))
