"""Definitions to draw: every example, the valid documents of the cases, a large one, and one with nasty texts.

PICTURES are graphs of steps, MACHINES state machines.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flowgres_cli.graphs.reading import Picture, read_picture
from flowgres_definitions.dialects import translate
from flowgres_definitions.loader import load_definition
from flowgres_definitions.problems import DefinitionError
from flowgres_definitions.validation import validate_document
from tests.cases import load_cases

Json = Any
ROOT = Path(__file__).parents[3]
NASTY = "a\"b'<script>alert(1)</script>]]>&amp;#quot;|`-->\x1b[31m\u202e\n```\nend; %% $\ufffe \U0001f600"


def picture(*steps: dict[str, Json], **members: Json) -> Picture:
    """The picture of these steps; a type and what it needs do not matter here."""
    return read_picture({"name": "w", "steps": [{"type": "log", **step} for step in steps], **members})


def from_edges(*edges: str, steps: list[str] | None = None) -> Picture:
    """`a>b`: b depends on a."""
    pairs = [edge.split(">") for edge in edges]
    ids = steps or list(dict.fromkeys(name for pair in pairs for name in pair))
    return picture(*({"id": name, "depends_on": [a for a, b in pairs if b == name]} for name in ids))


def documents() -> dict[str, dict[str, Json]]:
    """Valid definitions by where they are from."""
    found = {}
    files = [*ROOT.glob("examples/**/*.yaml"), *ROOT.glob("examples/*/workflow.json")]
    for path in sorted([*files, *ROOT.glob("tests/cases/documents/*.json")]):
        found[str(path.relative_to(ROOT))] = load_definition(path.read_bytes(), source=path.name).document
    for case in load_cases("yaml", "dag"):
        if "yaml" in case.input:
            try:
                found[case.id] = load_definition(case.input["yaml"]).document
            except DefinitionError:
                continue
        elif "edges" in case.input:
            found[case.id] = _graph(case.input)
    return {
        name: document
        for name, document in found.items()
        if not any(problem.severity == "error" for problem in validate_document(document))
    }


def _graph(given: dict[str, Json]) -> dict[str, Json]:
    pairs = [tuple(edge.split(">")) for edge in given["edges"]]
    ids = given.get("steps") or list(dict.fromkeys(name for pair in pairs for name in pair))
    parents: dict[str, list[str]] = {name: [] for name in ids}
    for parent, child in pairs:
        parents[child].append(parent)
    steps = [{"id": i, "type": "transform", "config": {"expression": "1"}, "depends_on": parents[i]} for i in ids]
    return {"name": "w", "steps": steps}


def fifty() -> Picture:
    """Fifty steps, each after two or three before it."""
    edges = [f"s{n // 2}>s{n}" for n in range(1, 50)] + [f"s{n // 3}>s{n}" for n in range(3, 50)]
    return from_edges(*edges, steps=[f"s{n}" for n in range(50)])


def nasty() -> Picture:
    """Whatever a text may hold, wherever an author may write one."""
    return picture(
        {"id": "end", "depends_on": [], "description": NASTY, "compensate": {"type": "log", "description": NASTY}},
        {"id": "a--b", "depends_on": ["end"], "when": "{{ input.x == '" + NASTY + "' }}", "cancels": ["end"]},
        {"id": "x" * 63, "depends_on": ["a--b", "end"], "description": NASTY * 50},
        description=NASTY,
        on_failure=[{"id": "late", "type": "log", "description": NASTY, "when": "{{ " + NASTY + " }}"}],
    )


def machine(*transitions: str, states: str = "", **members: Json) -> Picture:
    """`a>b go`: the transition go from a to b. The first state is the initial one; `states` says which are final."""
    read = [(one.partition(" ")[0].split(">"), one.partition(" ")[2]) for one in transitions]
    names = list(dict.fromkeys(name for pair, _ in read for name in pair if name != "*")) or ["a", "b", "c"]
    return read_picture(
        {
            "name": "m",
            "states": [{"name": name, "initial": name == names[0], "final": name in states.split()} for name in names],
            "transitions": [{"from": pair[0], "to": pair[1], "name": name} for pair, name in read],
            **members,
        }
    )


def nasty_machine() -> Picture:
    """Whatever a name may hold, and what a transition may ask for."""
    asks = {"guard": NASTY, "roles": [NASTY, "boss"], "required": [NASTY], "start": {"workflow": "after"}}
    states = [
        {"name": "end", "initial": True, "sla": {"after": "2d", "to": NASTY[:100]}},
        {"name": NASTY[:100], "metadata": {"display_name": NASTY, "color": NASTY}},
        {"name": "[*]", "final": True},
    ]
    transitions: list[dict[str, Json]] = [
        {"from": "end", "to": NASTY[:100], "name": NASTY, **asks},
        {"from": NASTY[:100], "to": "end", "name": "back: again"},
        {"from": NASTY[:100], "to": NASTY[:100], "name": "stay"},
        {"from": "*", "to": "[*]", "name": "leave"},
    ]
    return read_picture({"name": NASTY, "title": NASTY, "states": states, "transitions": transitions})


_READ = {name: read_picture(translate(document).document) for name, document in documents().items()}
PICTURES = {name: read for name, read in _READ.items() if not read.is_machine} | {"fifty": fifty(), "nasty": nasty()}
MACHINES = {name: read for name, read in _READ.items() if read.is_machine} | {
    "line": machine("a>b go", "b>c end", states="c"),
    "circle": machine("a>b go", "b>c on", "c>a back", "b>b stay", "*>d leave", states="d"),
    "reopened": machine("a>b close", "b>a reopen", states="b"),
    "apart": machine("a>b go", "c>d never"),
    "free": machine(states="c"),
    "nasty": nasty_machine(),
}
