"""What an evaluator process holds: templates, compiled when they are first used, and chains of them."""

from __future__ import annotations

import json
import marshal
import time
from typing import Any

from flowgres_runner.json_values import canonical_json

from .sandbox import Template
from .values import RenderError

Json = Any

CHAIN_SECONDS = 0.02
"""After this time no further member of a chain is begun: others wait for their answers."""

_Link = tuple[int, tuple[str, ...], str, tuple[str, ...]]
"""Of a member of a chain: number, references, after, path; see Follower."""
_Source = tuple[Json, "str | None"]


class HeldTemplates:
    """Templates and chains by number. What is new and what is forgotten is the parent's decision."""

    def __init__(self) -> None:
        self._templates: dict[int, Template | RenderError | _Source] = {}
        self._chains: dict[int, list[Any]] = {}

    def update(
        self, templates: list[tuple[int, Json, str | None]], chains: list[tuple[int, list[Any]]], forgotten: list[int]
    ) -> None:
        """Take what comes with a batch."""
        for number in forgotten:
            self._templates.pop(number, None)
            self._chains.pop(number, None)
        for number, body, when in templates:
            self._templates[number] = (body, when)
        self._chains.update(chains)

    def render(self, number: int, packed: bytes, output_bytes: int, texts: list[str]) -> None:
        """Render a template or a chain, and add the result of each to `texts`; nothing when `when` gave false.

        Whatever is raised is the fault of the one whose text is not there yet.
        """
        chain = self._chains.get(number)
        if chain is None:
            context, known = marshal.loads(packed), {}  # noqa: S302  from the parent
            links: list[_Link] = []
        else:
            context, known = marshal.loads(packed)  # noqa: S302  from the parent
            number, *links = chain
        text = self._compiled(number).render(context, output_bytes)
        if text is None:
            return
        texts.append(text)
        if links:
            self._follow(links, context, {**known, **context["steps"]}, output_bytes, texts)

    def _follow(
        self,
        links: list[_Link],
        context: dict[str, Json],
        steps: dict[str, Json],
        output_bytes: int,
        texts: list[str],
    ) -> None:
        until = time.monotonic() + CHAIN_SECONDS
        for number, references, after, path in links:
            if time.monotonic() > until:
                return
            # By way of the text: exactly what the parent reads, and then what it will put into the next context.
            output = json.loads(texts[-1])
            for name in path:
                output = output[name]
            steps[after] = {"output": canonical_json(output), "status": "completed", "error": None, "attempts": 1}
            try:
                context["steps"] = {name: steps[name] for name in references}
            except KeyError:
                return
            text = self._compiled(number).render(context, output_bytes)
            if text is None:
                return
            texts.append(text)

    def _compiled(self, number: int) -> Template:
        template = self._templates[number]
        if isinstance(template, tuple):
            template = self._templates[number] = _compile(*template)
        if isinstance(template, RenderError):
            raise template
        return template


def _compile(body: Json, when: str | None) -> Template | RenderError:
    try:
        return Template(body, when)
    except RenderError as error:
        return error
