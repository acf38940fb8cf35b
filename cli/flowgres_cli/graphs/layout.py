"""Where each step stands: in layers, by the longest way to it, and within a layer beside what it is tied to.

An edge over several layers passes through a waypoint in each layer between, so that it has a row of its own there and
runs through no step. Waypoints of one step with the same labels are shared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import floor

from .reading import Picture

_SWEEPS = 4
_MOST_WAYPOINTS = 2_000
"""More than that nobody reads, and a dense graph has millions."""


@dataclass(slots=True)
class Item:
    """A step, or (`step` is None) a waypoint, with its place. Rows are counted from the top."""

    step: int | None
    layer: int
    row: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """From an item to one of the next layer (or, where edges are not routed, of a later one)."""

    source: int
    target: int
    labels: tuple[str, ...] = ()


@dataclass(slots=True)
class Layout:
    """Items by layer, from the top, and what leads from one to the next. The first items are the steps, by number."""

    items: list[Item]
    layers: list[list[int]]
    links: list[Link] = field(default_factory=list)
    is_routed: bool = True
    """Whether every link leads to the next layer."""

    @property
    def row_count(self) -> int:
        return 1 + max((item.row for item in self.items), default=-1)


def lay_out(picture: Picture) -> Layout:
    """Place all steps. Edges are not routed where that would take too many waypoints."""
    depths = _depths(picture)
    layout = Layout([Item(number, depth) for number, depth in enumerate(depths)], [])
    spans: dict[tuple[int, tuple[str, ...]], int] = {}
    for edge in picture.edges:
        key = (edge.source, edge.labels)
        spans[key] = max(spans.get(key, 0), depths[edge.target] - depths[edge.source] - 1)
    layout.is_routed = sum(spans.values()) <= _MOST_WAYPOINTS
    ways: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    if layout.is_routed:
        for (source, labels), length in spans.items():
            ways[source, labels] = _add_way(layout, source, labels, length)
    for edge in picture.edges:
        way = ways.get((edge.source, edge.labels), [])
        passed = depths[edge.target] - depths[edge.source] - 1
        if way and passed:
            layout.links.append(Link(way[passed - 1], edge.target))
        else:
            layout.links.append(Link(edge.source, edge.target, edge.labels))
    layout.layers = [[] for _ in range(1 + max(depths, default=-1))]
    for index, item in enumerate(layout.items):
        layout.layers[item.layer].append(index)
    _place(layout)
    return layout


def _depths(picture: Picture) -> list[int]:
    parents: list[list[int]] = [[] for _ in picture.steps]
    for edge in picture.edges:
        parents[edge.target].append(edge.source)
    depths = [0] * len(picture.steps)
    for number in picture.order:
        depths[number] = 1 + max((depths[parent] for parent in parents[number]), default=-1)
    return depths


def _add_way(layout: Layout, source: int, labels: tuple[str, ...], length: int) -> list[int]:
    way: list[int] = []
    for passed in range(length):
        layout.items.append(Item(None, layout.items[source].layer + 1 + passed))
        index = len(layout.items) - 1
        layout.links.append(Link(way[-1], index) if way else Link(source, index, labels))
        way.append(index)
    return way


def _place(layout: Layout) -> None:
    """Order each layer by the middle of its neighbours, in turns from the left and from the right, then give rows."""
    before: list[list[int]] = [[] for _ in layout.items]
    after: list[list[int]] = [[] for _ in layout.items]
    for link in layout.links:
        before[link.target].append(link.source)
        after[link.source].append(link.target)
    places = [0.0] * len(layout.items)
    for layer in layout.layers:
        places = _number(layer, places)
    for sweep in range(_SWEEPS):
        is_forward = sweep % 2 == 0
        near = before if is_forward else after
        for layer in layout.layers if is_forward else reversed(layout.layers):
            wanted = {index: _middle([places[one] for one in near[index]], places[index]) for index in layer}
            layer.sort(key=lambda index: wanted[index])
            places = _number(layer, places)
    for sweep in range(_SWEEPS):
        is_forward = sweep % 2 == 0
        near = before if is_forward else after
        for layer in layout.layers if is_forward else reversed(layout.layers):
            wished = [_middle([places[one] for one in near[index]], places[index]) for index in layer]
            for index, place in zip(layer, _spread(wished), strict=True):
                places[index] = place
    top = min(places, default=0.0)
    for item, place in zip(layout.items, places, strict=True):
        item.row = floor(place - top + 0.5)


def _number(layer: list[int], places: list[float]) -> list[float]:
    for place, index in enumerate(layer):
        places[index] = float(place)
    return places


def _middle(values: list[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _spread(wished: list[float]) -> list[float]:
    """Places at least 1 apart, in this order, and as near to the wished ones as can be."""
    blocks: list[tuple[float, int]] = []
    for number, wish in enumerate(wished):
        total, count = wish - number, 1
        while blocks and blocks[-1][0] / blocks[-1][1] > total / count:
            other, more = blocks.pop()
            total, count = total + other, count + more
        blocks.append((total, count))
    means = [total / count for total, count in blocks for _ in range(count)]
    return [mean + number for number, mean in enumerate(means)]
