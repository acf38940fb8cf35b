"""A connection to a database as somebody named it; what keeps it from being used is said in words.

Also what SQL refuses in a connection: an error of the engine (SQLSTATE FG<status>) carries its own code, sentence and
hint, and one about the database as such gets ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flowgres_cli.errors import AuthError, CliError, NotFoundError, UnreachableError
from flowgres_cli.refusals import refusal
from flowgres_postgres import State, state_of_connect, state_of_server, state_of_sqlstate

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

_BY_KIND: dict[str, type[CliError]] = {
    "away": UnreachableError,
    "login": AuthError,
    "missing": NotFoundError,
    "state": CliError,
}
CONNECT_SECONDS = 10


@contextlib.contextmanager
def connected(dsn: str, *, application_name: str) -> Iterator[Connection]:
    """Connect in autocommit mode; a CliError when that cannot be, or the server is too old.

    The connection is closed at the end, and what it was doing then is not committed.
    """
    import psycopg

    try:
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=CONNECT_SECONDS, application_name=application_name
        )
    except psycopg.OperationalError as error:
        raise of_state(state_of_connect(str(error))) from error
    with contextlib.closing(connection):
        version = connection.info.server_version
        too_old = state_of_server(version, connection.info.parameter_status("server_version"))
        if too_old is not None:
            raise of_state(too_old)
        # A pooler may have given our statements' names to another session.
        connection.prepare_threshold = None
        yield connection


def require_session(dsn: str) -> None:
    """Refuse an address that leads through a pooler by transaction: an upgrade needs a session of its own."""
    import asyncio

    import psycopg

    from flowgres_postgres.pooling import POOLED, is_pooled_by_transaction

    try:
        is_pooled = asyncio.run(is_pooled_by_transaction(dsn))
    except psycopg.OperationalError as error:
        raise of_state(state_of_connect(str(error))) from error
    if is_pooled:
        raise of_state(POOLED)


@contextlib.contextmanager
def told(arguments: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Turn what SQL refuses in the block into a CliError; `arguments` of the call are named in its hint."""
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        raise of_error(error, arguments) from error


def of_state(state: State) -> CliError:
    """The error, with its exit code, that tells the state of a database."""
    return _BY_KIND[state.kind](state.message, code=state.code, hint=state.hint)


def of_error(error: psycopg.Error, arguments: Mapping[str, Any] | None = None) -> CliError:
    """The error that tells what a statement was refused for."""
    sqlstate = error.sqlstate or ""
    message = error.diag.message_primary or " ".join(str(error).split())
    if sqlstate.startswith("FG"):
        status, code = int(sqlstate.removeprefix("FG")), error.diag.constraint_name or sqlstate
        return refusal(status, code, message, hint=error.diag.message_hint or None, arguments=arguments)
    if sqlstate == "42501":
        return AuthError(
            message, code="right_missing", hint="Connect as flowgres_operator, or as the login that installed flowgres."
        )
    state = state_of_sqlstate(sqlstate) or (None if sqlstate else state_of_connect(str(error)))
    if state is not None:
        return of_state(state)
    return CliError(message, code="database_refused", hint=error.diag.message_hint)
