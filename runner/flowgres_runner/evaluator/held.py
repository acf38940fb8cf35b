"""What an evaluator process holds: templates, compiled when they are first used, and chains of them."""

from __future__ import annotations

import json
import time
from typing import Any

from flowgres_runner.json_values import LARGE_BYTES, canonical_json, encode_json

from .large import Piece, cut
from .sandbox import NOT_TAKEN, Made, Template, encode_result
from .values import RenderError

Json = Any

CHAIN_SECONDS = 0.02
"""So long after its first member no further one of a chain is begun: others wait for their answers."""
_PIECE_BYTES = 32
"""Around one output in the text of a whole chain, at most: brackets, milliseconds, commas."""

_Link = tuple[int, tuple[str, ...], str, tuple[str, ...]]
"""Of a member of a chain: number, references, after, path; see Follower."""
_Source = tuple[Json, "str | None", Made]
"""A template, its `when`, and those of its texts that were compiled before it was interrupted."""


class Given:
    """What a job gave: texts of JSON. Or one value that is large, `rest` and `pieces` as RenderedLarge has them.

    With what is large nothing else comes: followers are a favour, and would only add to what one answer may be.
    """

    __slots__ = ("_room", "pieces", "rest", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.rest: Json = None
        self.pieces: list[Piece] = []
        self._room = LARGE_BYTES

    @property
    def is_used(self) -> bool:
        """Whether anything was given."""
        return self._room < LARGE_BYTES

    def add(self, value: Json, output_bytes: int) -> bool:
        """Take one more result; whether there may be another one after it."""
        text = encode_result(value, output_bytes)
        self._room -= len(text)
        if self._room < 0:
            if not self.texts:
                self.rest, self.pieces = cut(value, text)
            return False
        self.texts.append(text)
        return True


class _Shown:
    """What the members of a chain see: `context`, in which each finds the steps that it refers to."""

    def __init__(self, context: dict[str, Json], known: dict[str, Json]) -> None:
        self.context = context
        self._known = known
        self._steps: dict[str, Json] | None = None
        self._until: float | None = None
        self._cpu_until = 0.0

    def is_late(self, now: float) -> bool:
        """Whether the chain has taken so long that others have waited enough; on a busy machine by its CPU time."""
        if self._until is None:
            self._until = now + CHAIN_SECONDS
            self._cpu_until = time.process_time() + CHAIN_SECONDS
        return now > self._until and time.process_time() > self._cpu_until

    def show(self, after: str, output: Json, references: tuple[str, ...]) -> bool:
        """Go on to the member that refers to these steps; False when one of them is not here."""
        steps = self._steps
        if steps is None:
            steps = self._steps = {**self._known, **self.context["steps"]}
        steps[after] = {"output": output, "status": "completed", "error": None, "attempts": 1}
        try:
            self.context["steps"] = {name: steps[name] for name in references}
        except KeyError:
            return False
        return True


class HeldTemplates:
    """Templates and chains by number. What is new and what is forgotten is the parent's decision."""

    def __init__(self) -> None:
        self._templates: dict[int, Template | RenderError | _Source] = {}
        self._chains: dict[int, list[Any]] = {}
        self._begun: list[tuple[Made, int]] = []

    def update(
        self, templates: list[tuple[int, Json, str | None]], chains: list[tuple[int, list[Any]]], forgotten: list[int]
    ) -> None:
        """Take what comes with a batch."""
        for number in forgotten:
            self._templates.pop(number, None)
            self._chains.pop(number, None)
        for number, body, when in templates:
            self._templates[number] = (body, when, {})
        self._chains.update(chains)

    def has_compiled(self) -> bool:
        """Whether the last job compiled anything, if only a part of a template: it goes on from there the next time."""
        return any(len(made) > before for made, before in self._begun)

    def render(self, number: int, seen: Any, output_bytes: int, given: Given) -> str | None:
        """Render a template or a chain against what it sees; results go to `given`, none if `when` is false.

        Where the outputs of a chain are wanted as one text, and all its members are plain, that is returned instead.
        Whatever is raised is the fault of the one whose text is not there yet.
        """
        self._begun.clear()
        chain = self._chains.get(number)
        if chain is None:
            value = self._compiled(number).evaluate(seen)
            if value is not NOT_TAKEN:
                given.add(value, output_bytes)
            return None
        context, known, max_bytes, max_depth = seen
        shown = _Shown(context, known)
        if not max_bytes:
            self._render_each(chain, shown, output_bytes, given)
            return None
        values: list[Json] = []
        whole = None
        try:
            whole = self._render_whole(chain, shown, (output_bytes, min(max_bytes, LARGE_BYTES), max_depth), values)
        finally:
            if whole is None:
                for value in values:
                    if not given.add(value, output_bytes):
                        break
        return whole

    def _render_each(self, chain: list[Any], shown: _Shown, output_bytes: int, given: Given) -> None:
        _, number, *links = chain
        for link in (*links, None):
            value = self._compiled(number).evaluate(shown.context)
            if value is NOT_TAKEN:
                return
            if not given.add(value, output_bytes) or link is None or shown.is_late(time.monotonic()):
                return
            number, references, after, path = link
            if not shown.show(after, canonical_json(_at(value, path)), references):
                return

    def _render_whole(
        self, chain: list[Any], shown: _Shown, limits: tuple[int, int, int], values: list[Json]
    ) -> str | None:
        """[[milliseconds, output], ...] as text; None when that cannot be all, or the parent has to look at it.

        `values` gets what was rendered so far: then each is judged as if it had been asked for by itself.
        """
        last_path, number, *links = chain
        output_bytes, max_bytes, max_depth = limits
        parts: list[str] = []
        began = time.monotonic()
        for link in (*links, None):
            value = self._compiled(number).evaluate(shown.context)
            if value is NOT_TAKEN:
                return None
            values.append(value)
            path = last_path if link is None else link[3]
            output = canonical_json(_at(value, path), max_depth)
            text = encode_json(output)
            size = len(text) if text.isascii() else len(text.encode())
            max_bytes -= size + _PIECE_BYTES
            # What is far below the limit of a result keeps it as part of one, too, unless there are other parts.
            if max_bytes < 0 or 2 * size > output_bytes or (path and len(value) > 1):
                return None
            now = time.monotonic()
            parts.append(f"[{(now - began) * 1000:.3f},{text}]")
            if link is None:
                return f"[{','.join(parts)}]"
            number, references, after, _ = link
            if shown.is_late(now) or not shown.show(after, output, references):
                return None
            began = now
        return None

    def _compiled(self, number: int) -> Template:
        template = self._templates[number]
        if isinstance(template, tuple):
            made = template[2]
            self._begun.append((made, len(made)))
            template = self._templates[number] = _compile(*template)
        if isinstance(template, RenderError):
            raise template
        return template


def _compile(body: Json, when: str | None, made: Made) -> Template | RenderError:
    try:
        return Template(body, when, made)
    except RenderError as error:
        return error


def open_texts(seen: Any) -> None:
    """Open what a template or a chain sees (a context, and of a chain three things more), in place.

    Large members come as bytes, their JSON text (see `execution.contexts`).
    """
    context, known = (seen, None) if type(seen) is dict else seen[:2]
    opened: dict[int, tuple[bytes, Json]] = {}  # by identity: a text may be seen under two names
    for name in ("input", "output", "response", "previous"):
        _open_member(context, name, opened)
    _open_member(context.get("trigger"), "payload", opened)
    for steps in (context.get("steps"), known):
        if type(steps) is dict:
            for step in steps.values():
                _open_member(step, "output", opened)


def _open_member(holder: Json, name: str, opened: dict[int, tuple[bytes, Json]]) -> None:
    if type(holder) is dict and type(data := holder.get(name)) is bytes:
        if id(data) not in opened:
            opened[id(data)] = (data, json.loads(data))
        holder[name] = opened[id(data)][1]


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        value = value[name]
    return value
