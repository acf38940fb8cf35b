"""Spans as OpenTelemetry has them, and the way to a collector. The one module that needs the extra `otel`."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from flowgres_runner.database.ends import EndedExecution, SpanRow

REQUEST_SPANS = 2_000
"""In one request, about a megabyte: collectors take no more than a few."""
_SCOPE = InstrumentationScope("flowgres")
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_LIBRARY = "opentelemetry"


class Telemetry:
    """A collector, as the variables OTEL_* describe it, and which traces it is told of.

    `export` and `close` block: the library's exporter sends, tries again, and gives up by OTEL_EXPORTER_OTLP_TIMEOUT.
    """

    def __init__(self) -> None:
        self._told = _LastLine()
        library = logging.getLogger(_LIBRARY)
        library.addHandler(self._told)
        library.propagate = False
        resource = Resource({"service.name": "flowgres"}).merge(OTELResourceDetector().detect())
        self._resource = Resource.create().merge(resource)
        # For its sampler, which it reads from the environment; spans are made from history, and not by its tracers.
        self._sampler = TracerProvider(resource=self._resource, shutdown_on_exit=False).sampler
        self._exporter = OTLPSpanExporter()

    @property
    def trouble(self) -> str:
        """What the library said last of an export that failed."""
        return self._told.line

    def wants(self, ended: EndedExecution) -> bool:
        """Whether the trace of an execution is sampled: OTEL_TRACES_SAMPLER decides, and who brought the trace."""
        if not ended.is_sampled:
            return False
        trace_id, parent = int(ended.trace_id, 16), None
        if not ended.is_own and ended.parent_span is not None:
            above = SpanContext(
                int(ended.trace_id, 16), int(ended.parent_span, 16), is_remote=True, trace_flags=_SAMPLED
            )
            parent = set_span_in_context(NonRecordingSpan(above))
        result = self._sampler.should_sample(parent, trace_id, "execution")
        return result.decision is Decision.RECORD_AND_SAMPLE

    def export(self, rows: list[SpanRow], trace_ids: Mapping[str, str]) -> bool:
        """Send spans to the collector; False when it did not take them. `trace_ids` are by execution."""
        for first in range(0, len(rows), REQUEST_SPANS):
            some = rows[first : first + REQUEST_SPANS]
            spans = [self._span(row, int(trace_ids[row.execution_id], 16)) for row in some]
            if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
                return False
        return True

    def close(self) -> None:
        """Give up what is being sent."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]
        logging.getLogger(_LIBRARY).removeHandler(self._told)

    def _span(self, row: SpanRow, trace_id: int) -> ReadableSpan:
        parent = None
        if row.parent_span is not None:
            # A root is below somebody else's span; all others are below one of ours.
            parent = SpanContext(trace_id, int(row.parent_span, 16), is_remote=row.is_root, trace_flags=_SAMPLED)
        return ReadableSpan(
            name=row.name,
            context=SpanContext(trace_id, int(row.span, 16), is_remote=False, trace_flags=_SAMPLED),
            parent=parent,
            resource=self._resource,
            attributes=row.attributes,
            kind=_kind_of(row),
            status=Status(StatusCode.ERROR, row.error_code) if row.status in ("failed", "lost") else Status(),
            start_time=row.began_at * 1000,
            # A clock that was set back between makes no negative duration.
            end_time=max(row.began_at, row.ended_at) * 1000,
            instrumentation_scope=_SCOPE,
        )


def _kind_of(row: SpanRow) -> SpanKind:
    if row.is_root:
        return SpanKind.INTERNAL if "flowgres.parent_execution.id" in row.attributes else SpanKind.SERVER
    return SpanKind.CLIENT if row.kind == "http" else SpanKind.INTERNAL


class _LastLine(logging.Handler):
    """Keeps what the library said last: it logs by other means than we do, and here that is told once."""

    line = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.line = record.getMessage()[:500]
