"""State machines: every transition once, whatever runs in circles, and nothing that people wrote is syntax."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_cli.graphs.ascii import WIDTH, draw_ascii
from flowgres_cli.graphs.layout import lay_out
from flowgres_cli.graphs.reading import Picture
from flowgres_cli.graphs.states import draw_states
from flowgres_cli.graphs.svg import draw_svg
from flowgres_cli.output import cells

from .pictures import MACHINES, machine, nasty_machine

TEXT = r"[\w #;,()-]*"
LINES = re.compile(
    rf"""stateDiagram-v2
    | \ \ accTitle:\ [\w #;,:()-]*
    | \ \ direction\ LR
    | \ \ s\d+:\ {TEXT}(?:<br/>{TEXT})*
    | \ \ \[\*\]\ -->\ s\d+
    | \ \ s\d+\ -->\ \[\*\]
    | \ \ s\d+\ -->\ s\d+:\ {TEXT}
    | \ \ classDef\ any\ stroke-dasharray:\ 5
    | \ \ class\ s\d+\ any""",
    re.VERBOSE,
)


def pairs(picture: Picture) -> list[tuple[int, int]]:
    return [(edge.source, edge.target) for edge in (*picture.edges, *picture.returns)]


def body(picture: Picture) -> list[str]:
    return draw_ascii(picture).splitlines()[2:]


@pytest.mark.parametrize("name", MACHINES)
def test_every_line_is_known_and_every_transition_is_there_once(name: str) -> None:
    drawn = MACHINES[name]
    text = draw_states(drawn)
    assert [line for line in text.splitlines() if not LINES.fullmatch(line)] == []
    found = Counter(re.findall(r"^  s(\d+) --> s(\d+): ", text, re.MULTILINE))
    assert found == {(str(source), str(target)): 1 for source, target in pairs(drawn)}
    ends = {number for number, state in enumerate(drawn.steps) if "final" in state.marks}
    assert set(map(int, re.findall(r"^  s(\d+) --> \[\*\]$", text, re.MULTILINE))) == ends
    assert len(re.findall(r"^  \[\*\] --> s\d+$", text, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", MACHINES)
def test_characters_and_svg_show_every_state(name: str) -> None:
    drawn = MACHINES[name]
    text = draw_ascii(drawn)
    if name != "nasty":
        assert all(re.search(rf"(?<![\w-]){re.escape(state.id)}(?!\w)", text) for state in drawn.steps)
        assert max(cells(line) for line in text.splitlines()) <= WIDTH
    svg = draw_svg(drawn)
    assert svg.count("<g>") == len(drawn.steps)
    assert "\x1b" not in text + svg
    assert "<script" not in svg


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=20))
def test_any_machine_is_drawn_in_layers_with_what_leads_back_apart(edges: list[tuple[int, int]]) -> None:
    drawn = machine(*(f"n{source}>n{target} t{number}" for number, (source, target) in enumerate(edges)))
    assert len(pairs(drawn)) == len(set(edges))
    assert sorted(drawn.order) == list(range(len(drawn.steps)))
    layers = [item.layer for item in lay_out(drawn).items]
    assert all(layers[edge.source] < layers[edge.target] for edge in drawn.edges)
    for draw in (draw_ascii, draw_svg, draw_states):
        assert draw(drawn)


def test_what_leads_back_has_a_section() -> None:
    assert body(machine("a>b go", "b>a back", "b>b stay", "b>c end", states="c")) == [
        " a (initial) - go -> b - end -> c (final)",
        "",
        "Back:",
        "  b -- back --> a",
        "  b -- stay --> b",
    ]


def test_star_is_one_state_and_free_machines_go_everywhere() -> None:
    text = draw_states(machine("a>b go", "*>c leave", states="c"))
    assert "  s3: any state that is not final\n" in text
    assert "  s3 --> s2: leave\n" in text
    free = [line for line in draw_states(machine(states="c")).splitlines() if "-->" in line and "*" not in line]
    assert free == [f"  s3 --> s{number}: transition_to_{name}" for number, name in enumerate("abc")]


def test_first_of_a_repeated_pair_is_drawn() -> None:
    (edge,) = machine("a>b first", "a>b second").edges
    assert edge.labels == ("first",)


def test_transitions_say_what_they_ask_for() -> None:
    transitions = [
        {"from": "a", "to": "b", "name": "ask", "roles": ["manager", "boss"], "required": ["reason"], "guard": "$.x"},
        {"from": "b", "to": "a", "conditions": {"field_required": ["x", "y"]}, "enforce": True},
        {"from": "a", "to": "c", "name": "told", "conditions": {"field_required": "x"}, "start": {"workflow": "w"}},
    ]
    drawn = machine("a>b", "b>c", transitions=transitions)
    labels = [edge.labels for edge in (*drawn.edges, *drawn.returns)]
    assert labels == [
        ("ask [manager or boss, with reason, guard]",), ("told [starts w]",), ("b_to_a [with x, with y]",),
    ]  # fmt: skip


def test_texts_are_character_codes() -> None:
    text = draw_states(nasty_machine())
    assert "script" in text
    assert set(re.findall(r"<[^>]*>", text)) == {"<br/>"}
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f\u202e`$%]", text)
