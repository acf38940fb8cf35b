"""Caps of a claim: a runner takes no more of a tenant than it has room for."""

from __future__ import annotations

from psycopg.types.json import Jsonb

from tests.support.database import Database, Db, Tenant
from tests.support.engine import assert_invariants, dag, hands, import_workflow, start


def test_tenant_with_a_cap_has_no_more_and_leaves_its_place_to_others(
    database: Database, db: Db, tenant: Tenant
) -> None:
    """Whoever has enough in the runner's hands; alone in the queue as well as beside others."""
    other = database.make_tenant("Other")
    for owner in (tenant, other):
        name = import_workflow(db, owner, dag("one", [{"id": "a"}]))
        for _ in range(6):
            start(database, owner, name)

    with hands(database) as runner:

        def claimed(caps: dict[str, int] | None) -> tuple[int, int]:
            query = "select tenant_id::text as t from flowgres.claim(%s, 10, null, %s::jsonb)"
            taken = [row["t"] for row in runner.db.all(query, runner.id, None if caps is None else Jsonb(caps))]
            return taken.count(tenant.tenant_id), taken.count(other.tenant_id)

        assert claimed({tenant.tenant_id: 0, "*": 1}) == (0, 1)
        assert claimed({tenant.tenant_id: 2, other.tenant_id: 0}) == (2, 0)
        assert claimed({tenant.tenant_id: 0}) == (0, 5)
        assert claimed({tenant.tenant_id: 3}) == (3, 0)
        assert claimed(None) == (1, 0)
    assert_invariants(db, drained=False)
