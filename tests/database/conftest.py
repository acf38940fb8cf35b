"""Fixtures of the database tests alone."""

from __future__ import annotations

import pytest

from tests.support.database import Database, Tenant


@pytest.fixture(scope="module")
def reference_tenant(module_database: Database) -> Tenant:
    """The tenant of the tests that share one database."""
    return module_database.make_tenant("Reference")
