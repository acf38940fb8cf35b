"""Pictures in plain characters: everything is there, and lines lead where the edges do."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowgres_cli.graphs.ascii import WIDTH, draw_ascii
from flowgres_cli.graphs.reading import Picture
from flowgres_cli.output import cells

from .pictures import PICTURES, fifty, from_edges, nasty, picture

UP, DOWN = -1, 1


def trace(drawn: str) -> set[tuple[str, str]]:
    """The edges that somebody reads off the lines of a graph of steps without labels."""
    rows = drawn.splitlines()
    words = {(row, found.start()): found[0] for row, line in enumerate(rows) for found in re.finditer(r"\w+", line)}

    def at(row: int, column: int) -> str:
        return rows[row][column] if 0 <= row < len(rows) and 0 <= column < len(rows[row]) else " "

    edges = set()
    for (row, column), word in words.items():
        seen: set[tuple[int, int, int]] = set()
        pending = [(row, column + len(word) + 1, 0)] if at(row, column + len(word) + 1) == "-" else []
        while pending:
            here = y, x, way = pending.pop()
            if here in seen:
                continue
            seen.add(here)
            sign = at(y, x)
            assert sign in "-+|>", drawn
            if sign == ">":
                edges.add((word, words[y, x + 2]))
            elif way and sign == "|":
                pending.append((y + way, x, way))
            elif sign == "+":
                pending += [(y + d, x, d) for d in (UP, DOWN) if d != -way and at(y + d, x) in "|+"]
                if at(y, x + 1) in "->":
                    pending.append((y, x + 1, 0))
            else:
                pending.append((y, x + 1, 0))
    return edges


def graph_part(text: str) -> str:
    return "\n".join(text.splitlines()[2:])


def is_list(text: str) -> bool:
    return re.match(r" +1  \w", graph_part(text)) is not None


@settings(max_examples=400, deadline=None)
@given(st.integers(2, 9), st.sets(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=14))
def test_lines_lead_where_the_edges_do(count: int, pairs: set[tuple[int, int]]) -> None:
    edges = {(f"n{a}", f"n{b}") for a, b in pairs if a < b < count}
    drawn = from_edges(*(f"{a}>{b}" for a, b in sorted(edges)), steps=[f"n{n}" for n in range(count)])
    text = draw_ascii(drawn, width=500)
    if not is_list(text):
        assert trace(graph_part(text)) == edges, text


@pytest.mark.parametrize("name", PICTURES)
def test_every_step_is_there_and_lines_fit(name: str) -> None:
    drawn = PICTURES[name]
    text = draw_ascii(drawn)
    for step in (*drawn.steps, *drawn.failures):
        assert re.search(rf"(?<![\w-]){re.escape(step.id)}(?![\w])", text), step.id
    assert max(cells(line) for line in text.splitlines()) <= WIDTH
    assert all(line == line.rstrip() for line in text.splitlines())


def body(drawn: Picture) -> list[str]:
    return draw_ascii(drawn).splitlines()[2:]


def test_chain_and_fan() -> None:
    assert body(from_edges("a>b", "b>c")) == [" a --> b --> c"]
    assert body(from_edges("a>b", "a>c", "a>d", "b>e", "c>e", "d>e")) == [
        "    +--> b -+",
        " a -+--> c -+--> e",
        "    +--> d -+",
    ]


def test_branches_stand_on_their_lines() -> None:
    gate = {"id": "c", "type": "condition", "config": {"true_branch": ["x"], "false_branch": ["y"]}}
    assert sorted(body(picture(gate, {"id": "x"}, {"id": "y"}, {"id": "z"}))) == [
        "    +- true --> x -+",
        " c -+- false -> y -+--> z",
    ]


def test_branch_to_a_step_that_others_lead_to_is_told_beside_it() -> None:
    gate = {"id": "c", "type": "condition", "depends_on": [], "config": {"true_branch": ["x"]}}
    text = draw_ascii(picture(gate, {"id": "b", "depends_on": []}, {"id": "x", "depends_on": ["b"], "join": "any"}))
    assert "x (c: true, join: any)" in text


def test_what_is_no_line_has_sections() -> None:
    drawn = picture(
        {"id": "a", "compensate": {"type": "http"}},
        {"id": "b", "cancels": ["a"], "when": "{{ input.x }}"},
        on_failure=[{"id": "late", "type": "log", "description": "Tell"}],
    )
    text = draw_ascii(drawn)
    assert " a --> b (when)" in text
    assert "When:\n  b: {{ input.x }}" in text
    assert "Cancels:\n  b ..> a" in text
    assert "Compensations, the last one first:\n  a <.. http" in text
    assert "On failure:\n  1. late (log) Tell" in text


def test_too_wide_a_graph_is_a_list_of_layers() -> None:
    text = draw_ascii(from_edges(*(f"step_number_{n}>step_number_{n + 1}" for n in range(9))))
    assert is_list(text)
    assert "  1  step_number_0 (log)\n       --> step_number_1" in text
    assert is_list(draw_ascii(fifty()))


def test_nothing_that_people_wrote_drives_the_terminal() -> None:
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", draw_ascii(nasty()))
