"""Events of an execution as the front streams them: a hint that saves looking, and the events themselves."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import httpx

from flowgres_cli.client import Client, is_loopback
from flowgres_cli.config import Config
from flowgres_cli.errors import CliError

Json = Any
EVENT_KEYS = ("tenant_id", "execution_id", "seq", "type", "level", "step", "message", "details", "actor", "at")
_SILENCE_SECONDS = 45.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0


class Feed:
    """Reads the stream in a thread of its own, and comes back with the number of its last event when it breaks.

    `is_live` says whether it reads now. Where there is no front that streams to us it never does, and whoever asks
    looks for itself.
    """

    def __init__(self, config: Config, execution_id: str, *, after: int) -> None:
        self.is_live = False
        self._config = config
        self._execution_id = execution_id
        self._seq = after
        self._events: deque[dict[str, Json]] = deque()
        self._news = threading.Event()
        self._is_closed = threading.Event()
        threading.Thread(target=self._run, name="stream", daemon=True).start()

    def take(self) -> list[dict[str, Json]]:
        """The events that have come since, with the keys of execution_events."""
        self._news.clear()
        return [self._events.popleft() for _ in range(len(self._events))]

    def wait(self, seconds: float) -> None:
        """Wait for news: an event, or the end of the stream."""
        self._news.wait(seconds)

    def close(self) -> None:
        """Read no more; the thread ends with its next line, or with the process."""
        self._is_closed.set()

    def _run(self) -> None:
        pause = _FIRST_PAUSE_SECONDS
        try:
            # A client of its own: the other one is closed when the command ends.
            with Client(self._config) as client:
                url, headers = client.address_at_front(f"/executions/{self._execution_id}/stream")
        except CliError:
            return
        with httpx.Client(timeout=httpx.Timeout(_SILENCE_SECONDS, connect=5.0), trust_env=not is_loopback(url)) as http:
            while not self._is_closed.is_set():
                began = time.monotonic()
                try:
                    headers["Last-Event-ID"] = str(self._seq)
                    with http.stream("GET", url, headers=headers) as response:
                        if response.status_code != httpx.codes.OK:
                            # Refused, or all was told (204). A front that is busy or away for a moment is asked again.
                            if response.status_code not in (429, 502, 503, 504):
                                return
                        else:
                            self.is_live = True
                            self._read(response)
                except httpx.TransportError:
                    pass
                finally:
                    self.is_live = False
                    self._news.set()
                if time.monotonic() - began > _LONGEST_PAUSE_SECONDS:
                    pause = _FIRST_PAUSE_SECONDS
                self._is_closed.wait(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _read(self, response: httpx.Response) -> None:
        """Take the events as they come; each is one line of data."""
        for line in _lines(response):
            if self._is_closed.is_set():
                return
            if line.startswith("data: "):
                event = json.loads(line.removeprefix("data: "))
                if isinstance(event.get("seq"), int):
                    self._seq = event["seq"]
                    self._events.append({key: event.get(key) for key in EVENT_KEYS})
                    self._news.set()


def _lines(response: httpx.Response) -> Iterator[str]:
    """Lines that end as those of Server-Sent Events do; httpx ends them at characters, too, that messages may have."""
    rest = b""
    for received in response.iter_bytes():
        *lines, rest = (rest + received).split(b"\n")
        yield from (line.decode() for line in lines)
