"""An editor's side of yaml-language-server: the real one, from npm, spoken to as editors do (LSP over stdio)."""

from __future__ import annotations

import itertools
import json
import os
import queue
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.node import NODE, installed

Json = Any

SERVER = Path("yaml-language-server") / "bin" / "yaml-language-server"
ANSWER_SECONDS = 30


class Editor:
    """One editor with one server, and files below `folder`; `settings` as users write them (`yaml.schemas`).

    Where an answer does not come, the test fails.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, Json] | None = None) -> None:
        self._folder = folder
        yaml = {name.removeprefix("yaml."): value for name, value in (settings or {}).items()}
        self._settings: dict[str, Json] = {"yaml": {"schemaStore": {"enable": False}, **yaml}}
        self._numbers = itertools.count(1)
        self._versions: dict[str, int] = {}
        self._found: dict[str, list[Json]] = {}
        self._messages: queue.Queue[Json] = queue.Queue()
        self._process = subprocess.Popen(
            [str(NODE), str(installed("editor") / SERVER), "--stdio"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Editor:
        documents = {"completion": {"completionItem": {"documentationFormat": ["markdown"], "snippetSupport": True}}}
        self._ask(
            "initialize",
            processId=os.getpid(),
            rootUri=self._folder.as_uri(),
            capabilities={"textDocument": documents, "workspace": {"configuration": True}},
        )
        self._tell("initialized")
        self._tell("workspace/didChangeConfiguration", settings=self._settings)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def write(self, name: str, text: str) -> None:
        """Open a file with this text, or let it have this one now."""
        uri = (self._folder / name).as_uri()
        version = self._versions[name] = self._versions.get(name, 0) + 1
        self._found.pop(uri, None)
        if version == 1:
            document = {"uri": uri, "languageId": "yaml", "version": 1, "text": text}
            self._tell("textDocument/didOpen", textDocument=document)
        else:
            document = {"uri": uri, "version": version}
            self._tell("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])

    def complete(self, name: str, line: int, column: int) -> list[Json]:
        """What is offered at a place; line and column from 0."""
        answer = self._ask("textDocument/completion", **self._at(name, line, column))
        return list(answer["items"] if isinstance(answer, dict) else answer or [])

    def hover(self, name: str, line: int, column: int) -> str:
        """What is told of a place."""
        answer = self._ask("textDocument/hover", **self._at(name, line, column))
        contents = (answer or {}).get("contents", "")
        return str(contents["value"] if isinstance(contents, dict) else contents)

    def problems(self, name: str) -> list[Json]:
        """The diagnostics of a file as it is now."""
        uri = (self._folder / name).as_uri()
        while uri not in self._found:
            self._take()
        return self._found[uri]

    def _at(self, name: str, line: int, column: int) -> dict[str, Json]:
        uri = (self._folder / name).as_uri()
        return {"textDocument": {"uri": uri}, "position": {"line": line, "character": column}}

    def _ask(self, method: str, **params: Json) -> Json:
        number = next(self._numbers)
        self._send({"id": number, "method": method, "params": params})
        while True:
            message = self._take()
            if message.get("id") == number and "method" not in message:
                assert "error" not in message, message
                return message["result"]

    def _tell(self, method: str, **params: Json) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Json]) -> None:
        data = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self._process.stdin is not None
        self._process.stdin.write(b"Content-Length: %d\r\n\r\n%s" % (len(data), data))
        self._process.stdin.flush()

    def _take(self) -> dict[str, Json]:
        """The next message; what the server asks is answered on the way."""
        message: dict[str, Json] = self._messages.get(timeout=ANSWER_SECONDS)
        assert message, "the language server has ended"
        method, params = message.get("method"), message.get("params", {})
        if method == "textDocument/publishDiagnostics":
            self._found[params["uri"]] = params["diagnostics"]
        elif method is not None and "id" in message:
            asked = params["items"] if method == "workspace/configuration" else []
            answer = [self._settings.get(item.get("section")) for item in asked] if asked else None
            self._send({"id": message["id"], "result": answer})
        return message

    def _read(self) -> None:
        pipe = self._process.stdout
        assert pipe is not None
        while True:
            length = 0
            while (line := pipe.readline()) not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            data = pipe.read(length) if length else b""
            self._messages.put(json.loads(data) if data else None)
            if not data:
                return
