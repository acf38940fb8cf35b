"""What goes into an evaluator and what comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Json = Any


@dataclass(frozen=True, slots=True)
class RenderJob:
    """Render a template against a context.

    `key` names the compiled template in the child's cache ("<version>:<step>:config"); a key that comes back with
    another template is compiled anew. `context` is plain JSON. `when`, if any, decides first.
    """

    key: str
    template: Json
    context: Mapping[str, Json]
    when: str | None = None


@dataclass(frozen=True, slots=True)
class Rendered:
    """The template with every text rendered. Read-only: a template without expressions is returned itself."""

    value: Json


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


RenderResult = Rendered | NotTaken | RenderFailed
