"""W11: calls of the front on connections that are kept, one at a time, beside the same start by SQL."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from urllib.parse import urlsplit

from tests.benchmarks.definitions import single
from tests.benchmarks.figures import percentile
from tests.benchmarks.latency import PAUSE_SECONDS, WARM_UP_SINGLES, run_one
from tests.benchmarks.parts import Context
from tests.support.front import Front

JSON = {"Content-Type": "application/json"}
NO_HEADERS: Mapping[str, str] = {}
BODY = json.dumps({"input": {"v": 1}})


def measure(context: Context) -> None:
    """Each in turn, so that what disturbs one disturbs its neighbours: SQL, /run with a wait and without, a delivery.

    The plainest client there is sends them, so that little of the figures is its own; /health is what HTTP takes alone,
    its answer is remembered.
    """
    with (
        context.site() as site,
        site.runners(1),
        Front(
            site.database.url("front"),
            log_path=context.lab.directory / f"{site.database.name}-front.log",
            environment={"LOG_LEVEL": "warning"},
        ) as front,
        closing(http.client.HTTPConnection(urlsplit(front.url).netloc)) as client,
    ):
        site.import_workflow(single())
        site.import_workflow({**single(), "name": "hooked", "triggers": [{"type": "webhook", "scheme": "none"}]})
        path = site.service.call(
            "flowgres.webhook_path", p_webhook_id=site.admin.value("select id from flowgres.webhooks")
        )
        site.run("single", context.scale.warm_up_executions)
        key = {"X-API-Key": site.tenant.key, **JSON}
        ways: dict[str, Callable[[], float]] = {
            "sql": lambda: run_one(site, "single")[0],
            "run": lambda: _taken(client, "POST", "/run/single?wait=30", 200, key, BODY),
            "start": lambda: _taken(client, "POST", "/run/single?wait=0", 202, key, BODY),
            "delivery": lambda: _taken(client, "POST", path, 202, JSON, BODY),
            "health": lambda: _taken(client, "GET", "/health", 200),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        site.settle()
        with site.lab.quiet():
            for number in range(WARM_UP_SINGLES + context.scale.idle_executions):
                for name, way in ways.items():
                    milliseconds = way()
                    if number >= WARM_UP_SINGLES:
                        taken[name].append(milliseconds)
    for name, all_of_it in taken.items():
        context.record(f"w11.{name}.p50", percentile(all_of_it, 0.5))
    context.record("w11.run.p99", percentile(taken["run"], 0.99))


def _taken(
    client: http.client.HTTPConnection,
    method: str,
    path: str,
    status: int,
    headers: Mapping[str, str] = NO_HEADERS,
    body: str | None = None,
) -> float:
    """Milliseconds of a call after a pause, in which what the last one has started ends."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    client.request(method, path, body, headers)
    answer = client.getresponse()
    text = answer.read()
    if answer.status != status:
        raise RuntimeError(text.decode())
    return (time.perf_counter() - began) * 1000
