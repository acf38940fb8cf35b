"""`python -m flowgres_runner`."""

from __future__ import annotations

from flowgres_runner.main import main

if __name__ == "__main__":
    main()
