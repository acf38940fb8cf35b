"""Where a step stands in a trace (W3C Trace Context): ids that every process finds by itself.

The twin of `traces/context.sql`: what a runner sends along with a request is the span that is told of later, when the
execution has ended.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

TRACE_HEADERS = frozenset(("traceparent", "tracestate"))
"""What belongs together: whoever sets one of them sets both."""

# As SQL has stored it: version 00, and of the flags only "sampled".
_TRACEPARENT = re.compile(r"00-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-(0[01])\Z")
_TRACESTATE = re.compile(r"[ -~]{0,512}\Z")


class TraceContext(NamedTuple):
    """A span, as others are told of it: `trace_id` is 32 hexadecimal digits, `span_id` 16, `flags` 00 or 01."""

    trace_id: str
    span_id: str
    flags: str = "01"
    state: str = ""

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries that is made within the span."""
        headers = {"traceparent": f"00-{self.trace_id}-{self.span_id}-{self.flags}"}
        if self.state:
            headers["tracestate"] = self.state
        return headers


def attempt_context(
    *,
    execution_id: str,
    generation: int,
    step_index: int,
    iteration: int,
    attempt: int,
    trigger: Mapping[str, Any] | None,
) -> TraceContext:
    """The span of an attempt; `iteration` is -1 for a step that is not iterated.

    The trace is that of the trigger, which a caller or a parent brought, else the execution's own, whose id it has.
    A delivery of a notification has no span of its own: it belongs to the execution that it tells of.
    """
    name = f"{execution_id}/{generation}/{step_index}/{iteration}/{attempt}"
    span_id = hashlib.sha256(name.encode()).hexdigest()[:16]
    given = trigger or {}
    found = _TRACEPARENT.match(str(given["traceparent"])) if "traceparent" in given else None
    if found is None:
        return TraceContext(execution_id.replace("-", ""), span_id)
    state = given.get("tracestate")
    return TraceContext(
        found[1],
        found[2] if given.get("type") == "notification" else span_id,
        found[3],
        state if isinstance(state, str) and _TRACESTATE.match(state) else "",
    )
