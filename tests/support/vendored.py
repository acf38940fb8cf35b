"""Swagger UI as the front carries it: fetched from npm in one version, checked, and compressed.

`python -m tests.support.vendored` writes it anew, after a change of the version and the checksum here.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.support.node import NODE, NPM

PACKAGE = "swagger-ui-dist@5.35.0"
INTEGRITY = "sha512-U06rpMtW9V3XPGOBeamTUSr0Z09jMX4IJuANpE/EZbAhw0G8CgwrzU4YmXkn/h0wCDNsXdGarTNNHC3sU8yVUQ=="
"""As npm tells it: npm view swagger-ui-dist@VERSION dist.integrity"""
PLACE = Path(__file__).parents[2] / "runner" / "flowgres_front" / "documentation" / "vendor"
COMPRESSED = ("swagger-ui-bundle.js", "swagger-ui.css")
AS_THEY_ARE = ("LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt")
_FETCH_SECONDS = 180


def fetch() -> dict[str, bytes]:
    """The files of PLACE, by name, as they should be."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pack = [str(NODE), str(NPM), "pack", PACKAGE, "--silent", "--no-update-notifier"]
        done = subprocess.run(pack, cwd=folder, capture_output=True, text=True, timeout=_FETCH_SECONDS)
        assert done.returncode == 0, f"npm could not fetch {PACKAGE}: {done.stderr}"
        (archive,) = folder.glob("*.tgz")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        assert f"sha512-{digest}" == INTEGRITY, f"{PACKAGE} is another one than the one that is known: sha512-{digest}"
        with tarfile.open(archive) as package:

            def read(member: str) -> bytes:
                file = package.extractfile(f"package/{member}")
                assert file is not None, member
                return file.read()

            return {
                **{f"{member}.gz": gzip.compress(read(member), mtime=0) for member in COMPRESSED},
                **{member: read(member) for member in AS_THEY_ARE},
            }


def main() -> None:
    """Write the files."""
    for name, content in fetch().items():
        (PLACE / name).write_bytes(content)


if __name__ == "__main__":
    main()
