"""The header Link (RFC 8288): where an answer says that there is more."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin

MAX_LINKS = 50
_MAX_RELATION_CHARACTERS = 100


def parse_links(text: str, base: str) -> dict[str, str]:
    """Absolute addresses by relation (`next`, `prev` ...), the first of each; what is no link is passed over."""
    links: dict[str, str] = {}
    for entry in _split(text, ","):
        target, *parameters = (part.strip() for part in _split(entry, ";"))
        if not target.startswith("<") or not target.endswith(">"):
            continue
        for parameter in parameters:
            name, _, value = parameter.partition("=")
            if name.strip().lower() != "rel":
                continue
            for relation in value.strip().strip('"').lower().split():
                if relation in links or len(relation) > _MAX_RELATION_CHARACTERS:
                    continue
                try:
                    links[relation] = urljoin(base, target[1:-1].strip())
                except ValueError:
                    continue
                if len(links) == MAX_LINKS:
                    return links
            break  # a second rel does not count
    return links


def _split(text: str, separator: str) -> Iterator[str]:
    """The parts of a text, split where it is neither quoted nor in angle brackets. Linear, whatever a peer sends."""
    start, closing = 0, ""
    is_escaped = False
    for place, character in enumerate(text):
        if is_escaped:
            is_escaped = False
        elif closing:
            if character == closing:
                closing = ""
            elif character == "\\" and closing == '"':
                is_escaped = True
        elif character == '"':
            closing = '"'
        elif character == "<":
            closing = ">"
        elif character == separator:
            yield text[start:place]
            start = place + 1
    yield text[start:]
