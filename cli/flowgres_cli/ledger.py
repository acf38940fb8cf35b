"""What a database has: migrations and schema files, from its ledgers, and rights, from its catalogue."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flowgres_cli.bundle import Bundle, SqlFile
from flowgres_cli.errors import CliError
from flowgres_cli.table_triggers import TableTriggers

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
class Installation:
    """What an installation says of itself. `is_copy`: it was made by copying another, and nobody has adopted it."""

    id: str
    version: str
    environment: str
    is_copy: bool


@dataclass(frozen=True, slots=True)
class Status:
    """What a database has, compared with a bundle. `applied` are numbers; the rest is still to do, in order.

    `installation` is None where flowgres is missing, or too old to say. `table_triggers` are told where it is current:
    workflows ask for them, so they are not what there is to do.
    """

    server_version: str
    applied: tuple[int, ...]
    pending: tuple[SqlFile, ...]
    changed: tuple[SqlFile, ...]
    problems: tuple[Problem, ...] = ()
    installation: Installation | None = None
    table_triggers: tuple[TableTriggers, ...] = ()

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
    reader = _reader(connection)
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
    if pending:
        # Sessions keep the plans of functions, and one that names all columns of a type does not notice a new one. A
        # function that is replaced is planned anew.
        changed |= {file for file in bundle.schema_files if file.only_replaces_functions}
    return Status(
        server_version=connection.info.parameter_status("server_version") or "unknown",
        applied=tuple(migrations),
        pending=pending,
        changed=tuple(file for file in bundle.schema_files if file in changed),
    )


def _reader(connection: Connection) -> tuple[str] | None:
    """The role that reads the ledgers, `none` for the login itself; None where there are none.

    As the login if it has the rights of their owner, which after a restore need not be ours, or may read them, as an
    operator; else as that owner. Raises MigrationError for a schema `flowgres` that is somebody else's.
    """
    row = connection.execute(
        "select case when pg_has_role(c.relowner, 'USAGE') or has_table_privilege(c.oid, 'SELECT') then 'none'"
        " else pg_get_userbyid(c.relowner) end"
        " from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace"
        " where n.nspname = 'flowgres' and c.relname = 'migrations' and 4 = (select count(*)"
        " from pg_catalog.pg_attribute as a"
        " where a.attrelid = c.oid and a.attname in ('tenant_id', 'number', 'name', 'checksum'))"
    ).fetchone()
    if row is None:
        foreign = connection.execute(
            "select n.nspname, pg_get_userbyid(n.nspowner) from pg_catalog.pg_namespace as n"
            " where n.nspname in ('flowgres', 'flowgres_api') order by 1"
        ).fetchone()
        if foreign is not None:
            raise MigrationError(
                "schema_taken",
                f"This database has a schema {foreign[0]} of {foreign[1]} that is not flowgres's.",
                hint=f"Rename it (alter schema {foreign[0]} rename to ...), or take another database:"
                " flowgres db install --create-database",
            )
    return row


def has_ledger(connection: Connection) -> bool:
    """Whether flowgres is there, in whatever state. Raises MigrationError for a schema of somebody else."""
    return _reader(connection) is not None


def read_problems(connection: Connection, bundle: Bundle) -> tuple[Problem, ...]:
    """Ask the catalogue, with our own queries, what differs; nothing where flowgres is not installed."""
    problems: list[Problem] = []
    if has_ledger(connection):
        with connection.transaction():
            connection.execute("set local search_path to pg_catalog, pg_temp")
            for query in bundle.difference_queries.values():
                rows = connection.execute(f"select d.object, d.problem from (\n{query}\n) as d")  # noqa: S608
                problems += [Problem(*row) for row in rows]
    return tuple(problems)


def read_installation(connection: Connection) -> Installation | None:
    """Ask the installation who it is, as whoever may read its ledgers; None where it cannot say."""
    from psycopg import errors

    row = None
    reader = _reader(connection)
    if reader is None:
        return None
    # Older versions lack table and functions; and where rights are not as they should be, that is told as a problem.
    lacking = (errors.InsufficientPrivilege, errors.UndefinedTable, errors.UndefinedFunction)
    with contextlib.suppress(*lacking), connection.transaction():
        connection.execute("select set_config('role', %s, true)", reader)
        row = connection.execute(
            "select i.id::text, flowgres.version(), s.value #>> '{}', flowgres.is_copy()"
            " from flowgres.settings as s left join flowgres.installation as i on true"
            " where s.name = 'environment' and s.tenant_id = '00000000-0000-0000-0000-000000000000'"
        ).fetchone()
    return Installation(*row) if row else None


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
