"""Language models over HTTP: two dialects, without a library of either provider.

`conversation` is what is asked and answered in words of neither, `anthropic` and `openai` how each is said, `refusals`
what the answers with other statuses mean, `prices` what it cost, `stubs` an answer without a model.
"""

from __future__ import annotations

from flowgres_runner.llm.anthropic import Anthropic
from flowgres_runner.llm.conversation import Dialect, LlmError, Question, Reply, Usage
from flowgres_runner.llm.openai import OpenAi
from flowgres_runner.llm.prices import cost_of
from flowgres_runner.llm.refusals import refusal_of
from flowgres_runner.llm.stubs import example_of

DIALECTS: dict[str, Dialect] = {"anthropic": Anthropic(), "openai": OpenAi()}

__all__ = [
    "DIALECTS",
    "Dialect",
    "LlmError",
    "Question",
    "Reply",
    "Usage",
    "cost_of",
    "example_of",
    "refusal_of",
]
