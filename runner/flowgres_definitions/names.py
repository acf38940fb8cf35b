"""Names of workflows and steps, and what only looks like one."""

from __future__ import annotations

import re
from typing import Final

from .description import description
from .schema import pattern_of

_INVISIBLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")


def is_workflow_name(name: str) -> bool:
    """Whether a workflow may have this name, leaving aside reserved words."""
    pattern = pattern_of(description()["properties"]["name"]["pattern"])
    return pattern is not None and pattern.search(name) is not None


def is_identifier(name: str) -> bool:
    """Whether a step may have this id, and a type this name, leaving aside reserved words."""
    pattern = pattern_of(description()["$defs"]["step"]["properties"]["id"]["pattern"])
    return pattern is not None and pattern.search(name) is not None


def is_display_name(name: str) -> bool:
    """A name for people: it begins like a title or has words. `order.pipeline` is a mistyped identifier."""
    if len(name) > 200 or not name.strip() or _INVISIBLE.search(name) or re.search(r'[<>;"*%$\\{}|^`]', name):
        return False
    return re.match(r"[A-Z0-9]", name) is not None or ord(name[0]) > 127 or re.search(r"\S \S", name) is not None
