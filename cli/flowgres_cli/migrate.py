"""Install and upgrade flowgres in a database: pending migrations, the schema files that changed, and rights.

Everything happens in one transaction under an advisory lock, so a failure leaves the database as it was; only
migrations with the header `-- no-transaction` stand between two transactions. What was applied is kept in the ledgers
`flowgres.migrations` and `flowgres.schema_files`. Owners, rights and policies are compared with what the schema files
with the header `-- differences` want, and what differs is mended, and nothing else touched: policies and owners take
strong locks.

CliError                        nobody answers, the login is refused, SQL refused (connecting.py)
└── MigrationError
    ├── LedgerMismatchError     the database was installed from other files than ours
    ├── SqlFileError            PostgreSQL refused a statement of a file
    └── UpgradeBlockedError     locks were not granted in time; nothing changed, try again
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flowgres_cli.bundle import Bundle, SqlFile, load_bundle
from flowgres_cli.connecting import connected, of_error, require_session, told
from flowgres_cli.footing import check_footing
from flowgres_cli.ledger import (
    LedgerMismatchError,
    MigrationError,
    Status,
    read_installation,
    read_problems,
    read_status,
    record_statement,
)
from flowgres_cli.locks import (
    UpgradeBlockedError,
    changed_relations,
    lock_ahead,
    mended_relations,
    take_turn,
    translated_locks,
    until_granted,
)
from flowgres_cli.logins import LOGIN_ROLES, check_passwords, set_passwords
from flowgres_cli.statements import ADVISORY_LOCK, LOCK_TIMEOUT_SECONDS, finish, mending, preparation, script
from flowgres_cli.table_triggers import read_table_triggers
from flowgres_postgres import state_of_sqlstate

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]

__all__ = [
    "LOGIN_ROLES",
    "LedgerMismatchError",
    "MigrationError",
    "SqlFileError",
    "Status",
    "UpgradeBlockedError",
    "adopt",
    "create_database",
    "create_roles",
    "script",
    "status",
    "upgrade",
]

APPLICATION = "flowgres-migrate"
WAIT_SECONDS = 60
ROLES = "access/roles.sql"


class SqlFileError(MigrationError):
    """PostgreSQL refused a statement; the message names file and line."""


def status(dsn: str, *, bundle: Bundle | None = None) -> Status:
    """Compare a database with the SQL of this version. Raises CliError."""
    bundle = bundle or load_bundle()
    with connected(dsn, application_name=APPLICATION) as connection, told():
        found = read_status(connection, bundle)
        found = replace(found, problems=read_problems(connection, bundle), installation=read_installation(connection))
        return replace(found, table_triggers=read_table_triggers(connection) if found.is_current else ())


def upgrade(
    dsn: str,
    *,
    bundle: Bundle | None = None,
    passwords: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
    changes_environment: bool = False,
    changes_passwords: bool = False,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
    wait_seconds: float = WAIT_SECONDS,
    on_file: Callable[[SqlFile], None] | None = None,
) -> tuple[SqlFile, ...]:
    """Install flowgres, or bring it to this version; return the files that were applied (none: it was current).

    `passwords` maps login roles (LOGIN_ROLES) to passwords, which other installations on the same server must have as
    well unless `changes_passwords`. `settings` seeds the installation's settings; of these the environment is refused
    where an installed one differs, unless `changes_environment`. `on_file` hears of every file before it runs, and
    hears again when locks force a retry. The connecting user needs CREATEROLE and owns the database, or is a superuser.
    Raises CliError; then nothing has changed, except by files before and with a `-- no-transaction` header.
    """
    run = _Run(
        bundle=bundle or load_bundle(),
        passwords=passwords or {},
        settings=settings or {},
        changes_environment=changes_environment,
        lock_timeout_seconds=lock_timeout_seconds,
        on_file=on_file or (lambda _: None),
    )
    deadline = time.monotonic() + wait_seconds
    with connected(dsn, application_name=APPLICATION) as connection, told():
        require_session(dsn)
        check_footing(connection)
        if not changes_passwords:
            check_passwords(connection, dsn, run.passwords)
        while True:
            lone = until_granted(lambda: run.transaction(connection), deadline)
            if lone is None:
                return tuple(run.applied)
            until_granted(lambda file=lone: run.outside_transaction(connection, file), deadline)  # type: ignore[misc]


def create_roles(
    dsn: str,
    *,
    bundle: Bundle | None = None,
    passwords: Mapping[str, str] | None = None,
    changes_passwords: bool = False,
) -> None:
    """Create the roles alone, as the login that is to own the database: what a dump needs before it is restored."""
    bundle = bundle or load_bundle()
    with connected(dsn, application_name=APPLICATION) as connection, told():
        check_footing(connection)
        if not changes_passwords:
            check_passwords(connection, dsn, passwords or {})
        with connection.transaction():
            _execute(connection, preparation(LOCK_TIMEOUT_SECONDS))
            _mend(connection, {ROLES: bundle.difference_queries[ROLES]}, is_strict=True)
            set_passwords(connection, passwords or {})


def create_database(dsn: str) -> bool:
    """Create the database of `dsn` unless it exists, through the database `postgres`; tell whether it was created."""
    from psycopg import errors, sql
    from psycopg.conninfo import conninfo_to_dict, make_conninfo

    parameters = conninfo_to_dict(dsn)
    name = str(parameters.get("dbname") or parameters.get("user") or "postgres")
    with connected(make_conninfo(dsn, dbname="postgres"), application_name=APPLICATION) as connection, told():
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


def adopt(dsn: str) -> dict[str, Any]:
    """Say, as an operator, that runners may work in this copy: {installation_id, is_adopted}. Raises CliError."""
    with connected(dsn, application_name=APPLICATION) as connection, told(), connection.transaction():
        row = connection.execute("select flowgres_api.adopt_installation()").fetchone()
        return dict(row[0]) if row else {}


@dataclass(slots=True)
class _Run:
    """One upgrade: what is wanted, and the files applied so far, over all its transactions."""

    bundle: Bundle
    passwords: Mapping[str, str]
    settings: Mapping[str, Any]
    changes_environment: bool
    lock_timeout_seconds: float
    on_file: Callable[[SqlFile], None]
    applied: list[SqlFile] = field(default_factory=list)

    def transaction(self, connection: Connection) -> SqlFile | None:
        """Apply, in one transaction, what is pending up to the next `-- no-transaction` file, and return that file."""
        done: list[SqlFile] = []
        with translated_locks(), connection.transaction():
            take_turn(connection, "pg_try_advisory_xact_lock")
            _execute(connection, preparation(self.lock_timeout_seconds))
            # A restored database first gets back what the files need to be applied; what cannot be mended yet waits.
            problems = read_problems(connection, self.bundle)
            if problems:
                lock_ahead(connection, mended_relations(problems), self.lock_timeout_seconds)
                _mend(connection, self.bundle.difference_queries, is_strict=False)
            found = read_status(connection, self.bundle)
            lock_ahead(connection, changed_relations(found), self.lock_timeout_seconds)
            for file in found.pending:
                if not file.is_transactional:
                    self.applied += done
                    return file
                self._apply(connection, file, done)
            for file in found.changed:
                self._apply(connection, file, done)
            _execute(connection, preparation(self.lock_timeout_seconds))
            _mend(connection, self.bundle.difference_queries, is_strict=True)
            self._settle(connection, found)
            set_passwords(connection, self.passwords)
        self.applied += done
        return None

    def outside_transaction(self, connection: Connection, file: SqlFile) -> None:
        """Apply one `-- no-transaction` file statement by statement, and record it."""
        take_turn(connection, "pg_try_advisory_lock")
        try:
            if file not in read_status(connection, self.bundle).pending:
                return  # another installer was faster
            self.on_file(file)
            for statement in file.statements():
                with translated_locks(), _named(file):
                    _execute(connection, statement)
            with connection.transaction():
                _execute(connection, record_statement(file))
        finally:
            _execute(connection, f"select pg_advisory_unlock({ADVISORY_LOCK})")
        self.applied.append(file)

    def _apply(self, connection: Connection, file: SqlFile, done: list[SqlFile]) -> None:
        self.on_file(file)
        _execute(connection, preparation(self.lock_timeout_seconds))
        with _named(file):
            _execute(connection, file.text)
        _execute(connection, record_statement(file))
        done.append(file)

    def _settle(self, connection: Connection, found: Status) -> None:
        """Seed the settings; which environment this is stays, once it is installed, unless a change is meant."""
        seeds = dict(self.settings)
        environment = seeds.pop("environment", None) if found.is_installed else None
        if environment is not None:
            _execute(connection, "set local role flowgres_owner")
            connection.execute(
                "select flowgres.keep_environment(p_environment => %s, p_is_change => %s)",
                [environment, self.changes_environment],
            )
            _execute(connection, "reset role")
        _execute(connection, finish(self.bundle, seeds))


def _mend(connection: Connection, queries: Mapping[str, str], *, is_strict: bool) -> None:
    for name, query in queries.items():
        text = mending(name, query, is_strict=is_strict)
        with _named(SqlFile(name=name, text=text)):
            _execute(connection, text)


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
        state = state_of_sqlstate(error.sqlstate)
        if error.sqlstate is None or (state is not None and state.kind != "missing"):
            raise of_error(error) from error
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
