"""The services that examples call: a shop's stock and payments, lists in pages, signatures, a health page."""

from __future__ import annotations

import asyncio
import json
from asyncio import StreamWriter

import httpx

from tests.support.behaviours import Received, answer
from tests.support.peers import Peer


class Shop:
    """Stock and payment of an order, a list in pages, and a health page; the first charge fails, as charges do."""

    def __init__(self, *, available: bool = True, is_up: bool = True) -> None:
        self.available = available
        self.is_up = is_up
        self.charge_keys: list[str] = []
        self.calls: list[asyncio.Task[httpx.Response]] = []

    async def __call__(self, peer: Peer, request: Received, writer: StreamWriter) -> None:
        """Answer one request."""
        if request.path == "/stock/check":
            assert json.loads(request.body) == {"skus": ["tea", "cup"]}
            writer.write(answer(json.dumps({"available": self.available}).encode()))
        elif request.path == "/charges":
            self.charge_keys.append(request.headers["idempotency-key"])
            if len(self.charge_keys) == 1:
                writer.write(answer(b"{}", status=503))
            else:
                order = json.loads(request.body)["order"]
                writer.write(answer(json.dumps({"id": f"ch_{order}"}).encode(), status=201))
        elif request.path == "/signatures":
            writer.write(answer(b"{}", status=202))
            address = json.loads(request.body)["answer_to"]
            # At once: it may be there before the answer is.
            self.calls.append(asyncio.create_task(asyncio.to_thread(httpx.post, address, json={"signed": True})))
        elif request.path == "/tags":
            tags = [{"name": f"v{number}"} for number in range(7, 0, -1)]
            size = int(request.query["per_page"])
            first = (int(request.query["page"]) - 1) * size
            writer.write(answer(json.dumps(tags[first : first + size]).encode()))
        else:
            writer.write(answer(b"ok", status=200 if self.is_up else 500, content_type="text/plain"))
