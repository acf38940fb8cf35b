"""A collector of traces: takes OTLP over HTTP, as every collector does, and keeps what the protocol buffers say."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Told:
    """A span, ids in hexadecimal digits, times in nanoseconds; `service` is who told of it."""

    service: str
    trace: str
    span: str
    parent: str
    name: str
    kind: int
    began_at: int
    ended_at: int
    is_error: bool
    attributes: dict[str, Any]

    @property
    def execution_id(self) -> str:
        """Of the execution that it is a span of."""
        return str(self.attributes["flowgres.execution.id"])

    @property
    def is_root(self) -> bool:
        """Whether it is that of an execution as a whole."""
        return "flowgres.step" not in self.attributes


@dataclass
class Collector:
    """What was told; while `status` is not 200 nothing is taken, and while `gate` is closed nobody is answered."""

    url: str = ""
    status: int = 200
    gate: threading.Event = field(default_factory=threading.Event)
    requests: int = 0
    told: list[Told] = field(default_factory=list)

    def of(self, execution_id: str) -> list[Told]:
        """The spans of an execution, each once, the root first, and then by their beginning."""
        spans = {span.span: span for span in self.told if span.execution_id == execution_id}
        return sorted(spans.values(), key=lambda span: (not span.is_root, span.began_at, span.name))

    def root(self, execution_id: str) -> Told:
        """The span of an execution as a whole."""
        return self.of(execution_id)[0]


@contextmanager
def serving() -> Iterator[Collector]:
    """A collector on a loopback address."""
    collector = Collector()
    collector.gate.set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.requests += 1
            collector.gate.wait(60)
            status = collector.status if self.path == "/v1/traces" else 404
            if status == 200:
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.told.extend(_read(ExportTraceServiceRequest.FromString(body)))
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _read(request: ExportTraceServiceRequest) -> Iterator[Told]:
    for of_resource in request.resource_spans:
        service = {one.key: one.value.string_value for one in of_resource.resource.attributes}["service.name"]
        for of_scope in of_resource.scope_spans:
            for span in of_scope.spans:
                yield Told(
                    service=service,
                    trace=span.trace_id.hex(),
                    span=span.span_id.hex(),
                    parent=span.parent_span_id.hex(),
                    name=span.name,
                    kind=span.kind,
                    began_at=span.start_time_unix_nano,
                    ended_at=span.end_time_unix_nano,
                    is_error=span.status.code == 2,
                    attributes={one.key: _value(one.value) for one in span.attributes},
                )


def _value(value: Any) -> Any:
    return getattr(value, value.WhichOneof("value"))
