"""Fixtures of the tests that run what a user runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.api import Api
from tests.support.database import Database
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="module")
def stack(module_database: Database, module_api: Api, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One tenant with everything that runs beside a database, shared by the tests of one file."""
    with running_stack(module_database, module_api, tmp_path_factory.mktemp("stack")) as stack:
        yield stack
