"""What goes into an evaluator and what comes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowgres_runner.json_values import MAX_DEPTH

from .large import Piece

Json = Any


@dataclass(frozen=True, slots=True)
class Follower:
    """A template to render right after another one, because it sees what that one gave.

    `after` names the step before it, whose output lies at `path` of what was rendered for it (an empty path: all of
    it). It sees the context of the job, with the steps that `references` names as its `steps`.
    """

    key: str
    template: Json
    when: str | None
    references: tuple[str, ...]
    after: str
    path: tuple[str, ...]


@dataclass(slots=True)
class RenderJob:
    """Render a template against a context, and after it those that follow from it.

    `key` names the compiled template in the child's cache ("<version>:<step>:config"); a key that comes back with
    another template is compiled anew. `tenant_id` is whose time it takes. `context` is plain JSON. `when`, if any,
    decides first. `known` are steps that only followers see: {name: {output, status, error, attempts}}.

    Followers are a favour: those that fail, are not taken, take long, or refer to a step that is not there are left
    out, with all that come after them. Rendered by themselves they give the same, or say what is wrong.

    With `whole_bytes` all that is wanted are the outputs of the template and its followers, as one text of at most so
    many bytes, in jsonb's form and at most `max_depth` levels deep each; `last_path` is where the last one's lies.
    Where that cannot be had, the answer is as without.
    """

    key: str
    template: Json
    context: Mapping[str, Json]
    when: str | None = None
    then: tuple[Follower, ...] = ()
    known: Mapping[str, Json] = field(default_factory=dict)
    last_path: tuple[str, ...] = ()
    whole_bytes: int = 0
    max_depth: int = MAX_DEPTH
    tenant_id: str = ""

    @property
    def is_chain(self) -> bool:
        """Whether a child has to know it as a chain, if only of one."""
        return bool(self.then or self.whole_bytes)


@dataclass(slots=True)  # not frozen: one is made for each step, and that takes twice as long
class Rendered:
    """The template with every text rendered. Read-only: a template without expressions is returned itself.

    `then` is what the first followers gave, at most as many as there are.
    """

    value: Json
    then: Sequence[Json] = ()


@dataclass(slots=True)  # not frozen: one is made for each step, and that takes twice as long
class RenderedWhole:
    """The outputs of a template and all its followers: text that a child calls [[milliseconds, output], ...].

    No more than its size is known of it, and that it can be sent as text: whoever uses it has to check what it is.
    """

    text: str


@dataclass(frozen=True, slots=True)
class RenderedLarge:
    """The template rendered, and more than is to be parsed here.

    What is large of its members is given as text, by name, and `rest` has what else there is; without a name it is all
    there is. No more than its size is known of a text, as with RenderedWhole.
    """

    rest: Json
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class NotTaken:
    """`when` gave false."""


@dataclass(frozen=True, slots=True)
class RenderFailed:
    """The job failed for good; the same job would fail again.

    Codes: expression_syntax, expression_error, expression_undefined, expression_not_boolean, expression_limit (time,
    memory, output), expression_unsafe, secret_misuse. The message names expressions and fields, never values.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Unfinished:
    """It was not rendered. `is_slow`: it takes long, or much, and has to be rendered alone; otherwise it goes again."""

    is_slow: bool


RenderResult = Rendered | RenderedLarge | RenderedWhole | NotTaken | RenderFailed
