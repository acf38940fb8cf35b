"""What is declared, locked and installed agrees; the lock is what the image is made of."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def installed_with() -> list[str]:
    """What the image has: what the product runs on, and the extra for traces."""
    declared = project()["project"]
    return [*declared["dependencies"], *declared["optional-dependencies"]["otel"]]


def built_with() -> list[str]:
    lines = (DEPLOY / "build.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


@pytest.fixture(scope="module")
def lock() -> dict[str, tuple[str, int]]:
    """Package -> its version, and how many hashes it has."""
    text = (DEPLOY / "requirements.lock").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    found: dict[str, tuple[str, int]] = {}
    for line in lines:
        match = re.match(r"([\w.-]+)==(\S+)", line)
        assert match is not None, line
        found[canonicalize_name(match[1])] = (match[2], len(re.findall(r"--hash=sha256:[0-9a-f]{64}", line)))
    return found


def test_lock_has_every_dependency_in_a_version_that_is_declared(lock: dict[str, tuple[str, int]]) -> None:
    for line in [*installed_with(), *built_with()]:
        wanted = Requirement(line)
        version, _ = lock.get(canonicalize_name(wanted.name), ("nothing", 0))
        assert version != "nothing", f"{line} is not locked: just lock"
        assert wanted.specifier.contains(Version(version)), f"{line}, and {version} is locked: just lock"


def test_everything_that_is_locked_has_hashes(lock: dict[str, tuple[str, int]]) -> None:
    assert [name for name, (_, hashes) in lock.items() if not hashes] == []


def test_lock_has_what_the_dependencies_need_and_nothing_else(lock: dict[str, tuple[str, int]]) -> None:
    needed: set[str] = set()
    new = [Requirement(line) for line in [*installed_with(), *built_with()]]
    while new:
        wanted = new.pop()
        name = canonicalize_name(wanted.name)
        for line in _required_by(name):
            one = Requirement(line)
            asked = [{"extra": extra} for extra in ("", *wanted.extras)]
            if (one.marker is None or any(one.marker.evaluate(extra) for extra in asked)) and (
                canonicalize_name(one.name) not in needed
            ):
                new.append(one)
        needed.add(name)
    assert needed <= set(lock), "just lock"
    # What only other systems and Python versions need is locked as well.
    assert set(lock) - needed <= {"colorama", "tzdata", "typing-extensions", "pycparser"}, "just lock"


def test_the_image_takes_the_lock_and_nothing_else() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    assert "--require-hashes" in text
    assert "COPY deploy/requirements.lock" in text
    assert "!deploy/requirements.lock" in (DEPLOY / "Dockerfile.dockerignore").read_text()
    for line in re.findall(r"pip (?:wheel|install) .*", text):
        assert "--require-hashes" in line or "--no-index" in line or "--no-deps --no-build-isolation" in line, line
    assert project()["build-system"]["requires"] == built_with()


def _required_by(name: str) -> list[str]:
    try:
        return requires(name) or []
    except PackageNotFoundError:
        return []
