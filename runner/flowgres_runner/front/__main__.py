"""Run the front alone: `python -m flowgres_runner.front`. A runner can also serve it in its own loop."""

from __future__ import annotations

import os
import sys

import uvicorn

from flowgres_runner.errors import RunnerError
from flowgres_runner.front.server import server_config
from flowgres_runner.front.settings import FrontSettings
from flowgres_runner.logs import configure_logs


def main() -> int:
    """Serve until a signal; 2 when the environment lacks something."""
    try:
        settings = FrontSettings.from_environment(os.environ)
        configure_logs(level=settings.log_level, output_format=settings.log_format)
        config = server_config(settings)
    except RunnerError as error:
        print(f"flowgres-front: {error.message}. {error.hint}".rstrip(), file=sys.stderr)
        return 2
    uvicorn.Server(config).run()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
