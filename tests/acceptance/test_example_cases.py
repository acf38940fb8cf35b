"""The cases that lie beside examples, run as a reader runs them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("examples/**/*.test.yaml"))


def test_cases_of_all_examples_pass() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flowgres_cli", "test", "examples", "--format", "json"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert sorted({case["file"] for case in document["cases"]}) == FILES
    assert len(FILES) >= 5
