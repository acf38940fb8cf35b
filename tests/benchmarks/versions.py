"""The versions of flowgres that are measured: this checkout, and with `--before` an earlier one beside it.

Both are used in the same way: their packages are linked into a folder under the names that they are imported by, the
folder comes first on the module path, and `launch.py` asserts that nothing is loaded from elsewhere.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import flowgres_cli
import flowgres_runner

REPOSITORY = Path(__file__).resolve().parents[2]
BEFORE = "before"


class VersionError(Exception):
    """A checkout cannot be used, or something was loaded from another one."""


@dataclass(frozen=True, slots=True)
class Version:
    """One version: its name (none for ours), its checkout, and the folder with links to its packages."""

    name: str
    checkout: Path
    packages: Path

    @property
    def prefix(self) -> str:
        """What its figures' keys begin with."""
        return f"{self.name}." if self.name else ""

    @property
    def template(self) -> str:
        """The database that those of its measurements are copies of."""
        return f"bench_template_{self.name or 'ours'}"

    @property
    def environment(self) -> dict[str, str]:
        """Its packages first; then `tests`, always ours."""
        return {"PYTHONPATH": f"{self.packages}:{REPOSITORY}"}

    def command(self, *module: str) -> list[str]:
        """How a module is run with the packages of this version."""
        launcher = str(Path(__file__).with_name("launch.py"))
        return [sys.executable, "-P", launcher, str(self.packages), str(self.checkout), *module]

    def require_evaluators_of(self, runner: int) -> None:
        """Raise VersionError if a child of a runner may import our packages from another checkout.

        Evaluators start without environment and site packages: they get the folders that they import from as
        arguments.
        """
        for pid in descendants(runner):
            for argument in _arguments(pid):
                if argument.startswith("/") and (Path(argument) / "flowgres_runner").exists():
                    place = (Path(argument) / "flowgres_runner").resolve()
                    if not place.is_relative_to(self.checkout):
                        raise VersionError(f"an evaluator of {self.checkout} was loaded from {place}")

    def described(self) -> str:
        """Its commit, if that is known."""
        command = ["git", "-C", str(self.checkout), "describe", "--always", "--dirty"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except OSError:
            return "unknown commit"
        return f"commit {done.stdout.strip()}" if done.returncode == 0 else "unknown commit"


def link_packages(checkout: Path, directory: Path, *, name: str = "") -> Version:
    """Make the folder of links of a checkout below `directory`. Raises VersionError when it is no checkout of ours."""
    checkout = checkout.resolve()
    try:
        project = tomllib.loads((checkout / "pyproject.toml").read_text())
        folders: dict[str, str] = project["tool"]["setuptools"]["package-dir"]
    except (OSError, KeyError, tomllib.TOMLDecodeError) as error:
        raise VersionError(f"{checkout} is no checkout of flowgres: {error}") from error
    packages = directory / f"packages-{name or 'ours'}"
    packages.mkdir(parents=True)
    for package, folder in folders.items():
        (packages / package).symlink_to(checkout / folder)
    return Version(name, checkout, packages)


@contextmanager
def checkout_of(reference: str, *, repository: Path = REPOSITORY) -> Iterator[Path]:
    """A git worktree of an earlier commit in a temporary directory; it is removed at the end."""
    git = ["git", "-C", str(repository), "worktree"]
    with tempfile.TemporaryDirectory(prefix="flowgres-bench-before-") as directory:
        path = Path(directory) / "checkout"
        done = subprocess.run(
            [*git, "add", "--quiet", "--detach", str(path), reference], capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise VersionError(f"{reference} cannot be checked out: {done.stderr.strip()}")
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], capture_output=True, check=False)


def require_own_packages() -> None:
    """Raise VersionError unless this program itself, which calls some functions of the runner, uses this checkout."""
    for module in (flowgres_cli, flowgres_runner):
        place = Path(str(module.__file__)).resolve()
        if not place.is_relative_to(REPOSITORY):
            raise VersionError(f"{module.__name__} was loaded from {place}: use the environment of {REPOSITORY}")


def descendants(pid: int) -> list[int]:
    """The processes below one, from /proc."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += [int(child), *descendants(int(child))]
    return found


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []
