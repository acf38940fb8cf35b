"""Mermaid flowcharts: every edge once, and nothing that people wrote is syntax."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from flowgres_cli.graphs.mermaid import draw_mermaid

from .pictures import PICTURES, nasty, picture

TEXT = r'"[^"\n]*"'
LINES = re.compile(
    rf"""flowchart\ LR
    | \ \ accTitle:\ [\w #;,:()-]*
    | \ {{2,4}}[scf]\d+(?:\[{TEXT}\]|\[\[{TEXT}\]\]|\(\[{TEXT}\]\)|\{{{TEXT}\}})
    | \ \ s\d+\ -->(?:\|{TEXT}\|)?\ s\d+
    | \ \ s\d+\ -\.->\|"cancels"\|\ s\d+
    | \ \ s\d+\ -\.-\|"undone\ by"\|\ c\d+
    | \ {{4}}f\d+\ -->\ f\d+
    | \ \ subgraph\ (?:undo|late)\ \[{TEXT}\]
    | \ \ end""",
    re.VERBOSE,
)


@pytest.mark.parametrize("name", PICTURES)
def test_every_line_is_known_and_every_edge_is_there_once(name: str) -> None:
    drawn = PICTURES[name]
    text = draw_mermaid(drawn)
    assert [line for line in text.splitlines() if not LINES.fullmatch(line)] == []
    found = Counter(re.findall(r"^  s(\d+) -->(?:\|\"[^\"]*\"\|)? s(\d+)$", text, re.MULTILINE))
    assert found == {(str(edge.source), str(edge.target)): 1 for edge in drawn.edges}
    for number, step in enumerate(drawn.steps):
        assert re.search(rf'^  s{number}\W+"{step.id}<br/>', text, re.MULTILINE)


def test_texts_are_character_codes() -> None:
    text = draw_mermaid(nasty())
    assert "script" in text
    assert set(re.findall(r"<[^>]*>", text)) == {"<br/>"}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e`$%]", text)


def test_shapes_and_sections() -> None:
    gate = {"id": "c", "type": "condition", "config": {"true_branch": ["x"]}}
    items = {"id": "x", "foreach": {"items": [1]}, "compensate": {"type": "http"}}
    end = {"id": "y", "type": "stop", "cancels": ["x"]}
    late = [{"id": "l1", "type": "log"}, {"id": "l2", "type": "log"}]
    lines = [line.strip() for line in draw_mermaid(picture(gate, items, end, on_failure=late)).splitlines()]
    assert 's0{"c<br/>condition"}' in lines
    assert 's1[["x<br/>log, each"]]' in lines
    assert 's2(["y<br/>stop"])' in lines
    assert 's0 -->|"true"| s1' in lines
    assert 's2 -.->|"cancels"| s1' in lines
    assert 'c1["x#46;compensate<br/>http, each item"]' in lines
    assert 's1 -.-|"undone by"| c1' in lines
    assert "f0 --> f1" in lines
