"""How much the longest tests do: a part of it in CI, all of it when somebody asks for that."""

from __future__ import annotations

import os

IS_LONG = bool(os.environ.get("FLOWGRES_LONG_TESTS"))
"""Whether kills, random graphs and reconnects come in the numbers that are promised; else in some that fit into CI."""
