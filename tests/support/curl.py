"""Calls of curl as documentation shows them, made by httpx."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

import httpx


def request(command: str, variables: Mapping[str, str] | None = None) -> httpx.Response:
    """The answer to `curl [-s] [-X METHOD] [-H HEADER]... [-d BODY] URL`, with `variables` in the place of `$NAME`."""
    words = shlex.split(command.replace("\\\n", " "))
    for name, value in (variables or {}).items():
        words = [word.replace(f"${name}", value) for word in words]
    assert words.pop(0) == "curl", command
    method, url, body, headers = "", "", None, {}
    while words:
        word = words.pop(0)
        if word == "-H":
            name, _, value = words.pop(0).partition(": ")
            headers[name] = value
        elif word == "-X":
            method = words.pop(0)
        elif word == "-d":
            body = words.pop(0)
        elif word != "-s":
            assert not word.startswith("-"), command
            assert not url, command
            url = word
    return httpx.request(method or ("POST" if body else "GET"), url, headers=headers, content=body, timeout=30)
