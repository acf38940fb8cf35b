"""flowgres graph: from a file without a server, or the active version of a workflow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .conftest import Flowgres
from .texts import GREET

EXAMPLES = Path(__file__).parents[2] / "examples"
CYCLE = """name: circle
steps:
  - {id: a, type: delay, depends_on: [b], config: {seconds: 1}}
  - {id: b, type: delay, depends_on: [a], config: {seconds: 1}}
"""


def test_file_is_drawn_without_a_server(flowgres: Flowgres) -> None:
    answer = flowgres("graph", str(EXAMPLES / "parallel_report" / "workflow.yaml"))
    assert answer.code == 0, answer.err
    assert " prepare -+--> best ---+--> judge -+- " in answer.out
    assert answer.err == ""


@pytest.mark.parametrize(("form", "begin"), [("ascii", "greet"), ("mermaid", "flowchart LR\n"), ("svg", "<svg ")])
def test_forms_from_stdin(flowgres: Flowgres, form: str, begin: str) -> None:
    answer = flowgres("graph", "-", "--format", form, stdin=GREET)
    assert answer.code == 0, answer.err
    assert answer.out.startswith(begin)


def test_output_goes_to_a_file(flowgres: Flowgres) -> None:
    source = str(EXAMPLES / "shipping_route" / "workflow.yaml")
    answer = flowgres("graph", source, "--format", "svg", "-o", "route.svg")
    assert (answer.code, answer.out) == (0, "")
    assert "route.svg" in answer.err
    assert ElementTree.parse(flowgres.folder / "route.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own
    refused = flowgres("graph", source, "-o", "nowhere/route.svg")
    assert refused.code == 1
    assert "nowhere/route.svg" in refused.err


@pytest.mark.parametrize("text", [CYCLE, "name: [", GREET.replace("type: transform", "type: transfrom"), "[]"])
def test_wrong_file_is_told_as_validate_does(flowgres: Flowgres, write: Callable[..., Path], text: str) -> None:
    write("wrong.yaml", text)
    answer, validated = flowgres("graph", "wrong.yaml"), flowgres("validate", "wrong.yaml")
    assert (answer.code, answer.out) == (4, "")
    assert validated.code == 4
    assert answer.err.splitlines()[:-1] == validated.err.splitlines()[:-1]
    assert "wrong.yaml:" in answer.err


def test_cycle_is_told_and_not_drawn(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("circle.yaml", CYCLE)
    assert "a -> b -> a" in flowgres("graph", "circle.yaml").err


def test_directory_and_path_that_is_none_are_exit_2(flowgres: Flowgres) -> None:
    for source in (".", "flows/none.yaml", "none.json"):
        answer = flowgres("graph", source)
        assert (answer.code, answer.out) == (2, "")


def test_terminal_is_not_driven_by_a_description(flowgres: Flowgres, write: Callable[..., Path]) -> None:
    write("title.yaml", GREET.replace("Greets somebody", '"\\e[31mRed\\u202e"'))
    for form in ("ascii", "mermaid", "svg"):
        answer = flowgres("graph", "title.yaml", "--format", form)
        assert answer.code == 0, answer.err
        assert "\x1b" not in answer.out
        assert "\u202e" not in answer.out


def test_name_draws_the_active_version(live: Flowgres) -> None:
    answer = live("graph", "greet")
    assert answer.code == 0, answer.err
    assert answer.out.startswith("greet")
    same = live("graph", str(live.folder / "flows" / "greet.yaml"))
    assert answer.out == same.out


def test_name_that_does_not_exist_is_exit_3_with_a_suggestion(live: Flowgres) -> None:
    answer = live("graph", "gret")
    assert answer.code == 3
    assert "'greet'" in answer.err
