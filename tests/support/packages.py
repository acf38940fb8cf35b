"""Packages with step types, installed beside a runner as pip would install them, and beside no other test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[2] / "runner" / "example_step_type"


def install_example(directory: Path) -> Path:
    """Build the example package and install it into a directory of its own, which is returned."""
    source, target = directory / "source", directory / "site"
    # Building leaves things behind where it builds.
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info"))
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--target", str(target), str(source)], check=True, capture_output=True, text=True)
    return target


def install_module(directory: Path, name: str, text: str, **types: str) -> Path:
    """Install one module that offers step types: `install_module(tmp, "clumsy", code, clumsy="Clumsy")`."""
    metadata = directory / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (directory / f"{name}.py").write_text(text)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    points = "\n".join(f"{type_} = {name}:{attribute}" for type_, attribute in types.items())
    (metadata / "entry_points.txt").write_text(f"[flowgres.step_types]\n{points}\n")
    return directory


def beside(*directories: Path) -> dict[str, str]:
    """The environment of a process that finds what is installed there."""
    paths = [*(str(directory) for directory in directories), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
