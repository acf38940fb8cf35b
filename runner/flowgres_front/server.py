"""How uvicorn serves the front."""

from __future__ import annotations

import uvicorn

from flowgres_front.app import create_app
from flowgres_front.settings import FrontSettings


def server_config(settings: FrontSettings) -> uvicorn.Config:
    """Bounded, quiet, and without uvicorn's access log, which would print tokens that stand in paths."""
    return uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        limit_concurrency=512,
        # Headers up to here reach the application, which answers as for any other wrong credential.
        h11_max_incomplete_event_size=256 << 10,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        lifespan="on",
    )
