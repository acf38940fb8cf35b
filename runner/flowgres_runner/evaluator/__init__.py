"""Rendering of untrusted expressions in separate processes under limits.

`EvaluatorPool` (in the runner) sends batches of jobs to child processes; `sandbox` renders them there. What the
child imports is what an attacker could reach: of the rest of the runner that is `json_values` alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .jobs import (
        Follower,
        NotTaken,
        Rendered,
        RenderedLarge,
        RenderedWhole,
        RenderFailed,
        RenderJob,
        RenderResult,
        Unfinished,
    )
    from .pool import EvaluatorError, EvaluatorPool

__all__ = [
    "EvaluatorError",
    "EvaluatorPool",
    "Follower",
    "NotTaken",
    "RenderFailed",
    "RenderJob",
    "RenderResult",
    "Rendered",
    "RenderedLarge",
    "RenderedWhole",
    "Unfinished",
]


def __getattr__(name: str) -> Any:
    # The pool needs asyncio, the child does not: loading it on first use keeps the child's memory small.
    if name in ("EvaluatorPool", "EvaluatorError"):
        from . import pool

        return getattr(pool, name)
    if name in __all__:
        from . import jobs

        return getattr(jobs, name)
    raise AttributeError(name)
