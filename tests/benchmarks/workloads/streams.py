"""W11: what open streams cost those who work."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import httpx

from flowgres_cli.stack.ports import free_port
from tests.benchmarks.definitions import CHAIN_LENGTH, chain
from tests.benchmarks.lab import READY_SECONDS, Site
from tests.benchmarks.parts import Context
from tests.support.database import Tenant
from tests.support.server import JWT_SECRET

STREAMS = 500
TENANTS = 2
_WAITING = {"name": "waiting", "steps": [{"id": "wait", "type": "delay", "config": {"duration": "1h"}}]}
_NOTHING_READY = "not exists (select from flowgres.work_queue as q where q.due_at is null)"


def measure(context: Context) -> None:
    """W1 with nobody listening, with 500 open streams of executions that wait, and with one stream of the tenant."""
    with context.site() as site, site.runners(1), _front(site) as url:
        site.import_workflow(chain())
        site.run("chain", context.scale.warm_up_executions)
        context.record("w11.none", _rate(site, context))
        tenants = [site.tenant, *(site.database.make_tenant(f"Tenant {number}") for number in range(TENANTS - 1))]
        with ExitStack() as stack:
            for tenant in tenants:
                for execution_id in _waiting(site, tenant, STREAMS // TENANTS):
                    stack.enter_context(_listening(url, f"/executions/{execution_id}/stream", tenant))
            context.record("w11.many", _rate(site, context))
        with _listening(url, "/events/stream", site.tenant):
            context.record("w11.tenant", _rate(site, context))


def _rate(site: Site, context: Context) -> float:
    count = context.scale.chain_executions
    return count * CHAIN_LENGTH / site.run("chain", count, until=_NOTHING_READY)


def _waiting(site: Site, tenant: Tenant, count: int) -> list[str]:
    """Executions of a tenant that wait for an hour."""
    with site.database.as_role("admin", tenant_id=tenant.tenant_id) as db:
        db.call("flowgres_api.import_workflow", definition=_WAITING)
    site.wait_until(
        "exists (select from flowgres.workflows as w where w.tenant_id = %s and w.name = 'waiting'"
        " and w.status = 'active')",
        tenant.tenant_id,
        timeout_seconds=READY_SECONDS,
    )
    with site.database.as_role("admin", tenant_id=tenant.tenant_id) as db:
        ids = db.call("flowgres_api.start_executions", workflow="waiting", inputs=[{}] * count)
    site.wait_until(_NOTHING_READY, timeout_seconds=READY_SECONDS)
    return list(ids)


@contextmanager
def _front(site: Site) -> Iterator[str]:
    port = free_port()
    environment = {
        "FRONT_DATABASE_URL": site.database.url("front"),
        "PORT": str(port),
        "PGRST_JWT_SECRET": JWT_SECRET,
        "LOG_LEVEL": "warning",
        **site.version.environment,
    }
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{url}/health").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    with site.lab.managed("front", site.version.command("flowgres_front"), environment) as process:
        process.wait_until(answers, timeout_seconds=READY_SECONDS)
        yield url


@contextmanager
def _listening(url: str, path: str, tenant: Tenant) -> Iterator[None]:
    """A client of a stream that leaves what comes to the system: it is the others that are measured."""
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port)), timeout=READY_SECONDS) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: front\r\nX-API-Key: {tenant.key}\r\n\r\n".encode())
        if b" 200 " not in client.recv(4096):
            raise RuntimeError(f"{path} was not opened")
        yield
