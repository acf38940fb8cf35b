"""Limits at the command line, and what LIMITS.md shows, against the real server and a real runner."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/LIMITS.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_limits_of_the_page_are_set_listed_and_waited_for(live: Flowgres, write: Callable[..., Path]) -> None:
    keyed, limited = blocks("yaml")
    warned = live("import", str(write("note.yaml", limited)))
    assert (warned.code, "limit_not_found" in warned.out + warned.err) == (0, True)
    waiting = live("run", "crm_note", "--detach", "-o", "id").out.split()[0]
    for line in blocks("sh")[0].strip().splitlines():
        assert live(*shlex.split(line)[1:]).code == 0
    assert live("executions", "watch", waiting).code == 0
    table = live("limits", "list", "-o", "table").out
    assert re.search(r"crm-api +5 +at once", table), table
    assert re.search(r"mails +100 +1m", table), table
    assert live("import", str(write("sync.yaml", keyed))).code == 0
    assert live("run", "sync_customer", "-d", '{"customer": "acme"}', "--wait").code == 0
    shown = live("workflows", "show", "sync_customer").json
    assert shown["concurrency"] == "2 at once by $.customer, then queue"


def test_mistakes_at_a_limit_have_their_exit_codes(live: Flowgres, write: Callable[..., Path]) -> None:
    assert live("limits", "set", "no name", "--capacity", "1").code == 2
    assert live("limits", "set", "m", "--capacity", "0").code == 2
    assert live("limits", "delete", "nobody").code == 3
    named = blocks("yaml")[1].replace("crm-api", "busy").replace("crm_note", "busy_note")
    assert live("limits", "set", "busy", "--capacity", "1", "--reason", "one at a time").json["capacity"] == 1
    assert live("import", str(write("busy.yaml", named))).code == 0
    refused = live("limits", "delete", "busy")
    assert (refused.code, "limit_in_use" in refused.err) == (6, True)
