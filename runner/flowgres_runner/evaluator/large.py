"""Large values in pieces: what an evaluator gives, and what the runner passes on without a look."""

from __future__ import annotations

from typing import Any

from flowgres_runner.json_values import LARGE_BYTES, encode_json

Json = Any
Piece = tuple["str | None", str]
"""The name of a member, None for the whole value, and its text."""

_PIECE_CHARACTERS = 1_000
"""Smaller members of a large value stay where they are."""


def cut(value: Json, text: str) -> tuple[Json, list[Piece]]:
    """A value without its larger members, and these; `text` is that of the value."""
    if type(value) is dict:
        members = {name: encode_json(member) for name, member in value.items()}
        pieces: list[Piece] = [(name, member) for name, member in members.items() if len(member) > _PIECE_CHARACTERS]
        if pieces and len(text) - sum([len(member) for _, member in pieces]) <= LARGE_BYTES:
            return {**value, **{name: None for name, _ in pieces if name is not None}}, pieces
    return None, [(None, text)]
