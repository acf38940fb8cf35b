"""W11: calls of the front on connections that are kept, one at a time, beside the same start by SQL."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx

from tests.benchmarks.definitions import single
from tests.benchmarks.figures import percentile
from tests.benchmarks.latency import PAUSE_SECONDS, WARM_UP_SINGLES, run_one
from tests.benchmarks.parts import Context
from tests.support.front import Front

BODY = {"input": {"v": 1}}


def measure(context: Context) -> None:
    """Each in turn, so that what disturbs one disturbs its neighbours: SQL, /run with a wait and without, a delivery.

    A client that keeps its connection sends them; /health is what HTTP takes alone, its answer is remembered.
    """
    with (
        context.site() as site,
        site.runners(1),
        Front(
            site.database.url("front"),
            log_path=context.lab.directory / f"{site.database.name}-front.log",
            environment={"LOG_LEVEL": "warning"},
        ) as front,
        httpx.Client(base_url=front.url) as client,
    ):
        site.import_workflow(single())
        site.import_workflow({**single(), "name": "hooked", "triggers": [{"type": "webhook", "scheme": "none"}]})
        path = site.service.call(
            "flowgres.webhook_path", p_webhook_id=site.admin.value("select id from flowgres.webhooks")
        )
        site.run("single", context.scale.warm_up_executions)
        key = {"X-API-Key": site.tenant.key}
        ways: dict[str, Callable[[], float]] = {
            "sql": lambda: run_one(site, "single")[0],
            "run": lambda: _taken(client, "POST", "/run/single?wait=30", httpx.codes.OK, headers=key, json=BODY),
            "start": lambda: _taken(client, "POST", "/run/single?wait=0", httpx.codes.ACCEPTED, headers=key, json=BODY),
            "delivery": lambda: _taken(client, "POST", path, httpx.codes.ACCEPTED, json=BODY),
            "health": lambda: _taken(client, "GET", "/health", httpx.codes.OK),
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


def _taken(client: httpx.Client, method: str, path: str, status: int, **arguments: object) -> float:
    """Milliseconds of a call after a pause, in which what the last one has started ends."""
    time.sleep(PAUSE_SECONDS)
    began = time.perf_counter()
    answer = client.request(method, path, **arguments)  # type: ignore[arg-type]
    if answer.status_code != status:
        raise RuntimeError(answer.text)
    return (time.perf_counter() - began) * 1000
