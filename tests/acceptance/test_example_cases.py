"""The cases that lie beside examples and in the documentation, run as a reader runs them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("examples/**/*.test.yaml"))


def run_cases(folder: Path, path: str = ".") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flowgres_cli", "test", path, "--format", "json"],
        capture_output=True,
        text=True,
        cwd=folder,
        check=False,
    )


def test_cases_of_all_examples_pass() -> None:
    done = run_cases(ROOT, "examples")
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert sorted({case["file"] for case in document["cases"]}) == FILES
    assert len(FILES) >= 5


@pytest.mark.slow
def test_cases_of_the_documentation_pass(tmp_path: Path) -> None:
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "cli" / "TESTING.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for name, block in zip(("order.yaml", "order.test.yaml"), blocks, strict=True):
        (tmp_path / name).write_text(block)
    done = run_cases(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (json.loads(done.stdout)["passed"], json.loads(done.stdout)["failed"]) == (2, 0)
