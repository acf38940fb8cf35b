"""STEP_TYPES.md as a user follows it: an empty folder, a fresh environment, the package beside the built wheel."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.database import Database, Db, Tenant
from tests.support.runner import Runner, run_to_end

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "runner/flowgres_definitions/STEP_TYPES.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def blocks(kind: str) -> list[str]:
    return [text for found, text in BLOCKS if found == kind]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the page says to write."""
    folder = tmp_path / "greetings"
    folder.mkdir()
    (folder / "greetings.py").write_text(blocks("python")[0])
    (folder / "pyproject.toml").write_text(blocks("toml")[0])
    (folder / "test_greetings.py").write_text(blocks("python")[1])
    return folder


@pytest.fixture
def python(tmp_path: Path, folder: Path) -> Path:
    """An environment with the wheel and the package; what both need comes from the one that the tests run in."""
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    wheels = tmp_path / "wheels"
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(wheels)]
    for what in (ROOT, folder):
        # Building leaves things behind where it builds.
        source = tmp_path / "source" / what.name
        shutil.copytree(
            what, source, ignore=shutil.ignore_patterns(".*", "tests", "build", "__pycache__", "*.egg-info")
        )
        subprocess.run([*build, str(source)], check=True, capture_output=True, text=True)
    paths = [path for path in sys.path if path.endswith("site-packages")]
    site = next((home / "lib").glob("python*/site-packages"))
    # Behind its own: the wheel is found before whatever stands there.
    (site / "zz_outside.pth").write_text("\n".join(paths))
    install = [str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*install, *map(str, wheels.glob("*.whl"))], check=True, capture_output=True, text=True)
    return python


def run(python: Path, folder: Path, *arguments: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_page_leads_from_an_empty_folder_to_a_step(
    database: Database, db: Db, tenant: Tenant, folder: Path, python: Path, tmp_path: Path
) -> None:
    run(python, folder, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_greetings.py")
    (folder / "greet_all.yaml").write_text(blocks("yaml")[0])
    run(python, folder, "-m", "flowgres_cli", "validate", "greet_all.yaml")
    runner = Runner(database, log_path=tmp_path / "runner.log", environment={"PYTHONPATH": ""})
    runner.process.arguments[0] = str(python)
    with runner:
        step = {"id": "greet", "type": "greet", "config": {"name": "{{ input.name }}"}}
        execution = run_to_end(database, db, tenant, step, name="Ada")
    assert execution["steps"]["greet"]["output"] == "Hello, Ada!"
