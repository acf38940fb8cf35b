"""Rows by the ten thousand: sent in calls that each are one transaction, with a report of what became of each row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flowgres_cli.client import RawJson
from flowgres_cli.errors import CliError
from flowgres_cli.output import Column, Output, say
from flowgres_cli.rows import Row

Json = Any
MOST_ROWS = 10_000
MOST_BYTES = 16 << 20
"""Of one call: rows, and characters of them."""

_TOO_MANY = frozenset({"too_many_entities", "too_many_instances", "payload_too_large"})
_PLACE = re.compile(r"\bentities\[(\d+)\]")
_COLUMNS = (
    Column("entity_table", "TABLE"),
    Column("entity_id", "ENTITY", is_prose=True),
    Column("instance_id", "INSTANCE"),
    Column("code", "CODE"),
    Column("message", "MESSAGE", is_prose=True),
)


class Report:
    """What became of the rows, in the form that was asked for. `done` is the word of the API: started, moved."""

    def __init__(self, output: Output, done: str) -> None:
        self._output = output
        self._word = done
        self.done = 0
        self.refused = 0
        # Lines and ids are written as they come; a table tells of what was refused, the rest of all.
        self._is_streaming = output.format in ("jsonl", "id")
        self._kept: list[Json] = []

    def add(self, answer: dict[str, Json]) -> None:
        """The answer to one call: {started or moved, refused, results}."""
        self.done += answer[self._word]
        self.refused += answer["refused"]
        results = answer["results"]
        if self._output.format == "id":
            results = [{"id": result["instance_id"]} for result in results if "error" not in result]
        elif self._output.is_table:
            results = [{**result, **result["error"]} for result in results if "error" in result]
        if self._is_streaming:
            for result in results:
                self._output.record(result)
        else:
            self._kept += results

    def finish(self) -> None:
        """Write what was kept."""
        counts = {self._word: self.done, "refused": self.refused}
        if self._output.is_table:
            self._output.record(counts)
            if self._kept:
                self._output.rows(self._kept, _COLUMNS)
        elif self._is_streaming:
            say(", ".join(f"{name} {count}" for name, count in counts.items()))
        else:
            self._output.record(counts | {"results": self._kept})


def send(rows: Iterable[Row], call: Callable[[RawJson], dict[str, Json]], report: Report) -> None:
    """Send all rows in calls of MOST_ROWS at most; `call` takes a JSON array of them.

    Raises CliError for the first call that is refused, once the report tells of those before; and when it tells that
    rows were refused.
    """
    try:
        for batch in _batches(rows):
            for answer in _send(batch, call, report):
                report.add(answer)
    except CliError:
        if report.done or report.refused:
            report.finish()
        raise
    report.finish()
    if report.refused:
        raise CliError(
            f"{report.refused} of {report.done + report.refused} were refused; the others are done", code="rows_refused"
        )


def _send(batch: list[Row], call: Callable[[RawJson], dict[str, Json]], report: Report) -> Iterator[dict[str, Json]]:
    try:
        yield call(RawJson(f"[{','.join(row.text for row in batch)}]"))
    except CliError as error:
        if error.code in _TOO_MANY and len(batch) > 1:
            # The server takes fewer at once: an administrator's setting, or what goes along with each is large.
            half = len(batch) // 2
            yield from _send(batch[:half], call, report)
            yield from _send(batch[half:], call, report)
            return
        named = _PLACE.search(error.message)
        first, last = batch[0].place, batch[-1].place
        error.where = batch[int(named[1])].place if named else f"{first} to {last.rpartition(':')[2]}"
        if report.done:
            error.message += f"\n  {report.done} before stay as they were done"
        raise


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    size = 0
    for row in rows:
        if batch and (len(batch) == MOST_ROWS or size + len(row.text) > MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(row)
        size += len(row.text)
    if batch:
        yield batch
