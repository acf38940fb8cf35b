"""What NOTIFICATIONS.md shows is taken as it stands there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import yaml

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/NOTIFICATIONS.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def test_commands_and_definitions_of_the_page_are_taken(live: Flowgres, write: Callable[..., Path]) -> None:
    (commands,) = (text for kind, text in BLOCKS if not kind)
    secret, notification = map(shlex.split, commands.splitlines())
    assert live(*secret[1:], stdin="a long enough key").code == 0
    assert live("secrets", "set", "PARTNER_HOOK", stdin="a long enough key").code == 0
    made = live(*notification[1:])
    assert (made.code, made.json["events"]) == (0, ["failed"]), made.err

    settings, steps = (yaml.safe_load(text) for kind, text in BLOCKS if kind == "yaml")
    definition = {"name": "shown", "inputs": {"order_id": {"type": "string"}}, **settings, "steps": steps}
    imported = live("import", str(write("shown.yaml", yaml.safe_dump(definition))))
    assert (imported.code, imported.json[0]["warnings"]) == (0, []), imported.err
    (told,) = live("notifications", "list", "--workflow", "shown").json
    assert (told["url"], told["events"]) == ("https://ops.example/hook", ["failed", "cancelled"])
