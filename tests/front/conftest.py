"""A real front process on the database that the tests of one file share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.api import Api
from tests.support.database import Database, Db
from tests.support.front import Front
from tests.support.webhooks import Hooks


@pytest.fixture(scope="module")
def start_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Api]]:
    """`start_front(dsn)` starts a front and gives its API; all are stopped after the file."""
    with ExitStack() as stack:

        def start(dsn: str, *, log_path: Path | None = None, **environment: str) -> Api:
            log_path = log_path or tmp_path_factory.mktemp("front") / "front.log"
            return Api(stack.enter_context(Front(dsn, log_path=log_path, environment=environment)).url)

        yield start


@pytest.fixture(scope="module")
def front(start_front: Callable[..., Api], module_database: Database) -> Api:
    """The front, called as nobody; `front.as_key(...)` gives it credentials."""
    return start_front(module_database.url("front"))


@pytest.fixture
def tenant(module_database: Database) -> Iterator[TenantKeys]:
    """A new tenant with one API key of each role."""
    with module_database.connect() as db:
        yield TenantKeys(db)


class TenantKeys:
    """A tenant, its keys by role, and a connection that sees everything."""

    def __init__(self, db: Db) -> None:
        self.db = db
        registered = db.call("flowgres.register_tenant", p_name="Front Tenant")
        self.tenant_id = registered["tenant_id"]
        self.admin = registered["api_key"]
        self.member = self._key("member")
        self.viewer = self._key("viewer")

    def _key(self, role: str) -> str:
        issued = self.db.call(
            "flowgres.issue_api_key",
            p_tenant_id=self.tenant_id,
            p_name=role,
            p_role=role,
            p_roles="{}",
            p_expires_at=None,
            p_created_by="test",
        )
        return str(issued["api_key"])


@pytest.fixture
def hooks(front: Api, tenant: TenantKeys) -> Hooks:
    """That tenant's webhooks at the front."""
    slug = tenant.db.value("select slug from flowgres.tenants where tenant_id = %s", tenant.tenant_id)
    return Hooks(front, tenant.db, tenant_id=tenant.tenant_id, slug=slug, key=tenant.admin)
