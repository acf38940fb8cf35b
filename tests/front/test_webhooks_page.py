"""The calls in WEBHOOKS.md are what a shell sends, and are taken."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.webhooks import SECRET, STANDARD_SECRET, Hooks, hook

PAGE = Path(__file__).parents[2] / "runner/flowgres_definitions/WEBHOOKS.md"
CALLS = dict(re.findall(r"^```sh (\w+)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL))


def test_every_scheme_has_its_call() -> None:
    assert set(CALLS) == {"github", "standard", "stripe", "slack", "token", "none"}


@pytest.mark.parametrize("scheme", CALLS)
def test_call_of_the_page_starts_an_execution(hooks: Hooks, scheme: str) -> None:
    secret = STANDARD_SECRET if scheme == "standard" else SECRET
    trigger = {"type": "webhook", "scheme": "none"} if scheme == "none" else hook(scheme=scheme)
    (webhook,) = hooks.import_(trigger, secret=secret)
    environment = {"PATH": os.environ["PATH"], "URL": hooks.front.url + webhook["path"], "SECRET": secret}

    done = subprocess.run(
        ["/bin/sh", "-euc", CALLS[scheme]], env=environment, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    (execution,) = hooks.executions()
    assert json.loads(done.stdout) == {"execution_id": str(execution["id"])}
    assert "7" in json.dumps(execution["trigger"]["payload"])
