"""A picture as SVG: one file without fonts, scripts or links, in the colour of the text around it.

On its own, or as an image, it follows the light or dark scheme of whoever looks at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from flowgres_cli.output import cells, one_line

from .layout import Layout, Link, lay_out
from .reading import Picture, Step

_CHARACTER = 7.3
_BOX_HEIGHT, _ROW_HEIGHT, _PADDING, _GAP, _MARGIN = 52, 76, 12, 60, 20
_MOST_TEXT, _MOST_HEADING = 32, 100
_SECTION_WIDTH = 900
_STYLE = """
:root.flowgres-graph{color-scheme:light dark;color:#1f2328}
@media (prefers-color-scheme:dark){:root.flowgres-graph{color:#e6edf3}}
.flowgres-graph text{font-family:ui-monospace,Menlo,Consolas,monospace;font-size:12px;fill:currentColor}
.flowgres-graph .id{font-weight:bold}
.flowgres-graph .small{font-size:11px;opacity:.75}
.flowgres-graph .box,.flowgres-graph .edge{fill:none;stroke:currentColor}
.flowgres-graph .edge{opacity:.7}
.flowgres-graph .cancel{stroke-dasharray:2 4}
.flowgres-graph .undo{stroke-dasharray:6 3}
"""
Point = tuple[float, float]


def draw_svg(picture: Picture) -> str:
    """The picture as a document, without a line end after the last line."""
    layout = lay_out(picture)
    widths = [max((_width(picture.steps[i]) for i in layer if i < len(picture.steps)), default=0.0)
              for layer in layout.layers]  # fmt: skip
    gaps = _gaps(layout)
    lefts, at = [], float(_MARGIN)
    for width, gap in zip(widths, gaps, strict=True):
        lefts.append(at)
        at += width + gap
    heading = picture.name + (f": {one_line(picture.title, _MOST_HEADING)}" if picture.title else "")
    right = max(at - gaps[-1] if gaps else at, _MARGIN + cells(one_line(heading)) * _CHARACTER) + _MARGIN
    top = 2 * _MARGIN + 12
    places: list[tuple[float, float, float]] = [
        (lefts[item.layer], top + item.row * _ROW_HEIGHT, widths[item.layer]) for item in layout.items
    ]
    body = [f'<text class="id" x="{_MARGIN}" y="{_MARGIN + 8}">{_text(heading)}</text>']
    into, out = [0] * len(layout.items), [0] * len(layout.items)
    for link in layout.links:
        into[link.target] += 1
        out[link.source] += 1
    for link in layout.links:
        body += _link(layout, link, places, is_joined=into[link.target] > 1, is_branch=out[link.source] > 1)
    for edge in picture.cancels:
        body.append(_cancel(places[edge.source], places[edge.target]))
    for edge in picture.returns:
        body += _return(places[edge.source], places[edge.target], " / ".join(edge.labels))
    for number, step in enumerate(picture.steps):
        body += _box(step, step.id, places[number])
    bottom = float(top + layout.row_count * _ROW_HEIGHT) + (_MARGIN if picture.returns else 0)
    undone = [(f"{picture.steps[number].id}.compensate", step) for number, step in picture.compensations]
    late = [(step.id, step) for step in picture.failures]
    for heading, entries, kind in (
        ("Compensations, the last one first", undone, "undo"),
        ("On failure, one after the other", late, ""),
    ):
        if entries:
            drawn, right, bottom = _section(heading, entries, kind, right, bottom)
            body += drawn
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="flowgres-graph" role="img" width="{right:.0f}" '
        f'height="{bottom:.0f}" viewBox="0 0 {right:.0f} {bottom:.0f}">'
    )
    arrow = (
        '<defs><marker id="flowgres-arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="currentColor"/></marker></defs>'
    )
    return "\n".join(
        [head, f"<title>{_text(picture.name)}</title>", f"<style>{_STYLE}</style>", arrow, *body, "</svg>"]
    )


def _gaps(layout: Layout) -> list[float]:
    """The room behind each layer: enough for the labels of its edges."""
    gaps = [float(_GAP)] * len(layout.layers)
    for link in layout.links:
        if link.labels:
            depth = layout.items[link.source].layer
            gaps[depth] = max(gaps[depth], _GAP + len(" / ".join(link.labels)) * _CHARACTER)
    return gaps


def _section(
    heading: str, entries: list[tuple[str, Step]], kind: str, right: float, top: float
) -> tuple[list[str], float, float]:
    """Boxes in rows under a heading; with the width and height that the picture then has."""
    drawn = [f'<text class="id" x="{_MARGIN}" y="{top + 12}">{_text(heading)}</text>']
    x, y, most = float(_MARGIN), top + 28, max(right, _SECTION_WIDTH)
    for name, step in entries:
        width = max(_width(step), len(name) * _CHARACTER + 2 * _PADDING)
        if x > _MARGIN and x + width + _MARGIN > most:
            x, y = float(_MARGIN), y + _ROW_HEIGHT
        drawn += _box(step, name, (x, y, width), kind)
        right = max(right, x + width + _MARGIN)
        x += width + _MARGIN
    return drawn, right, y + _ROW_HEIGHT


def _lines(step: Step, name: str) -> Iterator[tuple[str, str]]:
    yield "id", name
    yield "small", one_line(", ".join((step.type, *(mark for mark in step.marks if mark != step.type))), 60)
    if step.title:
        yield "small", one_line(step.title, _MOST_TEXT)


def _width(step: Step) -> float:
    return max(cells(text) for _, text in _lines(step, step.id)) * _CHARACTER + 2 * _PADDING


def _box(step: Step, name: str, place: tuple[float, float, float], kind: str = "") -> Iterator[str]:
    x, y, width = place
    radius = {"stop": _BOX_HEIGHT / 2, "state": _BOX_HEIGHT / 2, "condition": 0, "switch": 0}.get(step.type, 6)
    kind = "undo" if step.type == "any" else kind
    told = ": ".join(text for text in (name, step.title, step.when and f"when {step.when}") if text)
    yield f"<g><title>{_text(told, 500)}</title>"
    if "each" in step.marks:
        yield _rectangle(x + 4, y - 4, width, radius, kind)
    yield _rectangle(x, y, width, radius, kind)
    if "final" in step.marks:
        yield _rectangle(x - 4, y - 4, width + 8, radius + 4, kind, height=_BOX_HEIGHT + 8)
    lines = list(_lines(step, name))
    for row, (style, text) in enumerate(lines):
        height = y + _BOX_HEIGHT / 2 + 4 + (row - (len(lines) - 1) / 2) * 15
        yield f'<text class="{style}" x="{x + _PADDING:.1f}" y="{height:.1f}">{_text(text)}</text>'
    yield "</g>"


def _rectangle(x: float, y: float, width: float, radius: float, kind: str, *, height: float = _BOX_HEIGHT) -> str:
    style = f"box {kind}".rstrip()
    return f'<rect class="{style}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" rx="{radius}"/>'


def _link(
    layout: Layout, link: Link, places: list[tuple[float, float, float]], *, is_joined: bool, is_branch: bool
) -> Iterator[str]:
    (x, y, width), (to_x, to_y, to_width) = places[link.source], places[link.target]
    y, to_y = y + _BOX_HEIGHT / 2, to_y + _BOX_HEIGHT / 2
    is_step = layout.items[link.target].step is not None
    x += width
    # A label stands where its line is alone: behind the bend, before it, or in the middle of a long one.
    is_slope = bool(link.labels) and is_joined and is_branch
    turned = to_x - 14 if is_slope else min(x + _GAP - 14, to_x)
    bend = (turned - x) / 2 if is_slope else _GAP / 3
    path = f"M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {turned - bend:.1f} {to_y:.1f} {turned:.1f} {to_y:.1f}H{to_x:.1f}"
    arrow = ' marker-end="url(#flowgres-arrow)"' if is_step else f"h{to_width:.1f}"
    yield f'<path class="edge" d="{path}{"" if is_step else arrow}"{arrow if is_step else ""}/>'
    if link.labels:
        at, height, anchor = to_x - 10, to_y - 6, "end"
        if is_slope:
            at, height, anchor = (x + turned) / 2, (y + to_y) / 2 - 6, "middle"
        elif is_joined:
            at, height, anchor = x + 6, y - 6, "start"
        label = _text(" / ".join(link.labels))
        yield f'<text class="small" x="{at:.1f}" y="{height:.1f}" text-anchor="{anchor}">{label}</text>'


def _cancel(source: tuple[float, float, float], target: tuple[float, float, float]) -> str:
    """A dotted curve between the middles of two boxes, from the lower or upper side of each."""
    (x, y, width), (to_x, to_y, to_width) = source, target
    x, to_x = x + width / 2, to_x + to_width / 2
    down = 1 if to_y > y else -1
    begin: Point = (x, y + _BOX_HEIGHT if down > 0 or to_y == y else y)
    end: Point = (to_x, to_y if down > 0 else to_y + _BOX_HEIGHT)
    pull = 24 if to_y == y else 24 * down
    path = (
        f"M{begin[0]:.1f} {begin[1]:.1f}C{begin[0]:.1f} {begin[1] + pull:.1f} "
        f"{end[0]:.1f} {end[1] - (pull if to_y != y else -pull):.1f} {end[0]:.1f} {end[1]:.1f}"
    )
    return f'<path class="edge cancel" d="{path}" marker-end="url(#flowgres-arrow)"><title>cancels</title></path>'


def _return(source: tuple[float, float, float], target: tuple[float, float, float], label: str) -> Iterator[str]:
    """A curve below both boxes, from one to the other or to itself, with its label under it."""
    (x, y, width), (to_x, to_y, to_width) = source, target
    is_loop = source == target
    x, to_x = x + width / 2 + (12 if is_loop else 0), to_x + to_width / 2 - (12 if is_loop else 0)
    y, to_y = y + _BOX_HEIGHT, to_y + _BOX_HEIGHT
    low = max(y, to_y) + _ROW_HEIGHT - _BOX_HEIGHT
    path = f"M{x:.1f} {y:.1f}C{x:.1f} {low:.1f} {to_x:.1f} {low:.1f} {to_x:.1f} {to_y:.1f}"
    yield f'<path class="edge" d="{path}" marker-end="url(#flowgres-arrow)"><title>{_text(label)}</title></path>'
    middle = (y + to_y) / 8 + low * 0.75
    yield f'<text class="small" x="{(x + to_x) / 2:.1f}" y="{middle:.1f}" text-anchor="middle">{_text(label)}</text>'


def _text(text: str, most: int | None = None) -> str:
    """What people wrote, as text of an XML document, which has no control characters."""
    shown = one_line(text, most)
    return escape(
        "".join("\ufffd" if char in "\ufffe\uffff" or "\ud800" <= char <= "\udfff" else char for char in shown)
    )
