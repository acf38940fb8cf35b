"""The lines between two layers in plain characters.

Sources with the same targets share a vertical bar. A step that several bars lead to has one line, which they join; a
bar that joins a line leads nowhere else, or the line would seem to turn into it. A `+` joins, a `|` in a line crosses
it. Two lines in one row must not touch: the bars stand in an order that keeps all this, and where there is none,
nothing is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .layout import Layout, Link


@dataclass(slots=True)
class _Bar:
    sources: list[int]
    targets: list[int]
    sources_at: set[int]
    targets_at: set[int]
    column: int = 0
    """From 1; 0 is a straight line, which needs no bar."""

    @property
    def rows(self) -> set[int]:
        return self.sources_at | self.targets_at

    @property
    def is_straight(self) -> bool:
        return len(self.rows) == 1


@dataclass(slots=True)
class Channel:
    """What stands between two layers; `notes` are labels that no line has alone: whence and which, by target."""

    row_count: int
    bars: list[_Bar]
    labels: dict[int, str]
    """What to write into the line to a row."""
    steps_at: set[int]
    """Rows of targets that are steps: a line to them ends in an arrow."""
    notes: dict[int, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)

    @property
    def _columns(self) -> int:
        return max((bar.column for bar in self.bars), default=0)

    @property
    def width(self) -> int:
        """Characters from the end of a layer to the begin of the next one."""
        text = max((len(label) for label in self.labels.values()), default=-2)
        return self._start + 1 + (text + 2) + len("-> ")

    @property
    def _start(self) -> int:
        return 2 * self._columns

    def lines(self) -> list[str]:
        """The text of every row, all of the same width."""
        canvas = [[" "] * self.width for _ in range(self.row_count)]
        for bar in self.bars:
            at = 2 * bar.column - 1 if bar.column else 0
            for row in bar.sources_at:
                canvas[row][: at + 1] = "-" * (at + 1)
            for row in bar.targets_at:
                canvas[row][at : self.width] = "-" * (self.width - at)
        for row, label in self.labels.items():
            start = self._start + 1
            canvas[row][start : start + len(label) + 2] = f" {label} "
        for row in self.steps_at:
            canvas[row][-2:] = "> "
        for bar in self.bars:
            if bar.column:
                for row in range(min(bar.rows), max(bar.rows) + 1):
                    canvas[row][2 * bar.column - 1] = "+" if row in bar.rows else "|"
        return ["".join(row) for row in canvas]


def plan_channel(layout: Layout, depth: int) -> Channel | None:
    """The lines from this layer to the next one; None when they cannot be told apart."""
    here = set(layout.layers[depth])
    links = [link for link in layout.links if link.source in here]
    bars = _bars(layout, links)
    if not _arrange(bars):
        return None
    feeds: dict[int, list[Link]] = {}
    for link in links:
        feeds.setdefault(link.target, []).append(link)
    rows = {target: layout.items[target].row for target in feeds}
    channel = Channel(layout.row_count, bars, {}, {rows[t] for t in feeds if layout.items[t].step is not None})
    for target, into in feeds.items():
        if len(into) == 1 and into[0].labels:
            channel.labels[rows[target]] = " / ".join(into[0].labels)
        elif told := [(one.source, one.labels) for one in into if one.labels]:
            channel.notes[target] = told
    return channel


def _bars(layout: Layout, links: list[Link]) -> list[_Bar]:
    targets: dict[int, list[int]] = {}
    for link in links:
        targets.setdefault(link.source, []).append(link.target)
    shared: dict[frozenset[int], list[int]] = {}
    for source, led_to in targets.items():
        shared.setdefault(frozenset(led_to), []).append(source)
    items = layout.items
    return [
        _Bar(sources, sorted(led_to), {items[one].row for one in sources}, {items[one].row for one in led_to})
        for led_to, sources in shared.items()
    ]


def _arrange(bars: list[_Bar]) -> bool:
    """Give each bar its column. False when the rows of two bars are in each other's way."""
    feeding: dict[int, list[int]] = {}
    for number, bar in enumerate(bars):
        for row in bar.targets_at:
            feeding.setdefault(row, []).append(number)
    # The line of a source ends at its bar: what joins the line to a target in the same row has to stand behind it.
    before: list[set[int]] = [set() for _ in bars]
    for number, bar in enumerate(bars):
        if not bar.is_straight:
            for row in bar.sources_at:
                for other in feeding.get(row, ()):
                    if other != number:
                        before[other].add(number)
    for numbers in feeding.values():
        wide = [number for number in numbers if len(bars[number].targets) > 1]
        if len(wide) > 1:
            return False
        for number in numbers:
            before[number].update(other for other in wide if other != number)
    if any(bar.is_straight and before[number] for number, bar in enumerate(bars)):
        return False
    pending = [number for number, bar in enumerate(bars) if not bar.is_straight]
    while pending:
        ready = next((number for number in pending if before[number].isdisjoint(pending)), None)
        if ready is None:
            return False
        bar = bars[ready]
        column = 1 + max((bars[other].column for other in before[ready]), default=0)
        while any(one.column == column and _touch(one, bar) for one in bars):
            column += 1
        bar.column = column
        pending.remove(ready)
    return True


def _touch(one: _Bar, other: _Bar) -> bool:
    """Whether two bars in one column would look like one."""
    return min(one.rows) <= max(other.rows) + 1 and min(other.rows) <= max(one.rows) + 1
