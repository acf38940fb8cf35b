"""flowgres db functions: what operators allow and take back, and what tenants see of it."""

from __future__ import annotations

from tests.support.database import Database
from tests.support.functions import make_shop

from .conftest import Flowgres


def test_functions_are_allowed_listed_and_removed(flowgres: Flowgres, module_database: Database) -> None:
    tenant = module_database.make_tenant("Shop")
    with module_database.connect() as db:
        make_shop(db, allow=False)
    operator = flowgres.with_environment(DATABASE_URL=module_database.dsn("operator"))

    allowed = operator("db", "functions", "allow", "shop.reserve(text, int)", "--tenant", tenant.slug)
    assert (allowed.code, allowed.json["signature"]) == (0, "shop.reserve(text, integer)"), allowed.err
    shown = operator("db", "functions", "list", "--dsn", module_database.dsn("operator"), "-o", "table", COLUMNS="80")
    head, row = shown.out.splitlines()
    assert head.startswith("FUNCTION      ARGUMENTS                        RETURNS  TENANT")
    assert row.startswith("shop.reserve  step text, quantity integer = ?  jsonb    shop")
    assert max(len(head), len(row)) <= 80
    assert operator("db", "functions", "allow", "shop.resrve").code == 3
    stranger = flowgres.with_environment(DATABASE_URL=module_database.dsn("runner"))
    assert stranger("db", "functions", "allow", "shop.reserve").code == 5
    assert operator("db", "functions", "remove", "shop.reserve(text,integer)", "--tenant", tenant.slug).code == 0
    gone = operator("db", "functions", "remove", "shop.reserve(text,integer)", "--tenant", tenant.slug)
    assert gone.code in (3, 5)
    assert "is not allowed there" in gone.err
