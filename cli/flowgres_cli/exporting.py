"""An export of a tenant: a file of JSON lines that says of itself what it holds, and the check of one.

The first line names the tenant and the installation, each further one is a row of a table, and the last one is the
manifest: of each table the number of its rows and the SHA-256 of its lines, and that of all lines before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from flowgres_cli.errors import CliError, NotFoundError

if TYPE_CHECKING:
    import psycopg

Json = Any
FORMAT = 1
_BATCH = 1_000


@dataclass(slots=True)
class Manifest:
    """What has been seen of an export so far, line by line."""

    counts: dict[str, int] = field(default_factory=dict)
    hashes: dict[str, Any] = field(default_factory=dict)
    whole: Any = field(default_factory=hashlib.sha256)

    def add(self, line: str, table: str | None) -> None:
        data = line.encode() + b"\n"
        self.whole.update(data)
        if table is not None:
            self.counts[table] = self.counts.get(table, 0) + 1
            self.hashes.setdefault(table, hashlib.sha256()).update(data)

    def describe(self, tables: Iterable[str]) -> dict[str, Json]:
        nothing = hashlib.sha256()
        return {
            "tables": {
                table: {"rows": self.counts.get(table, 0), "sha256": self.hashes.get(table, nothing).hexdigest()}
                for table in tables
            },
            "rows": sum(self.counts.values()),
            "sha256": self.whole.hexdigest(),
        }


def write_export(connection: psycopg.Connection[Any], slug: str, write: Callable[[str], object]) -> dict[str, Json]:
    """Write everything of a tenant as it was at one moment; returns the manifest. Rows are never all in memory."""
    from psycopg import sql

    # One snapshot for all tables; nothing is written, and no row is locked.
    connection.execute("set transaction isolation level repeatable read read only")
    tenant = connection.execute(
        "select t.tenant_id::text, t.slug, t.name, t.status, i.id::text, flowgres.version(), flowgres.now()::text"
        " from flowgres.tenants as t cross join flowgres.installation as i where t.slug = %s",
        (slug,),
    ).fetchone()
    if tenant is None:
        raise NotFoundError(f"tenant '{slug}' does not exist", code="tenant_not_found", hint="flowgres tenants list")
    tables = connection.execute(
        "select table_name, columns, omitted, key from flowgres.export_tables() order by 1"
    ).fetchall()
    head = {
        "flowgres_export": FORMAT,
        "tenant": dict(zip(("tenant_id", "slug", "name", "status"), tenant[:4], strict=True)),
        "installation": tenant[4],
        "version": tenant[5],
        "exported_at": tenant[6],
        "omitted": {name: omitted for name, _, omitted, _ in tables if omitted},
    }
    manifest = Manifest()

    def put(line: str, table: str | None) -> None:
        manifest.add(line, table)
        write(line + "\n")

    put(_line(head), None)
    for name, columns, _, key in tables:
        query = sql.SQL(
            "select row_to_json(r)::text from (select {} from flowgres.{} where tenant_id = %s order by {}) as r"
        ).format(_names(columns), sql.Identifier(name), _names(key))
        with connection.cursor(name="export") as cursor:
            cursor.itersize = _BATCH
            cursor.execute(query, (tenant[0],))
            for (row,) in cursor:
                # The text of the database: a number keeps every digit.
                put(f'{{"table":{json.dumps(name)},"row":{row}}}', name)
    described = manifest.describe(name for name, *_ in tables)
    write(_line({"manifest": described}) + "\n")
    return described


def check_export(lines: Iterable[str]) -> dict[str, Json]:
    """Read an export and compare it with its manifest; a CliError names the first thing that is wrong."""
    manifest = Manifest()
    head: dict[str, Json] | None = None
    told: dict[str, Json] | None = None
    for number, raw in enumerate(lines, 1):
        if told is not None:
            raise _broken(f"line {number} stands behind the manifest")
        line = raw.removesuffix("\n")
        try:
            value = json.loads(line)
        except ValueError as error:
            raise _broken(f"line {number} is not JSON") from error
        if not isinstance(value, dict):
            raise _broken(f"line {number} is no object")
        if head is None:
            if value.get("flowgres_export") != FORMAT:
                raise _broken(f"the first line does not say flowgres_export: {FORMAT}")
            head = value
            manifest.add(line, None)
        elif "manifest" in value:
            told = value["manifest"]
        elif isinstance(value.get("table"), str) and isinstance(value.get("row"), dict):
            if value["row"].get("tenant_id") != head["tenant"]["tenant_id"]:
                raise _broken(f"line {number} is of another tenant")
            manifest.add(line, value["table"])
        else:
            raise _broken(f"line {number} is neither a row nor the manifest")
    if head is None or told is None:
        raise _broken("there is no manifest: the export was cut off")
    found = manifest.describe(told["tables"])
    for table in {**told["tables"], **manifest.counts}:
        if found["tables"].get(table) != told["tables"].get(table):
            raise _broken(f"the rows of {table} are not those that were written")
    if found != told:
        raise _broken("the lines are not those that were written")
    return {"tenant": head["tenant"]["slug"], **told}


def _names(names: Iterable[str]) -> Any:
    from psycopg import sql

    return sql.SQL(", ").join(map(sql.Identifier, names))


def _line(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _broken(message: str) -> CliError:
    return CliError(message, code="export_broken", hint="Export the tenant again.")
