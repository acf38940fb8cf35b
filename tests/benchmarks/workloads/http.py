"""W3: three POSTs in a row to a local echo server, at once and after 20 ms; and the same runner on stock httpx."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.definitions import HTTP_LENGTH, posts
from tests.benchmarks.lab import READY_SECONDS, RUNNER_MODULE, Lab
from tests.benchmarks.parts import Context

CONCURRENCY = 200
WARM_UP_EXECUTIONS = 50
STOCK_MODULE = "tests.support.stock_httpx"


def measure_at_once(context: Context) -> None:
    """The echo answers at once."""
    context.record("w3.0ms", _rate(context, context.scale.http_executions))


def measure_after_20_ms(context: Context) -> None:
    """The echo takes its time."""
    context.record("w3.20ms", _rate(context, context.scale.http_executions, delay_seconds=0.02))


def measure_slots_of_one(context: Context) -> None:
    """The echo answers after 100 ms: a runner of the default concurrency is bound by how many steps wait at once."""
    context.record("w3.slots.one", _rate(context, context.scale.slot_executions, delay_seconds=0.1, concurrency=None))


def measure_slots_of_two(context: Context) -> None:
    """The same with two runners."""
    context.record(
        "w3.slots.two", _rate(context, context.scale.slot_executions, delay_seconds=0.1, concurrency=None, runners=2)
    )


def measure_stock_httpx(context: Context) -> None:
    """The yardstick: httpx with its own transport in an otherwise equal runner."""
    context.record("w3.httpx", _rate(context, context.scale.stock_http_executions, module=STOCK_MODULE))


def _rate(
    context: Context,
    count: int,
    *,
    delay_seconds: float = 0.0,
    module: str = RUNNER_MODULE,
    concurrency: int | None = CONCURRENCY,
    runners: int = 1,
) -> float:
    environment = {} if concurrency is None else {"RUNNER_CONCURRENCY": str(concurrency)}
    with (
        echo(context.lab, delay_seconds) as url,
        context.site() as site,
        site.runners(runners, module=module, environment=environment),
    ):
        site.import_workflow(posts(url))
        site.run("posts", WARM_UP_EXECUTIONS)
        return count * HTTP_LENGTH / site.run("posts", count)


@contextmanager
def echo(lab: Lab, delay_seconds: float) -> Iterator[str]:
    """An echo server in a process of its own; its address is the first line that it writes."""
    with lab.process("echo", ["tests.support.peers", "--fast", "--delay", str(delay_seconds)]) as process:
        process.wait_until(lambda: "\n" in process.log_path.read_text(), timeout_seconds=READY_SECONDS)
        yield process.log_path.read_text().splitlines()[0]
