"""`python -m flowgres_front`."""

from __future__ import annotations

from flowgres_front.main import main

if __name__ == "__main__":
    main()
