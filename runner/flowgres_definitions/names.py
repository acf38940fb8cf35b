"""Names of workflows and steps, and what only looks like one."""

from __future__ import annotations

import re

from .description import description
from .schema import fits, pattern_of


def is_workflow_name(name: str) -> bool:
    """Whether a workflow may have this name, leaving aside reserved words."""
    return _fits(name, description()["properties"]["name"]["pattern"])


def is_identifier(name: str) -> bool:
    """Whether a step may have this id, and a type this name, leaving aside reserved words."""
    return _fits(name, description()["$defs"]["step"]["properties"]["id"]["pattern"])


def is_display_name(name: str) -> bool:
    """A name for people: it begins like a title or has words. `order.pipeline` is a mistyped identifier."""
    if not fits(name, description()["properties"]["title"], description()) or re.search(r'[<>;"*%$\\{}|^`]', name):
        return False
    return re.match(r"[A-Z0-9]", name) is not None or ord(name[0]) > 127 or re.search(r"\S \S", name) is not None


def _fits(name: str, text: str) -> bool:
    pattern = pattern_of(text)
    return pattern is not None and pattern.search(name) is not None
