"""promtool, which checks files for Prometheus: FLOWGRES_PROMTOOL_BIN, PATH, the cache, else from Debian's package.

apt-get fetches the package without being root, by lists of its own that are signed as those of the machine are. What is
unpacked goes into the cache; nothing is installed. What is missing is a failure that says how to get it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

FETCH_SECONDS = 180
BY_HAND = (
    "Install promtool (Debian, Ubuntu: apt-get install prometheus; else https://prometheus.io/download/), or name it: "
    "export FLOWGRES_PROMTOOL_BIN=/path/to/promtool"
)


def find_promtool() -> Path:
    """The program; fetched once, into the cache, where it is whole or not at all."""
    if named := os.environ.get("FLOWGRES_PROMTOOL_BIN") or shutil.which("promtool"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    cache = (Path(base) if base else Path.home() / ".cache") / "flowgres"
    program = cache / "promtool"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            _fetch(Path(temporary)).replace(program)
    return program


def _fetch(folder: Path) -> Path:
    for tool in ("apt-get", "dpkg-deb"):
        assert shutil.which(tool), f"promtool is missing, and there is no {tool} to fetch it. {BY_HAND}"
    for made in ("lists/partial", "archives/partial"):
        (folder / made).mkdir(parents=True)
    # A machine's own lists may be old, or, in an image, not there.
    own = ["-o", f"Dir::State::lists={folder}/lists", "-o", f"Dir::Cache={folder}", "-o", "APT::Sandbox::User="]
    _run("apt-get", *own, "update", folder=folder)
    _run("apt-get", *own, "download", "prometheus", folder=folder)
    packages = list(folder.glob("prometheus_*.deb"))
    assert len(packages) == 1, f"apt-get fetched no package. {BY_HAND}"
    _run("dpkg-deb", "-x", packages[0].name, "unpacked", folder=folder)
    return folder / "unpacked" / "usr" / "bin" / "promtool"


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS)
    assert done.returncode == 0, f"promtool cannot be fetched: {' '.join(command)}: {done.stderr[-500:]} {BY_HAND}"
