"""SVG: well-formed, on its own, and within its own frame."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from flowgres_cli.graphs.svg import draw_svg
from flowgres_cli.output import clean

from .pictures import PICTURES, nasty, picture

SVG = "{http://www.w3.org/2000/svg}"
ELEMENTS = {"svg", "title", "style", "defs", "marker", "path", "text", "g", "rect"}


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - our own


@pytest.mark.parametrize("name", PICTURES)
def test_every_step_is_there_within_the_frame(name: str) -> None:
    drawn = PICTURES[name]
    root = parse(draw_svg(drawn))
    assert root.findtext(f"{SVG}title") == clean(drawn.name)
    texts = [element.text for element in root.iter(f"{SVG}text")]
    assert {step.id for step in (*drawn.steps, *drawn.failures)} <= set(texts)
    assert {f"{drawn.steps[number].id}.compensate" for number, _ in drawn.compensations} <= set(texts)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= ELEMENTS
    for box in root.iter(f"{SVG}rect"):
        x, y, width, height = (float(box.attrib[key]) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + width <= float(root.attrib["width"])
        assert 0 <= y <= y + height <= float(root.attrib["height"])


def test_boxes_do_not_cover_each_other() -> None:
    root = parse(draw_svg(PICTURES["fifty"]))
    boxes = [tuple(float(box.attrib[key]) for key in ("x", "y", "width")) for box in root.iter(f"{SVG}rect")]
    assert len(boxes) == 50
    for number, (x, y, width) in enumerate(boxes):
        for other_x, other_y, other_width in boxes[:number]:
            assert abs(y - other_y) >= 52 or x + width <= other_x or other_x + other_width <= x


def test_nothing_comes_from_elsewhere_and_texts_are_texts() -> None:
    text = draw_svg(nasty())
    root = parse(text)
    assert "<script" not in text
    assert "href" not in text
    assert "@import" not in text
    assert "&lt;script&gt;" in text
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


def test_edges_labels_and_cancels() -> None:
    gate = {"id": "c", "type": "condition", "config": {"true_branch": ["x"], "false_branch": ["y"]}}
    root = parse(draw_svg(picture(gate, {"id": "x", "cancels": ["y"]}, {"id": "y"})))
    styles = [path.get("class") for path in root.iter(f"{SVG}path") if path.get("class")]
    assert sorted(str(style) for style in styles) == ["edge", "edge", "edge cancel"]
    assert {"true", "false"} <= {element.text for element in root.iter(f"{SVG}text")}


def test_light_and_dark_follow_the_text() -> None:
    text = draw_svg(picture({"id": "a"}))
    assert "currentColor" in text
    assert "prefers-color-scheme:dark" in text
