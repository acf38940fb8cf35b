"""The call and the page in STREAMS.md, as they are written: by a shell, and by the EventSource of node."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from tests.support.node import NODE
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "runner/flowgres_front/STREAMS.md").read_text()
BACKEND = """
const { FRONT, KEY, EXECUTION } = process.env
const ask = globalThis.fetch
const headers = { 'X-API-Key': KEY, 'Content-Type': 'application/json' }
globalThis.fetch = path => {
  if (path !== '/my-backend/token') throw new Error(path)
  return ask(`${FRONT}/token`, { method: 'POST', headers, body: '{"expires_in": 60}' })
}
"""
"""What the page's own server does: it has the key, and gives tokens to those who are logged in."""


def environment(stack: Stack, **more: str) -> dict[str, str]:
    key = stack.front.headers["X-API-Key"]
    return {"PATH": os.environ["PATH"], "FRONT": stack.front.url, "KEY": key, **more}


def test_call_of_the_page_has_the_result(stack: Stack) -> None:
    stack.import_file(ROOT / "examples/hello/workflow.yaml")
    (call,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)

    done = subprocess.run(
        ["/bin/sh", "-euc", call], env=environment(stack), capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["output"] == {"greeting": "Hello, Ann!"}


def test_script_of_the_page_hears_of_the_end_and_is_told_to_stop(stack: Stack, tmp_path: Path) -> None:
    stack.import_file(ROOT / "examples/hello/workflow.yaml")
    (script,) = re.findall(r"<script type=\"module\">\n(.*?)</script>", PAGE, re.DOTALL)
    page = tmp_path / "page.mjs"
    page.write_text(f"{BACKEND}{script}\nawait listen(EXECUTION)\n")

    done = subprocess.run(
        [str(NODE), "--experimental-eventsource", "--no-warnings", str(page)],
        env=environment(stack, EXECUTION=stack.start("hello", {"name": "Ann"})),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    # It ends by itself: who comes back after the end is told that there is nothing more (204).
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "100"
