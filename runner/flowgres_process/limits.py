"""Limits that more than one process keeps; without an import, so that evaluators can have them as well."""

from __future__ import annotations

MIN_SECRET_CHARACTERS = 8
"""Shorter ones occur by accident in what has nothing to do with them: masked nowhere, and stored only on request."""
