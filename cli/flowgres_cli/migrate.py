"""Install and upgrade flowgres in a database: pending migrations, the schema files that changed, and rights.

Everything happens in one transaction under an advisory lock, so a failure leaves the database as it was; only
migrations with the header `-- no-transaction` stand between two transactions. What was applied is kept in the ledgers
`flowgres.migrations` and `flowgres.schema_files`. Owners, rights and policies are compared with what the schema files
with the header `-- differences` want, and what differs is mended, and nothing else touched: policies and owners take
strong locks.

MigrationError (a CliError)
├── DatabaseUnreachableError    nobody answers at the connection URL
├── LedgerMismatchError         the database was installed from other files than ours
├── SqlFileError                PostgreSQL refused a statement of a file
└── UpgradeBlockedError         locks were not granted in time; nothing changed, try again
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from flowgres_cli.bundle import Bundle, SqlFile, load_bundle
from flowgres_cli.ledger import (
    LedgerMismatchError,
    MigrationError,
    Status,
    read_problems,
    read_status,
    record_statement,
)

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

__all__ = [
    "LOGIN_ROLES",
    "DatabaseUnreachableError",
    "LedgerMismatchError",
    "MigrationError",
    "SqlFileError",
    "Status",
    "UpgradeBlockedError",
    "create_database",
    "create_roles",
    "script",
    "status",
    "upgrade",
]

_T = TypeVar("_T")

OLDEST_SERVER = 150000
ADVISORY_LOCK = 0x666C6F77  # "flow"
LOCK_TIMEOUT_SECONDS = 3
WAIT_SECONDS = 60
LOGIN_ROLES = ("flowgres_authenticator", "flowgres_runner", "flowgres_front", "flowgres_operator", "flowgres_sql")
ROLES = "access/roles.sql"
NOTIFY = "notify pgrst, 'reload schema';\nnotify pgrst, 'reload config';"


class DatabaseUnreachableError(MigrationError):
    """Nobody answers at the connection URL, or the login was refused."""

    exit_code = 9


class SqlFileError(MigrationError):
    """PostgreSQL refused a statement; the message names file and line."""


class UpgradeBlockedError(MigrationError):
    """Other sessions held the locks for too long; nothing changed, try again."""


def status(dsn: str, *, bundle: Bundle | None = None) -> Status:
    """Compare a database with the SQL of this version. Raises MigrationError."""
    bundle = bundle or load_bundle()
    with _connected(dsn) as connection:
        return replace(read_status(connection, bundle), problems=read_problems(connection, bundle))


def upgrade(
    dsn: str,
    *,
    bundle: Bundle | None = None,
    passwords: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    wait_seconds: float = WAIT_SECONDS,
    on_file: Callable[[SqlFile], None] | None = None,
) -> tuple[SqlFile, ...]:
    """Install flowgres, or bring it to this version; return the files that were applied (none: it was current).

    `passwords` maps login roles (LOGIN_ROLES) to passwords; `settings` seeds the installation's settings. `on_file`
    hears of every file before it runs, and hears again when locks force a retry. The connecting user needs CREATEROLE
    and owns the database, or is a superuser. Raises MigrationError; then nothing has changed, except by files before
    and with a `-- no-transaction` header.
    """
    bundle = bundle or load_bundle()
    run = _Run(bundle, lock_timeout_seconds, on_file or (lambda _: None))
    deadline = time.monotonic() + wait_seconds
    with _connected(dsn) as connection:
        while True:
            lone = _until_granted(lambda: run.transaction(connection, passwords or {}, settings or {}), deadline)
            if lone is None:
                return tuple(run.applied)
            _until_granted(lambda file=lone: run.outside_transaction(connection, file), deadline)  # type: ignore[misc]


def script(*, bundle: Bundle | None = None, pending_only: Status | None = None) -> str:
    """Write what `upgrade` does as one script for psql: for an empty database, or for one with the given status."""
    bundle = bundle or load_bundle()
    migrations = bundle.migrations if pending_only is None else pending_only.pending
    schema_files = bundle.schema_files if pending_only is None else pending_only.changed
    head = f"begin;\n{_preparation(LOCK_TIMEOUT_SECONDS)}\nselect pg_advisory_xact_lock({ADVISORY_LOCK});"
    parts = ["\\set ON_ERROR_STOP on", head]
    for file in (*migrations, *schema_files):
        body = f"-- {'-' * 20} {file.name}\n{file.text.strip()}"
        if file.is_transactional:
            parts += [_preparation(LOCK_TIMEOUT_SECONDS), body, record_statement(file)]
        else:
            parts += ["commit;", body, head, record_statement(file)]
    parts += [_preparation(LOCK_TIMEOUT_SECONDS)]
    parts += [_mending(name, query, is_strict=True) for name, query in bundle.difference_queries.items()]
    parts += [_finish(bundle, {}), "commit;", ""]
    return "\n\n".join(parts)


def create_roles(dsn: str, *, bundle: Bundle | None = None, passwords: Mapping[str, str] | None = None) -> None:
    """Create the roles alone, as the login that is to own the database: what a dump needs before it is restored."""
    bundle = bundle or load_bundle()
    with _connected(dsn) as connection, connection.transaction():
        _execute(connection, _preparation(LOCK_TIMEOUT_SECONDS))
        _mend(connection, {ROLES: bundle.difference_queries[ROLES]}, is_strict=True)
        _set_passwords(connection, passwords or {})


def create_database(dsn: str) -> bool:
    """Create the database of `dsn` unless it exists, through the database `postgres`; tell whether it was created."""
    from psycopg import errors, sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parameters = conninfo_to_dict(dsn)
    name = str(parameters.get("dbname") or parameters.get("user") or "postgres")
    with _connected(make_conninfo(dsn, dbname="postgres")) as connection:
        if connection.execute("select from pg_catalog.pg_database where datname = %s", [name]).fetchone():
            return False
        try:
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        except errors.DuplicateDatabase:
            return False  # another installer was faster
        except errors.InsufficientPrivilege as error:
            raise MigrationError(
                "database_missing",
                f"The database {name} does not exist, and this user may not create it.",
                hint=f"As a superuser: create database {name} owner {connection.info.user};",
            ) from error
    return True


class _Blocked(Exception):
    """A lock was not granted; the transaction was rolled back and may be tried again."""


class _Run:
    """One upgrade: the files applied so far, over all its transactions."""

    def __init__(self, bundle: Bundle, lock_timeout_seconds: float, on_file: Callable[[SqlFile], None]) -> None:
        self.applied: list[SqlFile] = []
        self._bundle = bundle
        self._lock_timeout_seconds = lock_timeout_seconds
        self._on_file = on_file

    def transaction(
        self, connection: Connection, passwords: Mapping[str, str], settings: Mapping[str, Any]
    ) -> SqlFile | None:
        """Apply, in one transaction, what is pending up to the next `-- no-transaction` file, and return that file."""
        done: list[SqlFile] = []
        with _translated_locks(), connection.transaction():
            _take_lock(connection, "pg_try_advisory_xact_lock")
            _execute(connection, _preparation(self._lock_timeout_seconds))
            # A restored database first gets back what the files need to be applied; what cannot be mended yet waits.
            if read_problems(connection, self._bundle):
                _mend(connection, self._bundle.difference_queries, is_strict=False)
            todo = read_status(connection, self._bundle)
            for file in todo.pending:
                if not file.is_transactional:
                    self.applied += done
                    return file
                self._apply(connection, file, done)
            for file in todo.changed:
                self._apply(connection, file, done)
            _execute(connection, _preparation(self._lock_timeout_seconds))
            _mend(connection, self._bundle.difference_queries, is_strict=True)
            _execute(connection, _finish(self._bundle, settings))
            _set_passwords(connection, passwords)
        self.applied += done
        return None

    def outside_transaction(self, connection: Connection, file: SqlFile) -> None:
        """Apply one `-- no-transaction` file statement by statement, and record it."""
        _take_lock(connection, "pg_try_advisory_lock")
        try:
            if file not in read_status(connection, self._bundle).pending:
                return  # another installer was faster
            self._on_file(file)
            for statement in file.statements():
                with _translated_locks(), _named(file):
                    _execute(connection, statement)
            with connection.transaction():
                _execute(connection, record_statement(file))
        finally:
            _execute(connection, f"select pg_advisory_unlock({ADVISORY_LOCK})")
        self.applied.append(file)

    def _apply(self, connection: Connection, file: SqlFile, done: list[SqlFile]) -> None:
        self._on_file(file)
        _execute(connection, _preparation(self._lock_timeout_seconds))
        with _named(file):
            _execute(connection, file.text)
        _execute(connection, record_statement(file))
        done.append(file)


def _preparation(lock_timeout_seconds: float) -> str:
    """What holds at the start of every file: the installing user's own role, no search path, limits on locks alone."""
    return (
        "reset role;\n"
        "set local search_path to pg_catalog, pg_temp;\n"
        "set local client_min_messages to warning;\n"
        "set local check_function_bodies to on;\n"
        "set local statement_timeout to 0;\n"
        f"set local lock_timeout to '{round(lock_timeout_seconds * 1000)}ms';"
    )


def _mend(connection: Connection, queries: Mapping[str, str], *, is_strict: bool) -> None:
    for name, query in queries.items():
        text = _mending(name, query, is_strict=is_strict)
        with _named(SqlFile(name=name, text=text)):
            _execute(connection, text)


def _mending(name: str, query: str, *, is_strict: bool) -> str:
    """Mend what a query of differences names, until it names nothing; when strict, what remains is an error."""
    return f"""do $mending$
declare
  v_found jsonb;
  v_difference jsonb;
begin
  -- An owner who changes takes rights along, so what is left is asked for again.
  for v_round in 1..4 loop
    v_found := (select jsonb_agg(to_jsonb(d)) from (
{query}
) as d);
    exit when v_found is null;
    if v_round = 4 and {str(is_strict).lower()} then
      raise exception '% of {name} cannot be mended: %', jsonb_array_length(v_found), (
        select string_agg(format('%s %s', e.value ->> 'object', e.value ->> 'problem'), '; ')
        from jsonb_array_elements(v_found) with ordinality as e where e.ordinality <= 5);
    end if;
    for v_difference in
      select e.value from jsonb_array_elements(v_found) as e where e.value ->> 'repair' is not null
    loop
      begin
        perform set_config('role', coalesce(v_difference ->> 'actor', 'none'), true);
        execute v_difference ->> 'repair';
      exception
        when lock_not_available or deadlock_detected then raise;
        when others then
          if {str(is_strict).lower()} then raise; end if;
      end;
      perform set_config('role', 'none', true);
    end loop;
  end loop;
end
$mending$;"""  # noqa: S608


def _finish(bundle: Bundle, settings: Mapping[str, Any]) -> str:
    """Forget files that are gone, publish settings and protocol, and tell PostgREST to read the schema again."""
    names = ", ".join(f"'{file.name}'" for file in bundle.schema_files) or "''"
    seeds = json.dumps({**settings, "protocol": bundle.protocol}).replace("'", "''").replace("$", "\\u0024")
    return (
        "set local role flowgres_owner;\n"
        f"delete from flowgres.schema_files where name not in ({names});\n"
        "do $seed$ begin\n"
        "  if to_regprocedure('flowgres.seed_settings(jsonb)') is not null then\n"
        f"    perform flowgres.seed_settings(p_settings => '{seeds}'::jsonb);\n"
        "  end if;\n"
        "end $seed$;\n"
        f"reset role;\n{NOTIFY}"
    )


def _set_passwords(connection: Connection, passwords: Mapping[str, str]) -> None:
    """Give login roles their passwords, hashed here, so that no log of the server ever holds one in clear."""
    from psycopg import sql

    for role, password in passwords.items():
        if role not in LOGIN_ROLES:
            raise MigrationError("unknown_role", f"{role} is no login role of flowgres.", hint=", ".join(LOGIN_ROLES))
        verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
        connection.execute(
            sql.SQL("alter role {} with login password {}").format(sql.Identifier(role), sql.Literal(verifier))
        )


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[Connection]:
    """Connect in autocommit mode; MigrationError when nobody answers, or the server is too old."""
    import psycopg

    try:
        connection = psycopg.connect(dsn, autocommit=True, connect_timeout=10, application_name="flowgres-migrate")
    except psycopg.OperationalError as error:
        raise DatabaseUnreachableError(
            "database_unreachable",
            f"The database does not answer: {str(error).strip()}",
            hint="Check DATABASE_URL (or DATABASE_DIRECT_URL behind a pooler).",
        ) from error
    with connection:
        if connection.info.server_version < OLDEST_SERVER:
            version = connection.info.parameter_status("server_version")
            raise MigrationError(
                "postgres_too_old",
                f"flowgres needs PostgreSQL 15 or newer, and this server is {version}.",
                hint="Upgrade the server, or choose another one.",
            )
        yield connection


def _until_granted(attempt: Callable[[], _T], deadline: float) -> _T:
    """Repeat an attempt that other sessions' locks forbade, with growing pauses, until the deadline."""
    pause = 0.1
    while True:
        try:
            return attempt()
        except _Blocked as error:
            if time.monotonic() + pause > deadline:
                raise UpgradeBlockedError(
                    "upgrade_blocked",
                    f"The upgrade did not get its locks in time: {error}",
                    hint="Another upgrade or a long transaction holds them (see pg_stat_activity). Try again.",
                ) from error
        time.sleep(pause)
        pause = min(pause * 2, 2.0)


def _take_lock(connection: Connection, function: str) -> None:
    # Tried, not waited for: a waiting session's snapshot would stall a concurrent index build of the one that holds it.
    row = connection.execute(f"select {function}({ADVISORY_LOCK})").fetchone()
    if row is None or not row[0]:
        raise _Blocked("another upgrade is under way")


@contextlib.contextmanager
def _translated_locks() -> Iterator[None]:
    from psycopg import errors

    try:
        yield
    except (errors.LockNotAvailable, errors.DeadlockDetected) as error:
        raise _Blocked(str(error).strip()) from error


@contextlib.contextmanager
def _named(file: SqlFile) -> Iterator[None]:
    """Turn an error of PostgreSQL into one that names the file and the line; lock errors pass, to be retried."""
    import psycopg
    from psycopg import errors

    try:
        yield
    except (errors.LockNotAvailable, errors.DeadlockDetected):
        raise
    except psycopg.Error as error:
        position = error.diag.statement_position
        place = f"{file.name}:{file.line_at(int(position))}" if position else file.name
        context = f"\n{error.diag.context}" if error.diag.context else ""
        hint = error.diag.message_hint
        if isinstance(error, errors.InsufficientPrivilege):
            hint = "Install as a superuser, or as a role with CREATEROLE that owns the database."
        primary = error.diag.message_primary or str(error)
        raise SqlFileError("sql_failed", f"{place}: {primary}{context}", hint=hint) from error


def _execute(connection: Connection, text: str) -> None:
    """Run the text of a file or of this module: never a string made from input."""
    connection.execute(text)
