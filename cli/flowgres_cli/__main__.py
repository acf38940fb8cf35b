"""`python -m flowgres_cli`."""

from __future__ import annotations

from flowgres_cli.main import main

main()
