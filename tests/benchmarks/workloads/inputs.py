"""W6: the chain with inputs of 1.6, 16 and 160 KB, into which each step looks."""

from __future__ import annotations

import json
import random
from typing import Any

from tests.benchmarks.definitions import CHAIN_LENGTH, chain_on_lines
from tests.benchmarks.lab import MAX_BULK
from tests.benchmarks.parts import Context

KILOBYTES = (1.6, 16, 160)
WARM_UP_EXECUTIONS = 20
BYTES_PER_CALL = 8_000_000


def measure(context: Context) -> None:
    """Steps per second with one runner, for each size."""
    with context.site() as site, site.runners(1):
        site.import_workflow(chain_on_lines())
        for kilobytes, count in zip(KILOBYTES, context.scale.input_executions, strict=True):
            order = _order(round(kilobytes * 1000))
            per_call = max(1, min(MAX_BULK, round(BYTES_PER_CALL / kilobytes / 1000)))
            site.run("lines", WARM_UP_EXECUTIONS, also=order)
            seconds = site.run("lines", count, also=order, per_call=per_call)
            context.record(f"w6.{kilobytes:g}", count * CHAIN_LENGTH / seconds)


def _order(size: int) -> dict[str, Any]:
    """An order with as many lines as make its JSON that long; like real ones it shrinks by about half when packed."""
    words = random.Random(size)
    lines: list[dict[str, Any]] = []
    while len(json.dumps(lines)) < size:
        lines += [
            {"sku": f"{words.getrandbits(64):016x}", "quantity": words.randint(1, 9), "price": words.randint(1, 99_999)}
            for _ in range(max(10, (size - len(json.dumps(lines))) // 64))
        ]
    while len(json.dumps(lines)) > size:
        lines.pop()
    return {"lines": lines}
