"""What a database has: migrations and schema files, from its ledgers, and rights, from its catalogue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowgres_cli.bundle import Bundle, SqlFile
from flowgres_cli.errors import CliError

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[Any]


class MigrationError(CliError):
    """Installing or upgrading failed, and changed nothing: a stable `code`, a sentence, and a `hint` that helps."""

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)


class LedgerMismatchError(MigrationError):
    """The database was installed from other files than ours: a newer version, or an edited migration."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something whose owner, rights, policies or search path differ from what the files of `schema/access` want."""

    object: str
    problem: str

    def __str__(self) -> str:
        return f"{self.object} {self.problem}"


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has, compared with a bundle. `applied` are numbers; the rest is still to do, in order."""

    server_version: str
    applied: tuple[int, ...]
    pending: tuple[SqlFile, ...]
    changed: tuple[SqlFile, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def is_installed(self) -> bool:
        """Tell whether any migration was applied."""
        return bool(self.applied)

    @property
    def is_current(self) -> bool:
        """Tell whether there is nothing to do."""
        return not self.pending and not self.changed and not self.problems


def read_status(connection: Connection, bundle: Bundle) -> Status:
    """Read both ledgers and compare; LedgerMismatchError when the database knows migrations that we do not."""
    # As the login if it has the rights of their owner, which after a restore need not be ours; else as that owner.
    reader = connection.execute(
        "select case when pg_has_role(relowner, 'USAGE') then 'none' else pg_get_userbyid(relowner) end"
        " from pg_class where oid = to_regclass('flowgres.migrations')"
    ).fetchone()
    migrations: dict[int, tuple[str, str]] = {}
    fingerprints: dict[str, str] = {}
    if reader is not None:
        with _translated_refusal(), connection.transaction():
            connection.execute("select set_config('role', %s, true)", reader)
            for number, name, checksum in connection.execute(
                "select number, name, checksum from flowgres.migrations order by number"
            ):
                migrations[number] = (name, checksum)
            fingerprints = dict(connection.execute("select name, fingerprint from flowgres.schema_files").fetchall())
            connection.execute("reset role")
    _check_ledger(migrations, bundle)
    pending = tuple(file for file in bundle.migrations if file.number not in migrations)
    changed = {file for file in bundle.schema_files if fingerprints.get(file.name) != file.checksum}
    if pending or changed:
        changed |= {file for file in bundle.schema_files if file.follows_every_change}
    return Status(
        server_version=connection.info.parameter_status("server_version") or "unknown",
        applied=tuple(migrations),
        pending=pending,
        changed=tuple(file for file in bundle.schema_files if file in changed),
    )


def read_problems(connection: Connection, bundle: Bundle) -> tuple[Problem, ...]:
    """Ask the catalogue, with our own queries, what differs; nothing where flowgres is not installed."""
    problems: list[Problem] = []
    with connection.transaction():
        connection.execute("set local search_path to pg_catalog, pg_temp")
        if connection.execute("select to_regnamespace('flowgres') is not null").fetchone() == (True,):
            for query in bundle.difference_queries.values():
                rows = connection.execute(f"select d.object, d.problem from (\n{query}\n) as d")  # noqa: S608
                problems += [Problem(*row) for row in rows]
    return tuple(problems)


@contextlib.contextmanager
def _translated_refusal() -> Iterator[None]:
    from psycopg import errors

    try:
        yield
    except errors.InsufficientPrivilege as error:
        raise MigrationError(
            "ledger_hidden",
            f"This login may not read what was installed: {error.diag.message_primary}.",
            hint="Connect as the login that installed flowgres; flowgres db install mends its rights.",
        ) from error


def _check_ledger(migrations: Mapping[int, tuple[str, str]], bundle: Bundle) -> None:
    ours = {file.number: file for file in bundle.migrations}
    for number, (name, checksum) in migrations.items():
        file = ours.get(number)
        if file is None:
            raise LedgerMismatchError(
                "database_newer",
                f"The database has the migration {name}, which this version of flowgres does not know.",
                hint="It was installed by a newer version: upgrade flowgres on this machine first.",
            )
        if file.checksum != checksum:
            raise LedgerMismatchError(
                "migration_changed",
                f"The migration {file.name} differs from the one that was applied to the database.",
                hint="Applied migrations never change: restore the file, and put the change into a new migration.",
            )


def record_statement(file: SqlFile) -> str:
    """Enter a file into its ledger, as the owner of the ledger. Names were checked when the bundle was read."""
    if file.number is not None:
        row = (
            "insert into flowgres.migrations (number, name, checksum)\n"
            f"values ({file.number}, '{file.name}', '{file.checksum}');"
        )
    else:
        row = (
            "insert into flowgres.schema_files (name, fingerprint)\n"
            f"values ('{file.name}', '{file.checksum}')\n"
            "on conflict (tenant_id, name) do update\n"
            "set fingerprint = excluded.fingerprint, applied_at = clock_timestamp();"
        )
    return f"reset role;\nset local role flowgres_owner;\n{row}\nreset role;"
