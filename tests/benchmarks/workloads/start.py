"""W4: how many executions can be started in a second: over PostgREST, in SQL, in bulk. No runner is at work."""

from __future__ import annotations

import time

from flowgres_cli.stack.postgrest import start_postgrest
from tests.benchmarks.definitions import chain
from tests.benchmarks.figures import percentile
from tests.benchmarks.lab import MAX_BULK
from tests.benchmarks.load import post_repeatedly
from tests.benchmarks.parts import Context
from tests.benchmarks.workloads.pgbench import transactions_per_second
from tests.support.server import JWT_SECRET

CONNECTIONS = 16
START = "select flowgres_api.start_execution(workflow => 'chain', input => '{\"v\": 1}');\n"
EMPTY_FUNCTION = """
  create function flowgres_api.bench_empty(workflow text, input jsonb) returns jsonb language sql
  as $$ select '{"execution_id": "00000000-0000-0000-0000-000000000000", "status": "queued"}'::jsonb $$;
  grant execute on function flowgres_api.bench_empty to flowgres_member;
"""


def measure_api(context: Context) -> None:
    """POST /rpc/start_execution, and a function that does nothing, by the same key on as many connections."""
    with context.site() as site:
        site.import_workflow(chain())
        site.admin.run(EMPTY_FUNCTION)
        server = start_postgrest(
            db_uri=site.database.url("authenticator"),
            jwt_secret=JWT_SECRET,
            directory=context.lab.directory / site.database.name,
            pool_size=CONNECTIONS,
        )
        try:  # it has been started already: as a context manager it would start once more
            for function, key in (("bench_empty", "w4.empty"), ("start_execution", "w4.rpc")):
                load = post_repeatedly(
                    f"{server.url}/rpc/{function}",
                    {"workflow": "chain", "input": {"v": 1}},
                    headers={"X-API-Key": site.tenant.key},
                    connections=CONNECTIONS,
                    seconds=context.scale.load_seconds,
                )
                context.record(key, load.per_second)
            context.record("w4.rpc.p50", percentile(load.milliseconds, 0.5))
            context.record("w4.rpc.p99", percentile(load.milliseconds, 0.99))
        finally:
            server.stop()


def measure_sql(context: Context) -> None:
    """One start_execution a transaction, as a service does."""
    with context.site() as site:
        site.import_workflow(chain())
        rate = transactions_per_second(
            context.lab, site.service_dsn, START, clients=CONNECTIONS, seconds=context.scale.load_seconds
        )
        context.record("w4.sql", rate)


def measure_bulk(context: Context) -> None:
    """start_executions with as many inputs as one call takes."""
    with context.site() as site:
        site.import_workflow(chain())
        site.start_many("chain", 1_000)
        calls = context.scale.bulk_calls
        began = time.perf_counter()
        for _ in range(calls):
            site.start_many("chain", MAX_BULK)
        context.record("w4.bulk", calls * MAX_BULK / (time.perf_counter() - began))
