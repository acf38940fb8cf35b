"""Data on stdout in the form that was asked for; messages on stderr.

Without `-o`, a terminal gets tables and everything else JSON. rich is imported only when a table is drawn.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import Console

Json = Any
Row = Mapping[str, Json]

# Names and messages come from others: an escape sequence in them must not reach the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_STATUS_STYLE = {
    "completed": "green",
    "active": "green",
    "failed": "red",
    "invalid": "red",
    "cancelled": "magenta",
    "running": "cyan",
    "ready": "cyan",
    "retrying": "yellow",
    "waiting": "yellow",
    "paused": "yellow",
    "queued": "blue",
    "pending": "dim",
    "skipped": "dim",
    "inactive": "dim",
    "archived": "dim",
}


_WIDTH_OF_FILES = 200
_LEAST_PROSE = 12
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the field of the row, its heading, and how to show it.

    An optional one goes first when the terminal is too narrow. Only prose is ever cut: everything else may be what the
    next command needs.
    """

    field: str
    heading: str
    show: Callable[[Json], str] | None = None
    justify: str = "left"
    is_optional: bool = False
    is_prose: bool = False


class Output:
    """Writes what a command found."""

    def __init__(self, format_name: str | None, *, stdout: TextIO | None = None) -> None:
        self.stdout = stdout if stdout is not None else sys.stdout
        self.format = format_name or ("table" if self.stdout.isatty() else "json")

    @property
    def is_table(self) -> bool:
        """Whether a person reads along."""
        return self.format == "table"

    def rows(
        self, rows: Sequence[Row], columns: Sequence[Column], *, id_field: str = "id", empty: str = "nothing found"
    ) -> None:
        """A list. Tables show `columns`, the other forms whole rows."""
        if self.format == "table":
            if not rows:
                say(empty)
                return
            self._table(rows, columns)
        elif self.format == "json":
            self.line(json.dumps(list(rows), ensure_ascii=False, indent=2))
        elif self.format == "jsonl":
            for row in rows:
                self.line(json.dumps(row, ensure_ascii=False))
        elif self.format == "yaml":
            self._yaml(list(rows))
        else:
            for row in rows:
                self.line(plain(row.get(id_field)))

    def record(self, record: Row, *, id_field: str = "id", fields: Sequence[str] | None = None) -> None:
        """One object. A table shows `fields` (all, when None) as pairs, the other forms the whole object."""
        if self.format == "table":
            self._pairs({k: record.get(k) for k in fields} if fields is not None else record)
        elif self.format == "json":
            self.line(json.dumps(record, ensure_ascii=False, indent=2))
        elif self.format == "jsonl":
            self.line(json.dumps(record, ensure_ascii=False))
        elif self.format == "yaml":
            self._yaml(record)
        else:
            self.line(plain(record.get(id_field)))

    def line(self, text: str) -> None:
        """One line of data, as it is."""
        self.stdout.write(text + "\n")
        self.stdout.flush()

    def _yaml(self, value: Json) -> None:
        import yaml

        self.stdout.write(yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))
        self.stdout.flush()

    def _table(self, rows: Sequence[Row], columns: Sequence[Column]) -> None:
        from rich.table import Table
        from rich.text import Text

        screen = console(self.stdout)
        shown = _fitting(rows, columns, screen.width)
        widths = _widths(rows, shown, screen.width)
        # Where even the least does not fit, the terminal wraps: nothing is cut that somebody wants to copy.
        screen.width = max(screen.width, sum(widths) + _GAP * len(widths))
        table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
        for column, width in zip(shown, widths, strict=True):
            # The width is ours to say: left to itself, rich takes whole columns away.
            table.add_column(
                column.heading,
                justify="right" if column.justify == "right" else "left",
                no_wrap=True,
                width=width,
                overflow="ellipsis",
            )
        for row in rows:
            table.add_row(
                *(
                    Text(
                        _shown(column, row),
                        style=style_of(row.get(column.field)) if column.field in ("status", "state") else "",
                    )
                    for column in shown
                )
            )
        screen.print(table)

    def _pairs(self, record: Row) -> None:
        from rich.text import Text

        screen = console(self.stdout)
        width = max((len(key) for key, value in record.items() if value is not None), default=0)
        for key, value in record.items():
            if value is None:
                continue
            text = clean(moment(value) if key.endswith("_at") else plain(value, indent=2))
            line = Text(f"{key:<{width}}  ", style="bold")
            line.append(
                text.replace("\n", "\n" + " " * (width + 2)), style=style_of(value) if key == "status" else "not bold"
            )
            # Wrapped by the terminal, not by us: a long value is copied in one piece.
            screen.print(line, soft_wrap=True)


def console(stream: TextIO) -> Console:
    """A rich console on this stream; NO_COLOR and dumb terminals are honoured by rich itself."""
    from rich.console import Console

    # A file or a pipe has no width: rich would cut at 80.
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _WIDTH_OF_FILES
    return Console(file=stream, highlight=False, markup=False, emoji=False, soft_wrap=False, width=width)


def _fitting(rows: Sequence[Row], columns: Sequence[Column], width: int) -> list[Column]:
    """The columns to show: none that nobody filled, and as many of the optional ones as there is room for."""
    shown = [columns[0], *(c for c in columns[1:] if any(row.get(c.field) not in (None, "", []) for row in rows))]
    while sum(_least_width(column, rows) + _GAP for column in shown) - _GAP > width:
        last = next((column for column in reversed(shown) if column.is_optional), None)
        if last is None:
            break
        shown.remove(last)
    return shown


def _widths(rows: Sequence[Row], columns: Sequence[Column], width: int) -> list[int]:
    """How wide each column is: those of prose share what the others leave."""
    found = [_least_width(column, rows) for column in columns]
    spare = width - sum(found) - _GAP * (len(found) - 1)
    wishes = sorted(
        (_full_width(column, rows) - least, i) for i, (column, least) in enumerate(zip(columns, found, strict=True))
    )
    for position, (wish, i) in enumerate(wishes):
        given = max(0, min(wish, spare // (len(wishes) - position)))
        found[i] += given
        spare -= given
    return found


def _least_width(column: Column, rows: Sequence[Row]) -> int:
    full = _full_width(column, rows)
    return max(cells(column.heading), min(_LEAST_PROSE, full)) if column.is_prose else full


def _full_width(column: Column, rows: Sequence[Row]) -> int:
    return max(cells(column.heading), *(cells(_shown(column, row)) for row in rows))


def _shown(column: Column, row: Row) -> str:
    value = row.get(column.field)
    text = column.show(value) if column.show is not None else plain(value)
    return one_line(text) if column.is_prose else clean(text)


def cells(text: str) -> int:
    """How many columns of a terminal a text takes."""
    from rich.cells import cell_len

    return cell_len(text)


def say(message: str) -> None:
    """A message for people, on stderr."""
    sys.stderr.write(clean(message) + "\n")
    sys.stderr.flush()


def warn(message: str) -> None:
    """A message that deserves attention, on stderr."""
    say(f"warning: {message}")


def clean(text: str) -> str:
    """Text without control characters, so that data cannot drive the terminal."""
    return _CONTROL.sub("\ufffd", text)


def style_of(status: Json) -> str:
    """The colour of a status, or nothing."""
    return _STATUS_STYLE.get(status, "") if isinstance(status, str) else ""


def plain(value: Json, *, indent: int | None = None) -> str:
    """A value as text: strings bare, everything else as JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False, indent=indent)


def one_line(text: str, most: int | None = None) -> str:
    """Text without line ends and control characters, cut where it is longer than `most`."""
    flat = " ".join(clean(text).split())
    return flat if most is None or len(flat) <= most else flat[: most - 1] + "…"


def moment(value: Json) -> str:
    """A timestamp in local time, without the date when it is today's; anything else as it is."""
    if not isinstance(value, str):
        return plain(value)
    try:
        local = datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        return value
    is_today = local.date() == datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if is_today else "%Y-%m-%d %H:%M")


def duration(started: Json, finished: Json) -> str:
    """How long it took between two timestamps; empty when one is missing."""
    if not isinstance(started, str) or not isinstance(finished, str):
        return ""
    try:
        seconds = (datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds()
    except ValueError:
        return ""
    return seconds_text(max(seconds, 0.0))


def seconds_text(seconds: float) -> str:
    """Seconds for people: 12 ms, 3.4 s, 2 min 5 s."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def is_interactive() -> bool:
    """Whether a person sits in front of stdout, on a terminal that can redraw."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
