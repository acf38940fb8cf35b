"""The SQL files of this version: numbered migrations, and re-appliable schema files in the order of `schema/ORDER`.

One of them is data of the package `flowgres_definitions` (NAME.schema.json): SQL reads it through a function.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from flowgres_cli.errors import CliError

MIGRATION_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
SCHEMA_NAME = re.compile(r"([a-z0-9_]+/)?[a-z0-9_]+\.(sql|schema\.json)")
DATA_SUFFIX = ".schema.json"
DATA_FUNCTION = """\
-- {name} of flowgres_definitions, for SQL to read. plpgsql keeps the value; SQL would parse it at every call.

set local role flowgres_owner;

create or replace function {function}
  returns jsonb language plpgsql immutable parallel safe
as $function$
begin
  return $data$
{text}
$data$::jsonb;
end;
$function$;
comment on function {function} is '{about}';
"""
_LOCKING = re.compile(r"^(?:create (?!or replace function)|alter |drop |do |grant |revoke )", re.MULTILINE)
VIEW_QUERY = re.compile(r"^create or replace view [^;]*? as\n(.*?);\n", re.DOTALL | re.MULTILINE)


class BundleError(CliError):
    """The SQL files contradict themselves: a defect of this version, not of the database."""


@dataclass(frozen=True, slots=True)
class SqlFile:
    """One file: its name (with the folder, for a schema file), its text, and for migrations the number."""

    name: str
    text: str
    number: int | None = None

    @property
    def checksum(self) -> str:
        """SHA-256 of the text; trailing white space of lines does not count, nor do line ends."""
        normal = "\n".join(line.rstrip() for line in self.text.strip().splitlines())
        return hashlib.sha256(normal.encode()).hexdigest()

    @property
    def is_transactional(self) -> bool:
        """False with the header `-- no-transaction`: concurrent index builds refuse a transaction."""
        return "no-transaction" not in self._headers()

    @property
    def is_breaking(self) -> bool:
        """True with the header `-- breaking`: runners of older versions must drain."""
        return "breaking" in self._headers()

    @property
    def follows_every_change(self) -> bool:
        """True with the header `-- after-every-change`: what looks at all that is there."""
        return "after-every-change" in self._headers()

    @property
    def only_replaces_functions(self) -> bool:
        """Whether it makes functions and no object whose lock others would wait for."""
        code = re.sub(r"--[^\n]*|(\$\w*\$).*?\1", "", self.text, flags=re.DOTALL)
        return "create or replace function" in code and not _LOCKING.search(code)

    @property
    def differences(self) -> str | None:
        """The query of the first view in a file with the header `-- differences`: what is not as the file wants it.

        Its rows are object, problem, actor (a role; null is the login), and repair, a statement that the actor runs.
        """
        if "differences" not in self._headers():
            return None
        query = VIEW_QUERY.search(self.text)
        if query is None:
            raise BundleError(f"{self.name}: a file of differences begins with `create or replace view ... as`.")
        return query.group(1)

    def statements(self) -> list[str]:
        """Split a file of simple statements at the semicolons that end lines; for `-- no-transaction` files alone."""
        if "$" in self.text:
            raise BundleError(f"{self.name}: a no-transaction file holds simple statements only, without $ quotes.")
        return [part.strip() for part in re.split(r";[ \t]*(?:\n|$)", self.text) if _has_code(part)]

    def line_at(self, position: int) -> int:
        """The line of a character position (both from 1)."""
        return self.text.count("\n", 0, position - 1) + 1

    def _headers(self) -> set[str]:
        headers = set()
        for line in self.text.splitlines():
            if not line.startswith("--"):
                break
            headers.add(line.removeprefix("--").strip())
        return headers


@dataclass(frozen=True, slots=True)
class Bundle:
    """All SQL of one version, in the order of application."""

    migrations: tuple[SqlFile, ...]
    schema_files: tuple[SqlFile, ...]

    @property
    def protocol(self) -> int:
        """The number that runners and database agree on: 1, and one more for every breaking migration."""
        return 1 + sum(file.is_breaking for file in self.migrations)

    @property
    def difference_queries(self) -> dict[str, str]:
        """File name -> query of what differs, in the order in which it is mended."""
        return {file.name: file.differences for file in self.schema_files if file.differences is not None}


def load_bundle(root: Traversable | None = None) -> Bundle:
    """Read the SQL of the package `flowgres_database`, or of another directory of the same form.

    Raises BundleError for gaps in the numbers, strange names, and schema files that ORDER does not name.
    """
    root = files("flowgres_database") if root is None else root
    return Bundle(migrations=_migrations(root.joinpath("migrations")), schema_files=_schema(root.joinpath("schema")))


def _migrations(directory: Traversable) -> tuple[SqlFile, ...]:
    found = []
    for entry in _sql_files(directory):
        match = MIGRATION_NAME.fullmatch(entry.name)
        if match is None:
            raise BundleError(f"migrations/{entry.name}: the name of a migration has the form 0001_words.sql.")
        found.append(SqlFile(name=entry.name, text=entry.read_text("utf-8"), number=int(match.group(1))))
    found.sort(key=lambda file: file.name)
    numbers = [file.number for file in found]
    if numbers != list(range(1, len(found) + 1)):
        raise BundleError(f"migrations: the numbers have to be 1, 2, 3 ... without gap or double, not {numbers}.")
    return tuple(found)


def _schema(directory: Traversable) -> tuple[SqlFile, ...]:
    present = {entry.name: entry for entry in _sql_files(directory)}
    for folder in directory.iterdir():
        if folder.is_dir():
            present |= {f"{folder.name}/{entry.name}": entry for entry in _sql_files(folder)}
    lines = (line.partition("#")[0].strip() for line in directory.joinpath("ORDER").read_text("utf-8").splitlines())
    order = [line for line in lines if line]
    # The language is described once, where it lives; the database gets its copy with its functions.
    described = files("flowgres_definitions")
    present |= {name: described / Path(name).name for name in order if name.endswith(DATA_SUFFIX)}
    wrong = sorted(set(order) ^ set(present)) + [name for name in order if order.count(name) > 1]
    wrong += [name for name in present if not SCHEMA_NAME.fullmatch(name)]
    if wrong:
        raise BundleError(f"schema/ORDER has to name every schema file once: look at {', '.join(wrong)}.")
    return tuple(_schema_file(name, present[name].read_text("utf-8")) for name in order)


def _schema_file(name: str, text: str) -> SqlFile:
    """A file as it is; data (NAME.schema.json) as the function that answers with it, NAME_schema()."""
    if not name.endswith(DATA_SUFFIX):
        return SqlFile(name=name, text=text)
    function = f"flowgres.{name.rpartition('/')[2].removesuffix(DATA_SUFFIX)}_schema()"
    about = json.loads(text)["description"].replace("'", "''")
    return SqlFile(name=name, text=DATA_FUNCTION.format(name=name, function=function, text=text.strip(), about=about))


def _sql_files(directory: Traversable) -> list[Traversable]:
    return [entry for entry in directory.iterdir() if entry.name.endswith(".sql")]


def _has_code(text: str) -> bool:
    return any(line.strip() and not line.strip().startswith("--") for line in text.splitlines())
