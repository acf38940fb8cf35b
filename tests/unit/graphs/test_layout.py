"""What a picture shows, and where its steps stand."""

from __future__ import annotations

import time

import pytest

from flowgres_cli.graphs.layout import lay_out
from flowgres_cli.graphs.reading import Edge, Picture

from .pictures import PICTURES, fifty, from_edges, picture


def layers(drawn: Picture) -> list[list[str]]:
    layout = lay_out(drawn)
    named = [[layout.items[index].step for index in layer] for layer in layout.layers]
    return [[drawn.steps[number].id for number in layer if number is not None] for layer in named]


def test_layers_are_the_longest_ways() -> None:
    assert layers(from_edges("a>b", "b>c", "a>c", "c>d", "a>d")) == [["a"], ["b"], ["c"], ["d"]]


def test_steps_stand_beside_what_they_are_tied_to() -> None:
    assert layers(from_edges("a>x", "b>y", "c>z", steps=["a", "b", "c", "z", "y", "x"])) == [
        ["a", "b", "c"],
        ["x", "y", "z"],
    ]


@pytest.mark.parametrize("name", PICTURES)
def test_no_two_items_share_a_place_and_links_go_one_layer_on(name: str) -> None:
    layout = lay_out(PICTURES[name])
    places = [(item.layer, item.row) for item in layout.items]
    assert len(set(places)) == len(places)
    assert min((item.row for item in layout.items), default=0) == 0
    for link in layout.links:
        passed = layout.items[link.target].layer - layout.items[link.source].layer
        assert passed == 1 if layout.is_routed else passed >= 1


@pytest.mark.parametrize("name", PICTURES)
def test_links_lead_where_the_edges_do(name: str) -> None:
    drawn = PICTURES[name]
    layout = lay_out(drawn)
    following: dict[int, list[int]] = {}
    for link in layout.links:
        following.setdefault(link.source, []).append(link.target)
    for number in range(len(drawn.steps)):
        found, pending = set(), list(following.get(number, ()))
        while pending:
            index = pending.pop()
            step = layout.items[index].step
            if step is None:
                pending += following[index]
            else:
                found.add(step)
        assert found == {edge.target for edge in drawn.edges if edge.source == number}


def test_dense_graph_is_not_routed_and_takes_no_time() -> None:
    steps = [f"s{n}" for n in range(150)]
    drawn = picture(*({"id": name, "depends_on": steps[:n]} for n, name in enumerate(steps)))
    started = time.process_time()
    layout = lay_out(drawn)
    assert len(layout.items) - len(steps) <= 2_000 or not layout.is_routed
    assert time.process_time() - started < 5


def test_fifty_steps_are_placed_in_no_time() -> None:
    started = time.process_time()
    lay_out(fifty())
    assert time.process_time() - started < 1


def test_branches_are_named() -> None:
    drawn = picture(
        {"id": "c", "type": "condition", "config": {"true_branch": ["s"], "false_branch": ["b"]}},
        {"id": "s", "type": "switch", "config": {"cases": [{"next": ["x"]}, {"next": ["x", "y"]}], "default": ["y"]}},
        *({"id": name} for name in "xyb"),
    )
    told = {(drawn.steps[e.source].id, drawn.steps[e.target].id): e.labels for e in drawn.edges if e.labels}
    assert told == {
        ("c", "s"): ("true",),
        ("c", "b"): ("false",),
        ("s", "x"): ("case 1", "case 2"),
        ("s", "y"): ("case 2", "default"),
    }


def test_what_is_special_about_a_step_is_told() -> None:
    drawn = picture(
        {"id": "a", "depends_on": []},
        {"id": "b", "depends_on": [], "cancels": "a", "compensate": {"type": "log"}, "foreach": {"items": [1]}},
        {"id": "c", "depends_on": ["a", "b"], "join": {"at_least": 1, "rest": "cancel"}, "when": "{{ true }}"},
        {"id": "d", "depends_on": ["c"], "join": "always", "on_error": "continue"},
        {"id": "e", "depends_on": ["d"], "join": "default", "on_error": "fail", "type": "stop"},
        {"id": "f", "depends_on": ["d"], "type": "sub_workflow", "config": {"workflow": "x", "detach": True}},
        on_failure=[{"id": "g", "type": "log"}],
    )
    assert [step.marks for step in drawn.steps] == [
        (),
        ("each",),
        ("join: 1 of 2", "cancels the rest", "when"),
        ("join: always", "on_error: continue"),
        ("stop",),
        ("detached",),
    ]
    assert drawn.steps[2].when == "{{ true }}"
    assert drawn.cancels == [Edge(1, 0)]
    assert [(number, step.marks) for number, step in drawn.compensations] == [(1, ("each item",))]
    assert [step.id for step in drawn.failures] == ["g"]


def test_cycle_is_no_picture() -> None:
    with pytest.raises(ValueError, match="cycle"):
        from_edges("a>b", "b>a")
