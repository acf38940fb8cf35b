"""Rendering of untrusted expressions in separate processes under limits.

`EvaluatorPool` (in the runner) sends batches of jobs to child processes; `sandbox` renders them there. Neither this
file nor `sandbox` or `child` imports the rest of the runner: what the child imports is what an attacker could reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .jobs import NotTaken, Rendered, RenderFailed, RenderJob, RenderResult
    from .pool import EvaluatorError, EvaluatorPool

__all__ = ["EvaluatorError", "EvaluatorPool", "NotTaken", "RenderFailed", "RenderJob", "RenderResult", "Rendered"]


def __getattr__(name: str) -> Any:
    # The pool needs asyncio, the child does not: loading it on first use keeps the child's memory small.
    if name in ("EvaluatorPool", "EvaluatorError"):
        from . import pool

        return getattr(pool, name)
    if name in __all__:
        from . import jobs

        return getattr(jobs, name)
    raise AttributeError(name)
