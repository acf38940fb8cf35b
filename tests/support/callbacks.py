"""Receivers that call a step back."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.support.api import Api
from tests.support.database import Database, Db, Tenant
from tests.support.engine import dag, get, import_workflow, start


class Bank:
    """Takes orders with an address to call back; `early`: calls it before it answers. A refusal repeats the order."""

    def __init__(self, front: Api) -> None:
        self.front = front
        self.tokens: list[str] = []
        self.failures = 0
        self.early: Any = None

    def take(self, order: dict[str, Any]) -> int:
        """The status that an order is answered with."""
        self.tokens.append(order["url"].rsplit("/", 1)[1])
        if self.early is not None:
            self.call(self.early)
        self.failures -= 1
        return 503 if self.failures >= 0 else 202

    def call(self, body: Any, token: str | None = None) -> Any:
        """Call the address of the last order."""
        return self.front.request("POST", f"/callbacks/{token or self.tokens[-1]}", json=body)


@contextmanager
def serving(bank: Bank) -> Iterator[str]:
    """The address at which it takes orders."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = bank.take(order)
            answer = json.dumps({"taken": True} if status == 202 else {"refused": order}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/orders"
        server.shutdown()
        thread.join()


def begin(db: Db, tenant_id: str, database: Database, url: str, **step: Any) -> Callable[[], dict[str, Any]]:
    """Start an execution that orders something; what has become of it."""
    config = {"method": "POST", "url": url, "json": {"url": "{{ callback.url }}"}, "callback": step.pop("callback", {})}
    definition = dag("order", [{"id": "ask", "type": "http", "config": config, **step}])
    owner = Tenant(str(tenant_id), "", "")
    execution = start(database, owner, import_workflow(db, owner, definition))
    return lambda: get(database, owner, execution)
