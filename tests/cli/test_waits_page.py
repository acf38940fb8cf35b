"""Signals of WAITS.md are sent as they stand there; and `flowgres signal`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

from tests.support import curl

from .conftest import Flowgres

PAGE = (Path(__file__).parents[2] / "runner/flowgres_definitions/WAITS.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_signals_of_the_page_are_kept_for_the_steps_that_come(live: Flowgres, write: Callable[..., Path]) -> None:
    first, second = blocks("sh")[:2]
    sent = live(*shlex.split(first)[1:])
    assert (sent.code, sent.json["woken"]) == (0, 0)
    values = {"API": live.environment["FLOWGRES_API_URL"], "KEY": live.environment["FLOWGRES_API_KEY"]}
    assert curl.request(second.strip(), values).json() == 0
    assert live("import", str(write("ship.yaml", blocks("yaml")[0]))).code == 0
    for _ in range(2):
        assert live("run", "ship_order", "-f", "order_id=order-7", "--wait").code == 0
    waiting = live("run", "ship_order", "-f", "order_id=order-8", "--detach", "-o", "id").out.strip()
    shown = live("executions", "show", waiting, "-o", "table").out
    assert re.search(r"packed +wait +waiting .* signal:packed/order-8 until 20", shown), shown
    assert live("signal", "packed", "--execution", waiting, "-d", '{"boxes": 1}').json["woken"] == 1
    assert live("executions", "watch", waiting).code == 0


def test_signal_that_nobody_waits_for_says_so(live: Flowgres) -> None:
    answer = live("signal", "nobody_hears", "-o", "table")
    assert (answer.code, "kept for 7 days" in answer.err) == (0, True)
    assert live("signal", "No name").code != 0
    assert live("signal", "x", "--key", "1", "--execution", "01a00000-0000-7000-8000-000000000001").code != 0
