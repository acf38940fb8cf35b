"""Where the measurements take place: one PostgreSQL as it would run in production, a database per measurement.

fsync and synchronous_commit are on, the memory settings are those of a small dedicated server. The data lies below
/var/tmp, because /tmp is often in memory, where a flush costs nothing.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from flowgres_cli.stack.postgres import Cluster
from flowgres_cli.stack.process import ManagedProcess
from tests.benchmarks.versions import BEFORE, REPOSITORY, Version, link_packages
from tests.support.database import Database, Db, Tenant
from tests.support.server import ROLE_PASSWORD, Server

SERVICE_LOGIN = "bench_service"
MAX_BULK = 10_000
# Twelve times as often as by default: short as the measurements of throughput are, the price of vacuum is in them.
NAPTIME = "'5s'"
POLL_SECONDS = 0.05
READY_SECONDS = 30
INSTALL_SECONDS = 120
RUNNER_MODULE = "flowgres_runner"

# Everything that the engine would refuse by default at the sizes used here.
SETTINGS = {"max_steps_per_workflow": 60, "rate_limit_per_minute": 1_000_000_000, "execution_timeout_seconds": 86_400}


def tuned_options() -> dict[str, str]:
    """Server settings of the measurements: durable, and not starved of memory."""
    memory_mb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return {
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "shared_buffers": f"{min(2048, memory_mb // 4)}MB",
        "effective_cache_size": f"{min(12_288, memory_mb // 2)}MB",
        "wal_buffers": "64MB",
        "min_wal_size": "2GB",
        "max_wal_size": "8GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "max_connections": "300",
        "jit": "off",
    }


def busy_seconds() -> float:
    """Seconds that the cores of this machine have worked since it began, added up; Linux only."""
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:9]
    )
    return float(user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def vacuum_catalogs(connection: psycopg.Connection[Any]) -> None:
    """Do for a new database what autovacuum would otherwise do during a measurement."""
    tables = connection.execute(
        "select string_agg(format('pg_catalog.%I', c.relname), ', ') as names from pg_catalog.pg_class as c"
        " where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r'"
    ).fetchone()
    connection.execute(f"vacuum (analyze) {tables[0]}")  # type: ignore[index]


class Site:
    """One database with a version of flowgres, one tenant, and a service that is mapped to it."""

    def __init__(self, lab: Lab, version: Version, database: Database, tenant: Tenant, admin: Db, service: Db) -> None:
        self.lab = lab
        self.version = version
        self.database = database
        self.tenant = tenant
        self.admin = admin
        self.service = service
        self.busy_percent = 0.0
        """How much of all cores was at work during the last run: what more runners could still use is the rest."""

    @property
    def service_dsn(self) -> str:
        """How the tenant's service connects."""
        return self.database.server.dsn(self.database.name, user=SERVICE_LOGIN)

    def import_workflow(self, definition: dict[str, Any]) -> None:
        """Import a definition as the tenant."""
        self.service.call("flowgres_api.import_workflow", definition=definition)

    def start_many(
        self, workflow: str, count: int, *, also: dict[str, Any] | None = None, per_call: int = MAX_BULK
    ) -> None:
        """Start `count` executions with the input {"v": number, and what is `also` in each}, by the bulk call."""
        for first in range(0, count, per_call):
            self.service.run(
                "select jsonb_array_length(flowgres_api.start_executions(workflow => %s, inputs => ("
                "select jsonb_agg(jsonb_build_object('v', g) || %s) from generate_series(1, %s::integer) as g)))",
                workflow,
                also or {},
                min(per_call, count - first),
            )

    def run(
        self,
        workflow: str,
        count: int,
        *,
        also: dict[str, Any] | None = None,
        per_call: int = MAX_BULK,
        timeout_seconds: float = 150,
        until: str = "not exists (select from flowgres.work_queue)",
    ) -> float:
        """Start executions in one transaction; return the seconds from its commit to the end of the last of them.

        Taken from the database's clock: from the last statement before the commit to the greatest finished_at.
        """
        with self.service.connection.transaction():
            self.start_many(workflow, count, also=also, per_call=per_call)
            began = self.service.value("select clock_timestamp()")
        at, busy = time.monotonic(), busy_seconds()
        self.wait_until(until, timeout_seconds=timeout_seconds)
        self.busy_percent = 100 * (busy_seconds() - busy) / ((time.monotonic() - at) * (os.cpu_count() or 1))
        row = self.admin.one(
            "select count(*) filter (where status = 'completed') as completed, count(*) as started,"
            " extract(epoch from max(finished_at) - %s)::float8 as seconds"
            " from flowgres.executions where created_at >= %s - interval '1 minute' and finished_at > %s",
            began,
            began,
            began,
        )
        if row["completed"] != count:
            raise RuntimeError(f"{row['completed']} of {count} executions of {workflow} completed")
        return float(row["seconds"])

    def settle(self) -> None:
        """Leave the tables as autovacuum would, which comes round later than they were filled, and nothing to write."""
        for table in self.admin.column(
            "select c.oid::regclass::text from pg_catalog.pg_class as c"
            " where c.relnamespace = 'flowgres'::regnamespace and c.relkind = 'p' order by c.relname"
        ):
            self.admin.run(f"vacuum (analyze) {table}")
        self.admin.run("vacuum flowgres.work_queue")
        self.admin.run("checkpoint")

    def wait_until(self, condition: str, *parameters: Any, timeout_seconds: float) -> None:
        """Wait for something that is true in the database."""
        deadline = time.monotonic() + timeout_seconds
        while not self.admin.value(f"select {condition}", *parameters):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {timeout_seconds:g} s: {condition}")
            time.sleep(POLL_SECONDS)

    @contextmanager
    def runners(
        self, count: int = 1, *, module: str = RUNNER_MODULE, environment: dict[str, str] | None = None
    ) -> Iterator[list[ManagedProcess]]:
        """Start runner processes of the site's version, wait until they are registered, and stop them at the end."""
        with ExitStack() as stack:
            before = self.admin.value("select count(*) from flowgres.runners")
            processes = [
                stack.enter_context(
                    self.lab.managed(f"runner-{number}", self.version.command(module), self._runner(environment))
                )
                for number in range(count)
            ]
            for process in processes:
                process.wait_until(
                    lambda: bool(self.admin.value("select count(*) from flowgres.runners") >= before + count),
                    timeout_seconds=READY_SECONDS,
                )
            yield processes
            for process in processes:
                self.version.require_evaluators_of(process.pid)

    def _runner(self, environment: dict[str, str] | None) -> dict[str, str]:
        return {
            "DATABASE_URL": self.database.url("runner"),
            "HTTP_ALLOW_PRIVATE_NETWORKS": "true",
            "LOG_LEVEL": "warning",
            "LOG_FORMAT": "json",
            **self.version.environment,
            **(environment or {}),
        }


class Lab:
    """A cluster of its own with a template database for each version; as a context manager it removes everything.

    The versions share the cluster, so that they share its disk, its memory and the state of its log; roles belong to
    the cluster, and those of the version before are made first, as they are where an installation is upgraded.
    """

    def __init__(self, *, before: Path | None = None) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="flowgres-bench-", dir="/var/tmp"))
        self._scratch.chmod(0o755)
        self.directory = self._scratch / "logs"
        self.cluster = Cluster(self._scratch / "postgres", options=tuned_options())
        self.ours = link_packages(REPOSITORY, self._scratch)
        self.before: Version | None = None
        self._checkout_before = before
        self._server: Server | None = None

    @property
    def server(self) -> Server:
        """The running server."""
        if self._server is None:
            raise RuntimeError("the lab has not been entered")
        return self._server

    def __enter__(self) -> Lab:
        try:
            if self._checkout_before is not None:
                self.before = link_packages(self._checkout_before, self._scratch, name=BEFORE)
            self.cluster.start()
            superuser_dsn = self.cluster.superuser_dsn()
            versions = [version for version in (self.before, self.ours) if version is not None]
            for version in versions:
                self._install(version)
            with psycopg.connect(superuser_dsn, autocommit=True) as connection:
                connection.execute(
                    f"create role {SERVICE_LOGIN} login password '{ROLE_PASSWORD}' in role flowgres_admin"
                )
            self._set_naptime(NAPTIME)
            for dsn in (superuser_dsn, *(self.cluster.superuser_dsn(version.template) for version in versions)):
                with psycopg.connect(dsn, autocommit=True) as connection:
                    vacuum_catalogs(connection)
            self._server = Server(superuser_dsn, self.ours.template, str(self.cluster.binaries))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.cluster.destroy()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _install(self, version: Version) -> None:
        """Make the version's template by its own code."""
        dsn = self.cluster.superuser_dsn(version.template)
        done = subprocess.run(
            version.command("tests.benchmarks.install"),
            input=json.dumps({"dsn": dsn, "password": ROLE_PASSWORD, "settings": SETTINGS}),
            env={**_inherited(), **version.environment},
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=INSTALL_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"{version.checkout} was not installed: {done.stderr.strip()[-800:]}")

    @contextmanager
    def site(self, version: Version | None = None) -> Iterator[Site]:
        """A fresh database of a version (ours) with one tenant; it is dropped at the end."""
        version = version or self.ours
        with self.server.new_database(template=version.template, owner="postgres") as name:
            database = Database(name=name, server=self.server)
            tenant = database.make_tenant("Bench")
            with database.connect() as admin:
                admin.run("insert into flowgres.tenant_logins values (%s, %s)", tenant.tenant_id, SERVICE_LOGIN)
                service_dsn = self.server.dsn(name, user=SERVICE_LOGIN)
                with psycopg.connect(service_dsn, autocommit=True, row_factory=dict_row) as connection:
                    yield Site(self, version, database, tenant, admin, Db(connection))

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Let autovacuum come round as seldom as it does by default: otherwise some worker is always at work."""
        self._set_naptime("default")
        try:
            yield
        finally:
            self._set_naptime(NAPTIME)

    def _set_naptime(self, value: str) -> None:
        with psycopg.connect(self.cluster.superuser_dsn(), autocommit=True) as connection:
            connection.execute(f"alter system set autovacuum_naptime = {value}")
            connection.execute("select pg_reload_conf()")

    @contextmanager
    def empty_database(self) -> Iterator[str]:
        """A fresh database without flowgres, for others; yields the superuser's URL."""
        with self.server.new_database(template="template0", owner="postgres") as name:
            yield self.cluster.superuser_dsn(name)

    def process(
        self, name: str, module: list[str], environment: dict[str, str] | None = None, *, python: str = sys.executable
    ) -> ManagedProcess:
        """A module of `tests` as a process of its own, not yet started."""
        return self.managed(name, [python, "-m", *module], {"PYTHONPATH": str(REPOSITORY), **(environment or {})})

    def managed(self, name: str, command: list[str], environment: dict[str, str]) -> ManagedProcess:
        """A process, not yet started; its log lies in the lab's directory."""
        return ManagedProcess(
            name,
            command,
            log_path=self.directory / f"{name}-{time.monotonic_ns()}.log",
            environment={**_inherited(), **environment},
            directory=REPOSITORY,
        )


def _inherited() -> dict[str, str]:
    """What processes get of this one's environment."""
    return {key: os.environ[key] for key in ("PATH", "HOME", "LANG") if key in os.environ}
