"""Named points at which a test may kill the process: FLOWGRES_FAILPOINT=after_claim and the like.

Only the first passage counts, because the process does not survive it. `:N` after the name means the Nth passage.
"""

from __future__ import annotations

import os

EXIT_CODE = 137
"""As of a process that was killed, because that is what is being rehearsed."""

NAMES = (
    "after_claim",
    "before_http",
    "after_http",
    "in_call",
    "after_call",
    "before_commit",
    "after_commit",
)

_armed = ""
_passages_left = 0


def arm_failpoint(setting: str) -> None:
    """Arm the point of the setting; raises ValueError for a name that no code passes."""
    global _armed, _passages_left
    name, _, count = setting.partition(":")
    if name and name not in NAMES:
        raise ValueError(f"FLOWGRES_FAILPOINT must be one of {', '.join(NAMES)}, not {name[:40]!r}")
    _armed = name
    _passages_left = int(count) if count.isdigit() else 1


def pass_failpoint(name: str) -> None:
    """Go past a named point, or end the process here without any cleaning up."""
    global _passages_left
    if name == _armed:
        _passages_left -= 1
        if _passages_left <= 0:
            os._exit(EXIT_CODE)
