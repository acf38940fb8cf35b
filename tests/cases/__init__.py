"""Malicious and control inputs with what must come of them, shared by all rooms of the tests.

`cases.jsonl` holds one case a line: `id`, `kind`, `input`, `expectation` with `outcome` (any one of the list passes).
Harnesses ask for their kinds with `load_cases("yaml", "cron")`; inputs that are generated arrive expanded.

Placeholders: `{canary}` the port of a loopback listener that must see no connection; `{allowed}` an address that the
egress policy of the test allows; `{hostname}` the name of the machine; `{A}` and `{B}` tenants; `{A.execution}` an id
of tenant A. `dns`: successive answers of a stub resolver. Edges `a>b`: b depends on a. Templates see
`TEMPLATE_CONTEXT`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cases.expand import expand

Json = Any


@dataclass(frozen=True, slots=True)
class Case:
    """One case; `outcomes` are the words of which any one passes."""

    id: str
    kind: str
    input: dict[str, Json]
    expectation: dict[str, Json]

    @property
    def outcomes(self) -> frozenset[str]:
        outcome = self.expectation["outcome"]
        return frozenset([outcome] if isinstance(outcome, str) else outcome)

    def __str__(self) -> str:
        return self.id


TEMPLATE_CONTEXT: dict[str, Json] = {
    "trigger": {
        "payload": {
            "customer": "Ann",
            "total": 12.5,
            "id": "007",
            "sci": "1e5",
            "hex": "0x10",
            "under": "1_000",
            "pylist": "[1,2]",
            "tuple": "(1,)",
            "none": "None",
            "truestr": "True",
            "quoted": '"q"',
            "a": "1",
            "b": "2",
            "big": "12345678901234567890",
            "nul": None,
            "items": [1, 2],
            "tags": ["x"],
            "tpl": "{{ 7*7 }}",
            "tpl2": "{% raw %}{{ secrets }}{% endraw %}",
        }
    },
    "steps": {
        "fetch": {
            "output": {
                "status": 200,
                "body": {"id": 7, "name": "Bob", "tags": ["a", "b"], "values": [3, 4], "keys": "k"},
            }
        }
    },
    "vars": {},
}
TEMPLATE_SECRETS = {"API_KEY": "sk-live-OPEN-51"}


def load_cases(*kinds: str) -> list[Case]:
    """All cases of these kinds (all cases without any), in the order of the file, with inputs expanded."""
    cases = []
    with (Path(__file__).parent / "cases.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            case = json.loads(line)
            if not kinds or case["kind"] in kinds:
                cases.append(Case(case["id"], case["kind"], expand(case["input"]), case["expectation"]))
    return cases


def load_durations() -> tuple[list[tuple[Json, str]], list[Json]]:
    """What every reader of durations takes, with its seconds, and what none takes."""
    found = json.loads((Path(__file__).parent / "durations.json").read_text(encoding="utf-8"))
    return [(written, seconds) for written, seconds in found["valid"]], found["invalid"]
