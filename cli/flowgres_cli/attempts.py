"""The attempts of one step: what became of each, and of those that keep it what was sent and what came back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from flowgres_cli.errors import NotFoundError
from flowgres_cli.output import Column, Output, clean, console, duration, moment, one_line, say, style_of
from flowgres_cli.session import Session
from flowgres_cli.watching import error_text

if TYPE_CHECKING:
    from rich.console import Console

Json = Any
MOST = 200
COLUMNS = (Column("attempt", "ATTEMPT", justify="right"), Column("status", "STATUS"))
_STEP = re.compile(r"(?P<step>[^\[\]]+)(\[(?P<item>[0-9]{1,9})\])?\Z")
_CUT = "(there is more than is kept)"


def show_attempts(session: Session, execution: str, wanted: str) -> None:
    """Print the attempts of a step, or of one item of a foreach: `STEP[3]`."""
    found = _STEP.match(wanted)
    step, item = (found["step"], found["item"]) if found else (wanted, None)
    rows = session.client.select(
        "attempts",
        {
            "execution_id": f"eq.{execution}",
            "step": f"eq.{step}",
            **({"iteration": f"eq.{item}"} if item is not None else {}),
            "order": "generation.asc,iteration.asc.nullsfirst,attempt.asc",
            "limit": MOST + 1,
        },
    )
    if not rows:
        _check_step(session, execution, step)
    is_more, rows = len(rows) > MOST, rows[:MOST]
    output = session.output
    if not output.is_table:
        output.rows(rows, COLUMNS, id_field="attempt")
    elif not rows:
        say("no attempts yet")
    else:
        for row in rows:
            _print_attempt(output, row)
    if is_more:
        say(f"the first {MOST} attempts; name an item to see its own: --step '{clean(step)}[0]'")


def _check_step(session: Session, execution: str, step: str) -> None:
    steps = session.client.call("get_execution", {"execution_id": execution}).get("steps") or []
    known = [str(one.get("step")) for one in steps]
    if step not in known:
        raise NotFoundError(
            f"execution {execution} has no step {clean(step)}", hint=f"Its steps: {', '.join(map(clean, known))}"
        )


def _print_attempt(output: Output, row: Mapping[str, Json]) -> None:
    from rich.text import Text

    screen = console(output.stdout)
    line = Text()
    item = "" if row.get("iteration") is None else f"[{row['iteration']}]"
    line.append(f"{clean(str(row.get('step')))}{item}  attempt {row.get('attempt')}  ", style="bold")
    line.append(str(row.get("status")), style=style_of(row.get("status")))
    for text in (duration(row.get("started_at"), row.get("finished_at")), moment(row.get("started_at"))):
        line.append(f"  {text}" if text else "", style="dim")
    # Wrapped by the terminal, not by us: an address is copied in one piece.
    screen.print(line, soft_wrap=True)
    if row.get("error"):
        screen.print(Text(f"  {one_line(error_text(row['error']), 400)}", style="red"), soft_wrap=True)
    detail = row.get("detail")
    if not isinstance(detail, dict):
        return
    earlier = detail.get("earlier")
    if isinstance(earlier, dict):
        count = detail.get("requests")
        screen.print(Text(f"  request {earlier.get('number')} of {count}", style="dim"), soft_wrap=True)
        _print_exchange(screen, earlier)
        screen.print(Text(f"  request {count} of {count}", style="dim"), soft_wrap=True)
    _print_exchange(screen, detail)


def _print_exchange(screen: Console, told: Mapping[str, Json]) -> None:
    from rich.text import Text

    for mark, style, part in ((">", "cyan", told.get("request")), ("<", "yellow", told.get("response"))):
        if isinstance(part, dict):
            for line in _lines_of(part):
                shown = Text(f"  {mark}", style=style)
                shown.append(f" {clean(line)}" if line else "", style="default")
                screen.print(shown, soft_wrap=True)


def _lines_of(part: Mapping[str, Json]) -> Iterator[str]:
    """A request or a response line by line, as it went over the wire."""
    first = (part.get("method"), part.get("url")) if "method" in part else (part.get("status"),)
    yield " ".join(str(word) for word in first if word is not None)
    headers = part.get("headers")
    if isinstance(headers, dict):
        for name, value in headers.items():
            yield f"{name}: {value}"
    if part.get("body") not in (None, ""):
        yield ""
        if part.get("body_encoding"):
            yield f"({part['body_encoding']})"
        yield from str(part["body"]).splitlines()
    if part.get("cut"):
        yield _CUT
